//! Rollouts over the site.

use super::visitors::visited;
use super::{HOSTS, Kind, ROLLOUT, Site, unit};
use crate::support::{SOON, run, wait_for};
use std::time::Duration;

/// How many requests there must have been, and how many of them, at the least, while a host was out.
const REQUESTS: usize = 50_000;
const WHILE_OUT: usize = REQUESTS / 3;
/// How long the visitors may take for that.
const VISITS: Duration = Duration::from_secs(300);

/// Rolls through the site again and again while it is visited, until there were enough visits.
fn a_visited_site_is_restarted(kind: Kind) {
    let site = Site::start(kind);
    let mut rollouts = 0;
    let counted = visited(&site.front, |visits| {
        let begun = std::time::Instant::now();
        while visits.answered() < REQUESTS || visits.while_out() < WHILE_OUT {
            assert!(begun.elapsed() < VISITS, "only {} visits, {} while out", visits.answered(), visits.while_out());
            let before = site.pids();
            let said = site.must(&["announce", "php-fpm", "-m", "a deploy", "--follow"]);
            assert!(said.contains("3 ok"), "{said}");
            let after = site.pids();
            assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
            rollouts += 1;
        }
    });
    assert!(
        counted.failures.is_empty(),
        "{} of {} failed: {:?}",
        counted.failures.len(),
        counted.answered,
        &counted.failures[..3]
    );
    assert_eq!(counted.peak_out, 1, "never two hosts out");
    assert!(counted.while_out >= WHILE_OUT, "{}", counted.while_out);
    assert!(counted.slow * 19 > REQUESTS * 9 / 10, "too few took long: {}", counted.slow);
    assert!(rollouts > 2, "one after the other: {rollouts}");
    wait_for("all are in", SOON, || (site.front.out() == Some(0)).then_some(()));
}

/// Scenario 3, and 4: whatever is in flight when a host leaves comes to its end.
#[test]
fn no_request_fails_while_php_fpm_behind_haproxy_is_restarted_again_and_again() {
    a_visited_site_is_restarted(Kind::Haproxy);
}

/// The same with an nginx that looks at flag files.
#[test]
fn no_request_fails_while_php_fpm_behind_nginx_is_restarted_again_and_again() {
    a_visited_site_is_restarted(Kind::Nginx);
}

/// Scenarios 6 and 19, and the line that a bad build takes down host after host: after as many failures as there are slots nothing more is
/// touched, the deployer sees php-fpm's own words, and the mended build rolls through, the failed host first.
#[test]
fn a_php_fpm_that_does_not_start_stops_the_rollout_and_the_mended_one_rolls_through_by_itself() {
    let site = Site::start(Kind::Haproxy);
    let configs: Vec<_> = site.fpms.iter().map(|fpm| fpm.folder.join("php-fpm.conf")).collect();
    let good: Vec<String> =
        configs.iter().map(|path| std::fs::read_to_string(path).expect("a configuration")).collect();
    let build = |bad: &str| {
        for (path, good) in configs.iter().zip(&good) {
            std::fs::write(path, format!("{good}{bad}")).expect("a configuration");
        }
    };
    let before = site.pids();
    build("pm.max_chldren = 5\n");
    let counted = visited(&site.front, |_| {
        let (code, out, err) = run(&mut site.command(&["announce", "php-fpm", "-m", "a bad build", "--follow"]));
        assert_eq!(code, 5, "{out}{err}");
        assert!(format!("{out}{err}").contains("unknown entry 'pm.max_chldren'"), "php-fpm's own words: {out}{err}");
        let alive: Vec<bool> = site.pids().iter().zip(&before).map(|(now, before)| now == before).collect();
        assert_eq!(alive.iter().filter(|alive| **alive).count(), 2, "one host for one slot: {alive:?}");
        let failed = HOSTS[alive.iter().position(|alive| !alive).expect("one")];
        assert_eq!(site.front.out(), Some(1));
        assert_eq!(site.systemd.ask(&["is-active", &unit(failed)]).1.trim(), "failed");
        build("");
        let said = site.must(&["announce", "php-fpm", "-m", "mended", "--follow"]);
        assert!(said.contains("3 ok"), "{said}");
        let since = |host: &str| site.systemd.property(&unit(host), "ActiveEnterTimestampMonotonic").parse::<u64>();
        let since: Vec<u64> = HOSTS.iter().map(|host| since(host).expect("a time")).collect();
        let first = HOSTS.iter().zip(&since).min_by_key(|(_, since)| **since).map(|(host, _)| *host);
        assert_eq!(first, Some(failed), "the failed host first: {since:?}");
    });
    assert_eq!(counted.failures, [] as [String; 0]);
    assert_eq!(counted.peak_out, 1);
    wait_for("all are in", ROLLOUT, || (site.front.out() == Some(0)).then_some(()));
    let after = site.pids();
    assert!(after.iter().zip(&before).all(|(after, before)| after != before && after != "0"), "{before:?} {after:?}");
}
