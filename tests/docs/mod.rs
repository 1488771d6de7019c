//! The manual, held against the program: what it shows as a configuration is read, what it shows as refused is refused in
//! those words, what it shows as typed can be typed, and its links lead somewhere.
//!
//! Blocks of TOML are whole files of a host; those marked `toml,part` are a part of one, put behind the smallest file.
//! Those marked `toml,refused` must be refused, and the next block, of `text`, is what is said then. Those marked
//! `toml,lockserver` are whole files of a lock server.

use stagger::config::lock_server;
use stagger::config::{self, Config, Surroundings};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The host that the manual speaks of.
const HOST: &str = "mw1331";
/// Where the manual says that the file is.
const FILE: &str = "/etc/stagger/stagger.toml";
/// Where the manual says that a lock server's file is.
const LOCK_SERVER_FILE: &str = "/etc/stagger/lockserver.toml";
/// What a part of a file is put behind; the way to depool is added when the part has none.
const BEGINNING: &str = "coordinator = \"http://locks:7532\"\n[service.php-fpm]\npools = [\"app-eqiad\"]\n\
                         restart = { kind = \"exec\", command = [\"systemctl\", \"restart\", \"php8.2-fpm\"] }\n";

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    /// The page's file, and the line of the fence.
    place: String,
    /// What stands behind the fence, such as `toml,part`.
    kind: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page of the manual: file and text.
fn pages() -> Vec<(PathBuf, String)> {
    let entries =
        std::fs::read_dir(root().join("docs")).expect("the manual").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    files.extend(["README.md", "ARCHITECTURE.md"].map(|name| root().join(name)));
    files.sort();
    assert!(files.len() >= 7, "the manual is not there: {files:?}");
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("a page"))).collect()
}

/// The blocks of a page, in order.
fn blocks_of(path: &Path, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                let place = format!("{}:{}", path.display(), number + 1);
                open = Some(Block { place, kind: kind.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{}: a block does not end", path.display());
    blocks
}

fn all_blocks() -> Vec<Block> {
    pages().iter().flat_map(|(path, text)| blocks_of(path, text)).collect()
}

fn read(text: &str) -> Result<Config, config::ConfigError> {
    config::parse(text, Path::new(FILE), &Surroundings { hostname: HOST.to_owned(), state_directory: None })
}

/// The whole file that a part stands for.
fn whole(part: &str) -> String {
    let depool = if part.contains("depool") { "" } else { "depool = { kind = \"none\" }\n" };
    format!("{BEGINNING}{depool}{part}")
}

#[test]
fn configurations_are_read_and_wrong_ones_are_refused_in_the_words_shown() {
    let (mut files, mut parts, mut refused, mut locks) = (0, 0, 0, 0);
    for page in pages() {
        let mut blocks = blocks_of(&page.0, &page.1).into_iter().peekable();
        while let Some(Block { place, kind, text }) = blocks.next() {
            match kind.as_str() {
                "toml" => {
                    let config = read(&text).unwrap_or_else(|error| panic!("{place}\n{error}"));
                    assert!(!config.services.is_empty(), "{place}: a file without a service shows nothing");
                    files += 1;
                }
                "toml,part" => {
                    read(&whole(&text)).unwrap_or_else(|error| panic!("{place}\n{error}"));
                    parts += 1;
                }
                "toml,refused" => {
                    let error = read(&text).err().unwrap_or_else(|| panic!("{place}: this is not refused"));
                    let shown = blocks.next_if(|next| next.kind == "text");
                    let shown = shown.unwrap_or_else(|| panic!("{place}: what is said is missing; it is\n{error}"));
                    assert_eq!(shown.text.trim_end(), error.to_string(), "{place}");
                    refused += 1;
                }
                "toml,lockserver" => {
                    let file = lock_server::parse(&text, Path::new(LOCK_SERVER_FILE));
                    file.unwrap_or_else(|error| panic!("{place}\n{error}"));
                    locks += 1;
                }
                other => assert!(!other.starts_with("toml"), "{place}: nobody knows a block of {other}"),
            }
        }
    }
    assert!(files >= 3 && parts >= 8 && refused >= 5, "{files} files, {parts} parts, {refused} refused");
    assert!(locks >= 2, "{locks} of a lock server");
}

/// The commands of a text that begin with this word, each written as a list.
fn lists_that_begin_with(text: &str, word: &str) -> Vec<Vec<String>> {
    let begin = format!("[\"{word}\"");
    let lists = text.match_indices(&begin).map(|(at, _)| text[at..].split_inclusive(']').next().unwrap_or_default());
    lists.map(|list| serde_json::from_str(list).expect("a list of words")).collect()
}

#[test]
fn what_the_page_on_installing_runs_with_sudo_is_what_its_example_allows() {
    let example = std::fs::read_to_string(root().join("packaging/examples/stagger.sudoers")).expect("the example");
    let allowed: Vec<&str> = example.lines().filter_map(|line| Some(line.split_once("NOPASSWD: ")?.1)).collect();
    let page = std::fs::read_to_string(root().join("docs/install.md")).expect("the page");
    let blocks = blocks_of(Path::new("docs/install.md"), &page);
    let shown = blocks.iter().filter(|block| block.kind.starts_with("toml")).map(|block| block.text.as_str());
    let run: Vec<_> = shown.chain([example.as_str()]).flat_map(|text| lists_that_begin_with(text, "sudo")).collect();
    assert!(run.len() >= 2, "{run:?}");
    for words in run {
        let [_, no_password, command @ ..] = &words[..] else { panic!("{words:?}") };
        assert_eq!(no_password, "-n", "nobody is there to type one");
        assert!(allowed.contains(&command.join(" ").as_str()), "{words:?} is not among {allowed:?}");
    }
}

/// Parts of a file with a key that nobody knows, one for each table: the refusal lists the keys that there are.
const WITH_UNKNOWN_KEY: [&str; 15] = [
    "zzzzzzzz = 1",
    "check = { zzzzzzzz = 1 }",
    "check = { tcp = \"a:1\", rules = [{ zzzzzzzz = 1 }] }",
    "check = { tcp = \"a:1\", rules = [{ when = \"connected\", then = { zzzzzzzz = 1 } }] }",
    "drain = { zzzzzzzz = 1 }",
    "verify = { zzzzzzzz = 1 }",
    "depool = { kind = \"file\", zzzzzzzz = 1 }",
    "depool = { kind = \"file\", path = \"/out\", confirm = { zzzzzzzz = 1 } }",
    "depool = { kind = \"haproxy\", zzzzzzzz = 1 }",
    "depool = { kind = \"lame-duck\", zzzzzzzz = 1 }",
    "depool = { kind = \"http\", zzzzzzzz = 1 }",
    "depool = { kind = \"http\", out = { zzzzzzzz = 1 } }",
    "depool = { kind = \"conftool\", zzzzzzzz = 1 }",
    "depool = { kind = \"conftool\", etcd = \"etcd://a:1\", keys = [{ zzzzzzzz = 1 }] }",
    "depool = { kind = \"exec\", zzzzzzzz = 1 }",
];

#[test]
fn every_key_of_a_hosts_file_is_explained() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    let mut files = WITH_UNKNOWN_KEY.map(whole).to_vec();
    files.push(format!("zzzzzzzz = 1\n{BEGINNING}"));
    files.push(format!("tls = {{ zzzzzzzz = 1 }}\n{BEGINNING}"));
    files.extend(
        ["exec", "systemd", "reboot"]
            .map(|kind| whole("").replace("kind = \"exec\"", &format!("kind = \"{kind}\", zzzzzzzz = 1"))),
    );
    let mut keys = BTreeSet::new();
    for file in &files {
        let error = read(file).err().map(|error| error.to_string()).unwrap_or_default();
        let (_, known) = error.split_once("the keys here are ").unwrap_or_else(|| panic!("{file}\n{error}"));
        keys.extend(known.lines().next().unwrap_or_default().split(", ").map(str::to_owned));
    }
    assert!(keys.len() >= 35, "only these keys were found: {keys:?}");
    // In a sentence or a table a key stands as code, alone or with its value; a table's as `[service.NAME]`.
    let is_explained = |key: &&String| page.contains(&format!("`{key}")) || page.contains(&format!("`[{key}."));
    let missing: Vec<_> = keys.iter().filter(|key| !is_explained(key)).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not explain {missing:?}");
}

#[test]
fn every_key_of_a_lock_servers_file_is_explained() {
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).expect("the page");
    let (_, page) = page.split_once("\n## A lock server's file\n").expect("the part about it");
    let mut keys = BTreeSet::new();
    for file in ["zzzzzzzz = 1", "[[pool]]\nmatch = \"*\"\nzzzzzzzz = 1", "[rollout.web]\nzzzzzzzz = 1"] {
        let error = lock_server::parse(file, Path::new(LOCK_SERVER_FILE)).expect_err(file).to_string();
        let (_, known) = error.split_once("the keys here are ").unwrap_or_else(|| panic!("{file}\n{error}"));
        keys.extend(known.lines().next().unwrap_or_default().split(", ").map(str::to_owned));
    }
    assert!(keys.len() >= 15, "only these keys were found: {keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not explain {missing:?}");
}

/// The commands of a block: what stands behind a prompt (`$ ` or `mw1331$ `), with the lines that it goes on over.
fn commands_of(block: &Block) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = block.text.lines();
    while let Some(line) = lines.next() {
        let Some((prompt, command)) = line.split_once("$ ") else { continue };
        if prompt.contains(' ') {
            continue;
        }
        let mut command = command.to_owned();
        while let Some(begun) = command.strip_suffix('\\') {
            command = format!("{begun}{}", lines.next().unwrap_or_default());
        }
        commands.push(command);
    }
    commands
}

/// The words of a simple command, as a shell splits them, up to a pipe, a redirection or the next command.
fn words_of(command: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = command.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('\\', None) => word.get_or_insert_default().extend(letters.next()),
            ('|' | '>' | '<' | ';' | '&', None) => break,
            ('#', None) if word.is_none() => break,
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    assert!(quote.is_none(), "a quote does not end: {command}");
    words.extend(word);
    words
}

/// What is given to the program, when it is the program that is called: `stagger …`, or `cargo run -- …`.
fn arguments_of(command: &str) -> Option<Vec<String>> {
    let words = words_of(command);
    let is_setting = |word: &&String| word.split_once('=').is_some_and(|(name, _)| name.chars().all(is_of_variable));
    let skipped = words.iter().take_while(is_setting).count();
    let mut rest = &words[skipped..];
    while let Some(("sudo", after)) = rest.split_first().map(|(first, after)| (first.as_str(), after)) {
        rest = after;
    }
    let starts_with =
        |beginning: &[&str]| rest.len() >= beginning.len() && rest.iter().zip(beginning).all(|(a, b)| a == b);
    match () {
        () if starts_with(&["stagger"]) => Some(rest.to_vec()),
        () if starts_with(&["cargo", "run", "--"]) => {
            Some(std::iter::once("stagger".to_owned()).chain(rest[3..].iter().cloned()).collect())
        }
        () => None,
    }
}

fn is_of_variable(letter: char) -> bool {
    letter.is_ascii_uppercase() || letter == '_'
}

#[test]
fn command_lines_can_be_typed() {
    let mut typed = 0;
    let mut wrong = Vec::new();
    for block in all_blocks().iter().filter(|block| block.kind == "console") {
        for command in commands_of(block) {
            let Some(arguments) = arguments_of(&command) else { continue };
            typed += 1;
            if let Err(error) = stagger::cli::command().try_get_matches_from(&arguments)
                && error.use_stderr()
            {
                wrong.push(format!("{}: {command}\n{error}", block.place));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(typed >= 30, "only {typed} commands were found");
}

/// Where the links of a page lead: what stands between `](` and `)`, outside of blocks.
fn links_of(text: &str) -> Vec<String> {
    let mut is_block = false;
    let mut links = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        }
        if is_block {
            continue;
        }
        let ends = line.split("](").skip(1).filter_map(|after| after.split_once(')'));
        links.extend(ends.map(|(link, _)| link.to_owned()));
    }
    links
}

/// The place that a heading can be linked by.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect::<String>().to_lowercase()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    text.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line.trim_start_matches('#')) == wanted)
}

#[test]
fn links_lead_somewhere() {
    let (mut found, mut wrong) = (0, Vec::new());
    for (path, text) in pages() {
        for link in links_of(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            found += 1;
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            match (target.exists(), place) {
                (false, _) => wrong.push(format!("{}: {link}: there is no {}", path.display(), target.display())),
                (true, "") => {}
                (true, _) => {
                    let page = std::fs::read_to_string(&target).expect("a page");
                    if !has_heading(&page, place) {
                        wrong.push(format!("{}: {link}: no such heading", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(found >= 20, "only {found} links were found");
}

#[test]
fn index_names_every_page() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).expect("the index");
    let links = links_of(&index);
    for (path, _) in pages() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let is_page = path.parent().is_some_and(|folder| folder.ends_with("docs")) && name != "README.md";
        assert!(!is_page || links.contains(&name), "docs/README.md does not name {name}");
    }
}

/// Every test of the project: its name, and the file that it is in.
fn every_test() -> BTreeSet<(String, PathBuf)> {
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "model", "coordinator", "lockserver"].iter().map(|name| root().join(name)).collect();
    let mut tests = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                let mut is_test = false;
                for line in text.lines().map(str::trim) {
                    let name =
                        line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
                    match name {
                        Some(name) if is_test => {
                            tests.insert((name.to_owned(), path.clone()));
                            is_test = false;
                        }
                        Some(_) => is_test = false,
                        None => is_test |= line == "#[test]" || line.starts_with("#[tokio::test"),
                    }
                }
            }
        }
    }
    tests
}

#[test]
fn every_test_that_the_scenarios_name_exists() {
    let page = std::fs::read_to_string(root().join("docs/scenarios.md")).expect("the page");
    let tests = every_test();
    assert!(tests.len() > 500, "only {} tests were found", tests.len());
    let (mut named, mut wrong) = (0, Vec::new());
    let rows = page.lines().filter(|line| line.starts_with("| "));
    for cell in rows.filter_map(|line| line.trim_end_matches(['|', ' ']).rsplit_once(" | ")).map(|(_, cell)| cell) {
        for written in cell.split('`').skip(1).step_by(2) {
            named += 1;
            let (modules, name) = written.rsplit_once("::").unwrap_or(("", written));
            // Each module is a folder or a file on the way to it.
            let is_there = |path: &Path| {
                let inside = path.strip_prefix(root()).expect("ours").with_extension("");
                modules.split("::").all(|module| inside.components().any(|part| part.as_os_str() == module))
            };
            if !tests.iter().any(|(test, path)| test == name && is_there(path)) {
                wrong.push(written.to_owned());
            }
        }
    }
    assert!(wrong.is_empty(), "docs/scenarios.md names tests that are not there:\n{}", wrong.join("\n"));
    assert!(named >= 60, "only {named} tests are named");
    for number in 1..=25 {
        assert!(page.contains(&format!("\n| {number} | ")), "scenario {number} is not on the page");
    }
}

#[test]
fn words_are_split_as_a_shell_does() {
    let split = |text| words_of(text).join("|");
    assert_eq!(
        split(r#"stagger pause all --reason "network maintenance" --for 2h"#),
        "stagger|pause|all|--reason|network maintenance|--for|2h"
    );
    assert_eq!(split("stagger completions bash > /etc/x"), "stagger|completions|bash");
    assert_eq!(split("stagger run -p a -- sh -c 'a && b' | less"), "stagger|run|-p|a|--|sh|-c|a && b");
    assert_eq!(split("stagger leases  # all of them"), "stagger|leases");
    assert_eq!(arguments_of("NO_COLOR=1 sudo stagger leases").map(|words| words.len()), Some(2));
    assert_eq!(arguments_of("cargo run -- demo").map(|words| words.join(" ")).as_deref(), Some("stagger demo"));
    assert_eq!(arguments_of("curl localhost"), None);
    let text = "$ stagger \\\n  leases\nmw1$ stagger why\nit costs 3$ or so\n".to_owned();
    let block = Block { place: String::new(), kind: "console".to_owned(), text };
    assert_eq!(commands_of(&block).iter().filter_map(|line| arguments_of(line)).count(), 2);
    assert_eq!(anchor(" What a wrong file looks like"), "what-a-wrong-file-looks-like");
}
