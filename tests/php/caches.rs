//! The figures of php-fpm's caches, and what a check makes of them (scenarios 1 and 2).

use super::{ask, client, holds, probe, run, service, shared};
use crate::support::{PhpFpm, PhpFpmOptions};
use serde_json::Value;
use stagger::probe::{Observation, check};
use std::path::Path;

/// The rules of the chain that came before, in the words of the manual.
const RULES: &str = r#"rules = [
  { when = "answer.free_mib <= 100", then = "restart" },
  { when = "answer.apcu_fragmentation >= 95", then = { fastcgi = "SOCKET", script = "CLEAR" } },
  { when = "answer.keys >= answer.max_keys - 5000", then = "restart" },
]"#;

/// A php-fpm with so much memory for scripts, in MiB, and room for so many keys.
fn fpm(folder: &Path, memory: u32, files: u32) -> PhpFpm {
    let settings = vec![
        format!("opcache.memory_consumption={memory}"),
        format!("opcache.max_accelerated_files={files}"),
        "apc.shm_size=4M".to_owned(),
        "memory_limit=512M".to_owned(),
    ];
    PhpFpm::start(folder, &PhpFpmOptions { settings, ..PhpFpmOptions::default() })
}

fn figures(fpm: &PhpFpm) -> Value {
    match ask(&probe(&fpm.socket(), &shared("opcache.php").display().to_string())).expect("figures") {
        Observation::Http { status: 200, answer, .. } => answer,
        other => panic!("{}", other.figures()),
    }
}

/// The check of a service with these rules, over the figures of this server.
fn verdict(fpm: &PhpFpm, rules: &str) -> Result<check::Verdict, String> {
    let (socket, script) = (fpm.socket(), shared("opcache.php"));
    let rules = rules.replace("SOCKET", &socket.display().to_string());
    let rules = rules.replace("CLEAR", &shared("apcu-clear.php").display().to_string());
    let keys = format!(
        "[service.php-fpm.check]\nfastcgi = \"{}\"\nscript = \"{}\"\ntimeout = \"20s\"\n{rules}\n",
        socket.display(),
        script.display()
    );
    let check = service(&keys).check.expect("a check");
    run(check::verdict(&check, &client())).map_err(|error| error.to_string())
}

/// Has it compile so many scripts of so many bytes each.
fn fill(fpm: &PhpFpm, scripts: u32, bytes: usize) {
    let make = fpm.script(
        "fill.php",
        "$text = var_export(bin2hex(random_bytes(intdiv($_GET['bytes'], 2))), true);
         for ($i = 0; $i < $_GET['scripts']; $i++) {
             $file = __DIR__ . \"/filler-{$_GET['bytes']}-$i.php\";
             file_put_contents($file, \"<?php return $i . $text;\");
             include $file;
         }
         echo 'filled';",
    );
    let answer = fpm.get(&fpm.socket(), &format!("{make}?scripts={scripts}&bytes={bytes}")).expect("an answer");
    assert!(answer.ends_with("filled"), "{answer}\n{}", fpm.error_log());
}

/// Fills APCu, and takes every other entry out again.
fn fragment(fpm: &PhpFpm) {
    let make = fpm.script(
        "fragment.php",
        "for ($i = 0; apcu_sma_info(true)['avail_mem'] > 200000; $i++) apcu_store(\"k$i\", str_repeat('x', 2000));
         for ($j = 0; $j < $i; $j += 2) apcu_delete(\"k$j\");
         echo 'fragmented';",
    );
    let answer = fpm.get(&fpm.socket(), &make).expect("an answer");
    assert!(answer.ends_with("fragmented"), "{answer}\n{}", fpm.error_log());
}

/// Scenario 1: free opcache ≤ limit (floor of bytes / 1048576).
#[test]
fn free_memory_falls_as_scripts_are_cached_and_then_it_needs_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path(), 128, 20_000);
    let before = figures(&fpm);
    assert_eq!(before["max_keys"], 32531, "the chain's own number");
    assert!(before["free_mib"].as_u64().is_some_and(|free| (101..128).contains(&free)), "{before}");
    assert_eq!((&before["full"], &before["restart_pending"]), (&Value::from(false), &Value::from(false)));
    let well = verdict(&fpm, RULES).expect("a verdict");
    assert!(!well.restart && well.ran.is_empty(), "{well:?}");
    assert!(well.figures.contains("\"free_mib\":"), "{well:?}");

    fill(&fpm, 30, 1024 * 1024);
    let after = figures(&fpm);
    let free = |figures: &Value| figures["free_mib"].as_u64().expect("a number");
    assert!(free(&after) <= 100 && free(&after) + 30 >= free(&before) - 5, "{before} → {after}");
    assert_eq!(
        after["scripts"].as_u64(),
        before["scripts"].as_u64().map(|scripts| scripts + 31),
        "and fill.php itself"
    );
    let full = verdict(&fpm, RULES).expect("a verdict");
    assert!(full.restart && full.why == "answer.free_mib <= 100", "{full:?}");
    fpm.restart();
    assert!(free(&figures(&fpm)) > 100 && !verdict(&fpm, RULES).expect("a verdict").restart, "a restart helps");
}

/// Scenario 1: cached keys ≥ max cached keys − 5000.
#[test]
fn keys_that_run_out_need_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path(), 128, 4_000);
    let before = figures(&fpm);
    assert_eq!(before["max_keys"], 7963);
    let rules = RULES.replace("<= 100", "<= 8");
    assert!(!verdict(&fpm, &rules).expect("a verdict").restart);
    fill(&fpm, 2_963, 16);
    assert!(figures(&fpm)["keys"].as_u64().is_some_and(|keys| keys >= 2_963), "{}", figures(&fpm));
    let out = verdict(&fpm, &rules).expect("a verdict");
    assert!(out.restart && out.why == "answer.keys >= answer.max_keys - 5000", "{out:?}");
}

/// Scenario 1: a fragmented APCu is emptied instead, and that is no restart.
#[test]
fn a_fragmented_apcu_is_emptied_and_nothing_is_restarted() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path(), 128, 20_000);
    assert_eq!(figures(&fpm)["apcu_fragmentation"], 0, "one piece");
    fragment(&fpm);
    let before = figures(&fpm);
    assert!(before["apcu_fragmentation"].as_f64().is_some_and(|percent| percent >= 95.0), "{before}");
    assert!(before["apcu_entries"].as_u64().is_some_and(|entries| entries > 100), "{before}");
    let verdict = verdict(&fpm, RULES).expect("a verdict");
    assert!(!verdict.restart, "{verdict:?}");
    assert_eq!(
        (verdict.ran.len(), verdict.ran[0].ok, verdict.ran[0].outcome.as_str()),
        (1, true, "status 200: APCu is empty")
    );
    let after = figures(&fpm);
    assert_eq!((&after["apcu_entries"], &after["apcu_fragmentation"]), (&Value::from(0), &Value::from(0)), "{after}");
}

/// Scenario 2: a limit of 0 turns a rule off, where a limit is filled in from elsewhere.
#[test]
fn a_limit_of_0_turns_its_rule_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path(), 128, 20_000);
    for (limit, restart) in [(0, false), (1, false), (127, true)] {
        let rules = format!("rules = [{{ when = \"{limit} > 0 && answer.free_mib <= {limit}\", then = \"restart\" }}]");
        assert_eq!(verdict(&fpm, &rules).expect("a verdict").restart, restart, "{limit}");
    }
}

/// Scenario 2: a check that cannot be read restarts nothing, is an error, and shows what the answer held.
#[test]
fn a_figure_that_is_not_there_is_an_error_that_shows_what_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = PhpFpmOptions { has_apcu: false, ..PhpFpmOptions::default() };
    let fpm = PhpFpm::start(folder.path(), &options);
    let missing =
        verdict(&fpm, "rules = [{ when = \"answer.free_mb <= 100\", then = \"restart\" }]").expect_err("no such key");
    assert!(missing.starts_with("the check cannot be read: cannot evaluate `answer.free_mb <= 100`: "), "{missing}");
    assert!(missing.contains("answered was {") && missing.contains("\"free_mib\":"), "{missing}");
    // There is no APCu here: that is no no.
    let rule = "rules = [{ when = \"answer.apcu_fragmentation >= 95\", then = \"restart\" }]";
    let none = verdict(&fpm, rule).expect_err("a comparison with nothing");
    assert!(none.contains("cannot evaluate `answer.apcu_fragmentation >= 95`"), "{none}");
    let knowing = rule.replace("answer.apcu", "answer.apcu_fragmentation != null && answer.apcu");
    assert!(!verdict(&fpm, &knowing).expect("a verdict").restart);
    let script = shared("apcu-clear.php").display().to_string();
    let said = holds(&fpm, &script, "answer == null").expect_err("no success");
    assert_eq!(said, "no usable answer: status 503: APCu is not loaded, or off (apc.enabled)");

    let off = PhpFpmOptions { settings: vec!["opcache.enable=0".to_owned()], ..PhpFpmOptions::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = PhpFpm::start(folder.path(), &off);
    let unread = verdict(&fpm, RULES).expect_err("no figures");
    assert!(
        unread.starts_with("the check cannot be read: no usable answer: status 503: opcache does not tell: it is off"),
        "{unread}"
    );
}

/// A rule's request that fails is told of, and asks for a restart no more and no less.
#[test]
fn a_request_of_a_rule_that_fails_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let fpm = fpm(folder.path(), 128, 20_000);
    let rules = r#"rules = [
  { when = "true", then = { fastcgi = "SOCKET", script = "/nowhere.php" } },
  { when = "true", then = { fastcgi = "SOCKET", script = "THROWN" } },
  { when = "false", then = "restart" },
]"#;
    let thrown = fpm.script("thrown.php", "throw new Exception('no disk');");
    let verdict = verdict(&fpm, &rules.replace("THROWN", &thrown)).expect("a verdict");
    assert!(!verdict.restart);
    let ran: Vec<_> = verdict.ran.iter().map(|ran| (ran.ok, ran.outcome.as_str())).collect();
    assert!(!ran[0].0 && ran[0].1.ends_with("it does not run this script: Primary script unknown"), "{ran:?}");
    assert!(!ran[1].0 && ran[1].1.starts_with("status 500: ") && ran[1].1.contains("no disk"), "{ran:?}");
}
