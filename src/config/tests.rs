use super::*;
const BASE: &str = r#"coordinator = "http://locks:7532"
[service.php-fpm]
restart = { kind = "exec", command = ["true"] }
pools = ["app-eqiad"]
depool = { kind = "none" }
"#;
fn sur() -> Surroundings { Surroundings { hostname: "mw1331".into(), state_directory: None } }
#[test]
fn dump() {
    let cases: Vec<String> = vec![
        format!("{BASE}slots = \"10%\"\n"),
        format!("{BASE}canary = true\n"),
        format!("{BASE}stedy = \"2s\"\n"),
        BASE.replace("depool = { kind = \"none\" }\n", ""),
        BASE.replace("\"none\"", "\"haproxy\""),
        BASE.replace("\"none\"", "\"nome\""),
        BASE.replace("\"app-eqiad\"", "\"\""),
        BASE.replace("[\"app-eqiad\"]", "[]"),
        BASE.replace("[\"app-eqiad\"]", "\"app\""),
        BASE.replace("http://locks:7532", "redis://locks"),
        BASE.replace("coordinator", "cordinator"),
        BASE.replace("coordinator = \"http://locks:7532\"\n", ""),
        format!("{BASE}steady = \"8d\"\n"),
        format!("{BASE}steady = 3\n"),
        format!("{BASE}steady = \"3\"\n"),
        format!("{BASE}drain = {{ min = \"5s\", max = \"3s\" }}\n"),
        format!("{BASE}[service.php-fpm.verify]\nhttp = \"http://127.0.0.1/\"\nexpect = \"statsu == 200\"\n"),
        format!("{BASE}[service.php-fpm.verify]\nhttp = \"http://127.0.0.1/\"\nexpect = \"status = 200\"\n"),
        format!("{BASE}[service.php-fpm.verify]\ntimes = 3\n"),
        format!("{BASE}[service.php-fpm.verify]\nfastcgi = \"x\"\n"),
        format!("{BASE}pools = [\"a\"]\n"),
        "coordinator = ".to_owned(),
        BASE.replace("\"exec\"", "\"systemd\""),
        format!("{BASE}[service.b]\n[service.c]\nrestart = {{ kind = \"exec\", command = [] }}\n"),
    ];
    for text in cases {
        match parse(&text, Path::new("/etc/stagger/stagger.toml"), &sur()) {
            Ok(config) => eprintln!("OK {config:#?}\n"),
            Err(error) => eprintln!("{error}\n"),
        }
    }
}
