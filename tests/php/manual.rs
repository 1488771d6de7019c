//! The manual's page on php-fpm, tried word for word: its pool, its host's file.

use super::shared;
use crate::support::{LockServer, PhpFpm, PhpFpmOptions, run, stagger};
use std::path::Path;

/// The blocks of this kind on the page, in order.
fn blocks(kind: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/php-fpm.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).filter_map(|after| after.split_once("```")).map(|(block, _)| block.to_owned()).collect()
}

/// Puts each part of the page's world into the test's.
fn here(text: &str, places: &[(&str, String)]) -> String {
    places.iter().fold(text.to_owned(), |text, (theirs, ours)| {
        assert!(text.contains(theirs), "the page does not speak of {theirs} any more");
        text.replace(theirs, ours)
    })
}

#[test]
fn the_example_of_a_php_fpm_host_works_as_it_stands() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = LockServer::start(folder.path());
    let settings = vec!["opcache.memory_consumption=256".to_owned(), "opcache.max_accelerated_files=20000".to_owned()];
    let fpm = PhpFpm::start(folder.path(), &PhpFpmOptions { settings, ..PhpFpmOptions::default() });
    let sockets = || [("/run/php/status.sock", fpm.status_socket().display().to_string())];

    // What the page has added to the pool's file is what this very pool has.
    let pool = here(&blocks("ini")[0], &sockets());
    let ours = std::fs::read_to_string(fpm.folder.join("php-fpm.conf")).expect("its configuration");
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = pool.lines().filter(|line| !line.starts_with(';')).map(squeezed).collect();
    assert_eq!(lines.len(), 3, "{pool}");
    for line in &lines {
        assert!(ours.lines().any(|own| squeezed(own) == *line), "{line} is not in {ours}");
    }

    let out = folder.path().join("php-fpm.out");
    let mut places = sockets().to_vec();
    places.extend([
        ("http://locks:7532", server.url.clone()),
        ("/run/php/www.sock", fpm.socket().display().to_string()),
        ("/usr/share/stagger/opcache.php", shared("opcache.php").display().to_string()),
        ("/usr/share/stagger/apcu-clear.php", shared("apcu-clear.php").display().to_string()),
        ("/var/lib/health/php-fpm.out", out.display().to_string()),
        ("[\"systemctl\", \"restart\", \"php8.2-fpm\"]", format!("[\"{}\"]", fpm.restart_command().display())),
        (
            "[\"systemctl\", \"show\", \"--property=InvocationID\", \"php8.2-fpm\"]",
            format!("[\"cat\", \"{}/pid\"]", fpm.folder.display()),
        ),
    ]);
    let text = here(&blocks("toml")[0], &places);
    let state = folder.path().join("state").display().to_string();
    let text = format!("state = \"{state}\"\nhost = \"mw1331\"\nlisten = \"127.0.0.1:0\"\n{text}");
    let file = folder.path().join("stagger.toml");
    std::fs::write(&file, text).expect("a configuration");
    let command = |arguments: &[&str]| run(stagger().args(arguments).arg("-c").arg(&file));

    let (code, said, error) = command(&["check", "--ask"]);
    assert_eq!(code, 0, "{said}{error}");
    for part in ["✓ php-fpm  check    fastcgi ", "✓ php-fpm  drain    fastcgi ", "✓ php-fpm  verify   fastcgi "] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let (code, said, error) = command(&["check", "php-fpm"]);
    assert!(code == 0 && said.trim_end().ends_with("php-fpm needs no restart"), "{said}{error}");
    let (code, said, error) = command(&["restart", "php-fpm"]);
    assert!(code == 0 && format!("{said}{error}").contains("NOT restarting php-fpm"), "{said}{error}");

    let before = fpm.pid();
    let (code, said, error) = command(&["restart", "php-fpm", "--always"]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(before.is_some() && fpm.pid() != before && !out.exists(), "{said}{error}");
    assert!(said.contains("✓ drain") && said.contains("0 in flight"), "{said}");
}
