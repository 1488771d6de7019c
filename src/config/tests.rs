//! What a host's file may say, and the very text that is shown when it says something else.

use super::depool::{Method, Way};
use super::place::Place;
use super::service::{OnFailure, Unreachable};
use super::steps::Then;
use super::*;
use std::time::Duration;

const BASE: &str = r#"coordinator = "http://locks:7532"
[service.php-fpm]
restart = { kind = "exec", command = ["systemctl", "restart", "php"] }
pools = ["app-eqiad"]
depool = { kind = "none" }
"#;

const FULL: &str = r#"
coordinator = "http://[::1]:7532/eqiad/"
listen      = "0.0.0.0:0"
host        = "mw1"
state       = "/srv/{host}"

[service.app]
restart     = { kind = "exec", command = ["restart", "{host}"], timeout = "1m30s", identity = ["pid"] }
pools       = ["app", "rack.b4"]
on_failure  = "release"
unreachable = "restart"
steady      = "2s"

[service.app.check]
exec  = ["figures"]
rules = [
  { when = "answer.free_mib <= 100", then = "restart" },
  { when = "answer.fragmentation >= 95", then = { exec = ["clear"] } },
]

[service.app.depool]
kind      = "http"
balancers = ["http://lb1:9000", "http://lb2:9000/"]
out       = { method = "PUT", url = "{balancer}/servers/{host}", body = '{"state":"drain","on":"{balancer}"}' }
in        = { url = "{balancer}/servers/{host}/ready" }
status    = { url = "{balancer}/servers/{host}", out_when = "answer.state == 'drain'", in_when = "answer.state == 'ready'" }
timeout   = "2s"
tries     = 7
pause     = "200ms"

[service.app.drain]
http  = "http://127.0.0.1/in-flight"
until = "answer.count <= 1"
min   = "1s"
max   = "1m"

[service.app.verify]
tcp    = "127.0.0.1:80"
times  = 5
every  = "500ms"
within = "20s"
"#;

fn surroundings() -> Surroundings {
    Surroundings { hostname: "mw1331".to_owned(), state_directory: None }
}

fn good(text: &str) -> Config {
    parse(text, Path::new("stagger.toml"), &surroundings()).unwrap_or_else(|error| panic!("{error}"))
}

fn bad(text: &str) -> String {
    match parse(text, Path::new("stagger.toml"), &surroundings()) {
        Ok(config) => panic!("accepted as {config:#?}"),
        Err(error) => error.to_string(),
    }
}

/// The base with one line more in its service.
fn with(line: &str) -> String {
    format!("{BASE}{line}\n")
}

fn by_command(command: &str, identity: Option<&str>) -> restart::Way {
    let words = |text: &str| Command::new(text.split(' ').map(str::to_owned).collect()).expect("a command");
    restart::Way::Exec(restart::Commands { command: words(command), identity: identity.map(words) })
}

fn service(config: &Config) -> &ServiceConfig {
    config.services.values().next().expect("a service")
}

#[test]
fn the_smallest_useful_file_has_a_safe_default_for_everything() {
    let config = good(BASE);
    assert_eq!(config.coordinator.as_str(), "http://locks:7532");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7533");
    assert_eq!(config.host.as_str(), "mw1331");
    assert_eq!(config.state, Path::new("/var/lib/stagger"));
    let service = service(&config);
    assert_eq!(service.name.as_str(), "php-fpm");
    assert_eq!(service.restart.timeout, Duration::from_secs(90));
    assert_eq!(service.restart.way, by_command("systemctl restart php", None));
    assert_eq!((service.on_failure, service.unreachable), (OnFailure::Keep, Unreachable::Stay));
    assert_eq!(service.steady, Duration::ZERO);
    assert_eq!((service.check.is_none(), service.verify.is_none()), (true, true));
    assert_eq!(
        service.drain,
        Drain { min: Duration::ZERO, max: Duration::ZERO, until: None, sessions: None },
        "there is no balancer"
    );
    assert_eq!(service.depool.way, Way::None);
    assert_eq!(service.depool.tries, 5);
    let flag = BASE.replace("kind = \"none\"", "kind = \"file\", path = \"/run/out\"");
    let drain = Drain { min: Duration::from_secs(3), max: Duration::from_secs(30), until: None, sessions: None };
    assert_eq!(self::service(&good(&flag)).drain, drain, "where there is one");
    assert_eq!(
        self::service(&good(&(flag + "drain = { max = \"1m\" }\n"))).drain.min,
        drain.min,
        "unless said otherwise"
    );
}

#[test]
fn the_full_file_says_everything_and_the_host_is_filled_in() {
    let config = good(FULL);
    assert_eq!(config.coordinator.as_str(), "http://[::1]:7532/eqiad");
    assert_eq!(config.state, Path::new("/srv/mw1"));
    assert_eq!(config.listen.port(), 0);
    let service = service(&config);
    assert_eq!(service.restart.way, by_command("restart mw1", Some("pid")));
    assert_eq!(service.pools.iter().map(model::names::Pool::as_str).collect::<Vec<_>>(), ["app", "rack.b4"]);
    assert_eq!((service.on_failure, service.unreachable), (OnFailure::Release, Unreachable::Restart));
    let check = service.check.as_ref().expect("a check");
    assert_eq!(check.rules[0].then, Then::Restart);
    assert!(matches!(&check.rules[1].then, Then::Exec(command) if command.program() == "clear"));
    let Way::Http(balancers) = &service.depool.way else { panic!("{:?}", service.depool.way) };
    let (first, second) = (&balancers[0], &balancers[1]);
    assert_eq!((first.name.as_str(), second.name.as_str()), ("lb1:9000", "lb2:9000"));
    assert_eq!((first.take_out.method, first.put_in.method), (Method::Put, Method::Post));
    assert_eq!(second.take_out.url.as_str(), "http://lb2:9000/servers/mw1");
    assert_eq!(second.take_out.body.as_deref(), Some(r#"{"state":"drain","on":"http://lb2:9000"}"#));
    assert_eq!(first.status.probe.timeout, Duration::from_secs(2));
    assert_eq!((service.depool.tries, service.depool.pause), (7, Duration::from_millis(200)));
    let verify = service.verify.as_ref().expect("a verify");
    let expect = verify.probe.as_ref().map(|(_, expect)| expect.text());
    assert_eq!((expect, verify.times), (Some("connected"), 5));
    assert_eq!((verify.every, verify.within), (Duration::from_millis(500), Duration::from_secs(20)));
    assert_eq!(service.drain.until.as_ref().map(|(_, until)| until.text()), Some("answer.count <= 1"));
}

#[test]
fn the_longest_end_of_a_sequence_counts_each_step_and_every_try() {
    let longest = |text: &str| service(&good(text)).longest_end();
    assert_eq!(longest(BASE), Duration::from_secs(90), "nothing but the restart");
    assert_eq!(longest(&with("steady = \"7s\"")), Duration::from_secs(97));
    let behind_a_balancer = BASE.replace("{ kind = \"none\" }", "{ kind = \"file\", path = \"/out\", tries = 2 }");
    // Twice: two looks and a move of 5 s each, and a pause of 1 s with its jitter.
    assert_eq!(longest(&behind_a_balancer), Duration::from_secs(90 + 33));
    let verified = with("verify = { tcp = \"a:1\", within = \"20s\" }\nsteady = \"7s\"");
    assert_eq!(longest(&verified), Duration::from_secs(110), "it is steady within that time");
    let restart = |keys: &str| {
        let (before, after) = BASE.split_once("restart = ").expect("a restart");
        format!("{before}restart = {{ {keys} }}{}", &after[after.find('\n').expect("a line")..])
    };
    let units = restart("kind = \"systemd\", units = [\"a.service\", \"b.service\", \"c.service\"], timeout = \"20s\"");
    assert_eq!(longest(&units), Duration::from_secs(60), "each unit has its time");
    let boots = restart("kind = \"reboot\"") + "steady = \"7s\"\n";
    assert_eq!(longest(&boots), Duration::from_secs(7), "a worker whose host goes down ends at once");
}

#[test]
fn slots_in_a_hosts_file_are_answered_with_the_command_that_sets_them() {
    assert_eq!(
        bad(&with("slots = \"10%\"")),
        r#"error: unknown key `slots`
 --> stagger.toml:6:1
  |
6 | slots = "10%"
  | ^^^^^ a pool's size lives in the coordinator, so hosts cannot disagree
  |
help: stagger set pool/app-eqiad slots=10% --reason …"#
    );
    assert!(bad(&with("ttl = \"30s\"")).ends_with("help: stagger set pool/app-eqiad ttl=30s --reason …"));
    assert!(bad(&with("max_failures = 3")).ends_with("help: stagger set service/php-fpm max_failures=3 --reason …"));
}

#[test]
fn a_service_without_depool_is_refused_and_none_must_be_said() {
    assert_eq!(
        bad(&BASE.replace("depool = { kind = \"none\" }\n", "")),
        r#"error: service `php-fpm` does not say how it leaves its balancers
 --> stagger.toml:2:10
  |
2 | [service.php-fpm]
  |          ^^^^^^^ missing key `depool`
  |
help: depool = { kind = "haproxy", … }, "file" or another; { kind = "none" } when there is no balancer"#
    );
}

#[test]
fn a_pool_without_a_name_is_refused() {
    assert_eq!(
        bad(&BASE.replace("\"app-eqiad\"", "\"\"")),
        r#"error: cannot use `service.php-fpm.pools`
 --> stagger.toml:4:10
  |
4 | pools = [""]
  |          ^^ a pool needs a name, and this one is empty"#
    );
    assert!(bad(&BASE.replace("[\"app-eqiad\"]", "[]")).contains("a service restarts under 1 to 8 pools"));
    assert!(bad(&BASE.replace("[\"app-eqiad\"]", "[\"a\", \"a\"]")).contains("this pool is listed twice"));
    assert!(bad(&BASE.replace("[\"app-eqiad\"]", "\"app\"")).contains("pools wants a list of pool names"));
    let nine = (0..9).map(|number| format!("\"p{number}\"")).collect::<Vec<_>>().join(", ");
    assert!(bad(&BASE.replace("\"app-eqiad\"", &nine)).contains("a service restarts under 1 to 8 pools"));
}

#[test]
fn an_unknown_key_is_refused_with_the_known_ones_or_the_near_one() {
    assert_eq!(
        bad(&with("stedy = \"2s\"")),
        r#"error: unknown key `stedy`
 --> stagger.toml:6:1
  |
6 | stedy = "2s"
  | ^^^^^ not a key in [service.php-fpm]
  |
help: did you mean `steady`?"#
    );
    assert_eq!(
        bad("coordinator = \"http://locks:7532\"\ntoken_file = \"/etc/token\"\n"),
        r#"error: unknown key `token_file`
 --> stagger.toml:2:1
  |
2 | token_file = "/etc/token"
  | ^^^^^^^^^^ not a key at the top
  |
help: the keys here are coordinator, token, tls, trusted_network, listen, host, state, service"#
    );
    let keys = "the keys here are http, tcp, exec, fastcgi, script, connections, timeout";
    assert!(bad(&with("[service.php-fpm.verify]\npromql = \"up\"")).contains(keys));
}

#[test]
fn an_unknown_kind_is_refused_with_the_known_ones() {
    assert_eq!(
        bad(&BASE.replace("\"none\"", "\"ipvsadm\"")),
        r#"error: unknown kind `ipvsadm`
 --> stagger.toml:5:19
  |
5 | depool = { kind = "ipvsadm" }
  |                   ^^^^^^^^^ this build knows none, haproxy, file, lame-duck, http, conftool, exec"#
    );
    assert!(bad(&BASE.replace("\"none\"", "\"nonne\"")).ends_with("help: did you mean \"none\"?"));
    assert!(
        bad(&BASE.replace("kind = \"exec\"", "kind = \"runit\"")).contains("this build knows systemd, exec, reboot")
    );
}

#[test]
fn impossible_durations_are_refused_with_their_place() {
    assert_eq!(
        bad(&with("steady = \"8d\"")),
        r#"error: cannot use `service.php-fpm.steady`
 --> stagger.toml:6:10
  |
6 | steady = "8d"
  |          ^^^^ longer than 7d"#
    );
    assert!(bad(&with("steady = 3")).contains("steady wants a duration with its unit"));
    assert!(bad(&with("steady = \"3\"")).contains("durations are written like 3s"));
    assert!(bad(&with("steady = \"-3s\"")).contains("durations are written like 3s"));
    assert!(
        bad(&with("drain = { min = \"5s\", max = \"3s\" }")).contains("^^^^ at least 5s, and at most 3s"),
        "the least is above the most"
    );
    let verify = "[service.php-fpm.verify]\ntcp = \"a:1\"\n";
    assert!(bad(&with(&format!("{verify}every = \"0s\""))).contains("shorter than 10ms"));
    assert!(bad(&with(&format!("{verify}times = 61"))).contains("can never succeed"));
    assert!(bad(&with(&format!("{verify}times = 0"))).contains("not between 1 and 1000"));
    assert!(bad(&with(&format!("steady = \"60s\"\n{verify}"))).contains("steady for 1m: more than 1m"));
    let long = good(&with("drain = { min = \"40s\" }"));
    assert_eq!(service(&long).drain.max, Duration::from_secs(40), "the least alone moves the most");
}

#[test]
fn an_expression_is_refused_with_its_place_inside_the_text() {
    assert_eq!(
        bad(&with("[service.php-fpm.verify]\nhttp = \"http://a/\"\nexpect = \"statsu == 200\"")),
        r#"error: cannot use the expression `service.php-fpm.verify.expect`
 --> stagger.toml:8:11
  |
8 | expect = "statsu == 200"
  |           ^^^^^^ no variable `statsu` here, did you mean `status`? There are status, body, answer, headers"#
    );
    assert!(bad(&with("[service.php-fpm.verify]\ntcp = \"a:1\"\nexpect = \"connected &&\"")).contains(":8:"));
}

#[test]
fn a_probe_is_exactly_one_question() {
    let verify = |keys: &str| bad(&with(&format!("[service.php-fpm.verify]\n{keys}")));
    assert!(verify("times = 3").contains("[service.php-fpm.verify] asks nothing"));
    assert!(verify("tcp = \"a:1\"\nhttp = \"http://a/\"").contains("a second question"));
    assert!(verify("tcp = \"a\"").contains("an address is written HOST:PORT"));
    assert!(verify("tcp = \":1\"").contains("an address is written HOST:PORT"));
    assert!(verify("http = \"https://a/\"").contains("this build speaks http:// only"));
    assert!(verify("http = \"http:///x\"").contains("not a URL"));
    assert!(verify("http = \"http://me:secret@a/\"").contains("would be shown in reports"));
    assert!(verify("exec = []").contains("a command needs a program"));
    assert!(verify("exec = \"reload me\"").contains("no shell is involved"));
    assert!(bad(&with("drain = { until = \"exit == 0\" }")).contains("there is no answer to look at"));
    assert!(bad(&with("drain = { tcp = \"a:1\" }")).contains("missing key `until`"));
}

#[test]
fn a_fastcgi_server_is_asked_at_its_socket_or_port_for_a_script() {
    let asked = |at: &str, script: &str| {
        let config = good(&with(&format!("verify = {{ fastcgi = \"{at}\", script = \"{script}\" }}")));
        let verify = service(&config).verify.clone().expect("a verify");
        let (probe, expect) = verify.probe.expect("a probe");
        assert_eq!(expect.text(), "status == 200");
        match probe.question {
            Question::FastCgi(asked) => asked,
            other => panic!("{other}"),
        }
    };
    let status = asked("/run/{host}.sock", "/fpm-status?json&full");
    assert_eq!(status.at, Place::Unix("/run/mw1331.sock".into()));
    assert_eq!((status.script.path(), status.script.query()), ("/fpm-status", "json&full"));
    assert_eq!(status.to_string(), "fastcgi /run/mw1331.sock /fpm-status?json&full");
    let ping = asked("[::1]:9000", "/ping");
    assert_eq!((ping.at, ping.script.query()), (Place::Tcp("[::1]:9000".to_owned()), ""));

    let verify = |keys: &str| bad(&with(&format!("[service.php-fpm.verify]\n{keys}")));
    assert_eq!(
        verify("fastcgi = \"/run/x\""),
        r#"error: missing key `script`
 --> stagger.toml:6:1
  |
6 | [service.php-fpm.verify]
  | ^^^^^^^^^^^^^^^^^^^^^^^^ [service.php-fpm.verify] needs it
  |
help: script = … ("/fpm-status?json", or the path of a script)"#
    );
    assert!(verify("script = \"/x\"").contains("nobody is asked for it: say fastcgi"));
    assert!(verify("script = \"/x\"\nhttp = \"http://a/\"").contains("nobody is asked for it"));
    for (at, why) in [
        ("run/x", "a FastCGI server is named by its socket's path or by HOST:PORT"),
        ("localhost", "a FastCGI server is named by"),
        ("a:0", "a FastCGI server is named by"),
        (&format!("/{}", "x".repeat(107)), "the path of a socket has at most 107 bytes"),
    ] {
        assert!(verify(&format!("fastcgi = \"{at}\"\nscript = \"/x\"")).contains(why), "{at}");
    }
    for (script, why) in [
        ("fpm-status", "a path from the root is needed"),
        ("/a b", "spaces, # and control characters cannot stand in it"),
        ("/a#b", "spaces, # and control"),
        ("/a\\nb", "spaces, # and control"),
        (&format!("/{}", "x".repeat(2048)), "at most 2048 bytes"),
    ] {
        assert!(verify(&format!("fastcgi = \"/run/x\"\nscript = \"{script}\"")).contains(why), "{script}");
    }
    let expect = verify("fastcgi = \"/run/x\"\nscript = \"/x\"\nexpect = \"exit == 0\"");
    assert!(expect.contains("no variable `exit` here; there are status, body, answer, headers"), "{expect}");
}

#[test]
fn connections_are_those_of_a_port_an_address_or_a_path() {
    let counted = |written: &str| {
        let config = good(&with(&format!("drain = {{ connections = {written}, until = \"connections == 0\" }}")));
        let (probe, _) = service(&config).drain.until.clone().expect("a probe");
        match probe.question {
            Question::Connections(end) => end,
            other => panic!("{other}"),
        }
    };
    assert_eq!([counted("443"), counted("\"443\"")], [LocalEnd::Port(443), LocalEnd::Port(443)]);
    assert_eq!(counted("\"10.0.0.1:443\""), LocalEnd::Address("10.0.0.1:443".parse().expect("an address")));
    assert_eq!(counted("\"[::1]:443\"").to_string(), "[::1]:443");
    assert_eq!(counted("\"/run/{host}.sock\""), LocalEnd::Path("/run/mw1331.sock".into()));
    let drain =
        |written: &str, until: &str| bad(&with(&format!("drain = {{ connections = {written}, until = \"{until}\" }}")));
    for written in
        ["0", "65536", "-1", "true", "\"0\"", "\"10.0.0.1\"", "\"10.0.0.1:0\"", "\"localhost:443\"", "\"a b\""]
    {
        let said = drain(written, "connections == 0");
        assert!(
            said.contains("a port (443), an address of this host (10.0.0.1:443, [::1]:443) or a socket's path"),
            "{said}"
        );
    }
    assert!(drain("\"[::]:443\"", "connections == 0").contains("its port alone means every address"));
    assert!(drain("443", "connection == 0").contains("did you mean `connections`?"));
    assert!(drain("443", "answer.x == 0").contains("there are connections, close_wait, listeners"));
}

/// An expression of every kind of table that asks is compiled when the file is read, and found wrong there.
#[test]
fn an_expression_over_a_fastcgi_answer_is_refused_where_it_stands() {
    let fastcgi = "fastcgi = \"/run/x\", script = \"/x\"";
    let rules = "rules = [{ when = \"answer.free_mib <= \", then = \"restart\" }]";
    for line in [
        format!("check = {{ {fastcgi}, {rules} }}"),
        format!("check = {{ {fastcgi}, {} }}", rules.replace("answer.free_mib <= ", "answer.free_mib = 3")),
        format!("check = {{ {fastcgi}, {} }}", rules.replace("answer.free_mib <= ", "anwser.free_mib <= 3")),
        format!("drain = {{ {fastcgi}, until = \"answer['active processes' <= 1\" }}"),
        format!("verify = {{ {fastcgi}, expect = \"status = 200\" }}"),
    ] {
        let said = bad(&with(&line));
        assert!(
            said.starts_with("error: cannot use the expression `service.php-fpm.") && said.contains(":6:"),
            "{said}"
        );
    }
    for when in [
        "answer.keys >= answer.max_keys - 5000",
        "100 > 0 && answer.free_mib <= 100",
        "answer.apcu_fragmentation >= 95",
    ] {
        good(&with(&format!("check = {{ {fastcgi}, {} }}", rules.replace("answer.free_mib <= ", when))));
    }
}

#[test]
fn a_check_must_be_able_to_end_in_a_restart() {
    let check = |rules: &str| bad(&with(&format!("[service.php-fpm.check]\nexec = [\"x\"]\n{rules}")));
    assert!(check("").contains("missing key `rules`"));
    assert!(check("rules = []").contains("between 1 and 64 rules"));
    assert!(check("rules = [{ when = \"exit == 0\", then = { exec = [\"y\"] } }]").contains("would never restart"));
    assert!(check("rules = [{ when = \"exit == 0\", then = \"restrat\" }]").contains("did you mean \"restart\"?"));
    assert!(check("rules = [{ when = \"status == 0\", then = \"restart\" }]").contains("no variable `status` here"));
    let act = |then: &str| check(&format!("rules = [{{ when = \"exit == 0\", then = {then} }}]"));
    assert!(act("{}").contains("missing key `exec`"));
    assert!(act("{ fastcgi = \"/run/x\" }").contains("missing key `script`"));
    assert!(act("{ script = \"/x\" }").contains("nobody is asked for it"));
    assert!(act("{ exec = [\"x\"], fastcgi = \"/run/x\", script = \"/x\" }").contains("one rule does one thing"));
    assert!(act("{ fastcgi = \"/run/x\", script = \"/x\" }").contains("would never restart"));
}

#[test]
fn balancers_must_be_told_apart() {
    let depool = |more: &str, url: &str| {
        let status = format!("status = {{ url = \"{url}\", out_when = \"status == 1\", in_when = \"status == 2\" }}");
        let parts = format!("out = {{ url = \"{url}\" }}\nin = {{ url = \"{url}\" }}\n{status}\n{more}");
        let depool = format!("[service.php-fpm.depool]\nkind = \"http\"\n{parts}\n");
        BASE.replace("depool = { kind = \"none\" }\n", &depool)
    };
    let one = good(&depool("", "http://lb:1/{host}"));
    assert!(matches!(&service(&one).depool.way, Way::Http(all) if all[0].name == "lb:1"));
    assert!(bad(&depool("", "{balancer}/x")).contains("{balancer} needs `balancers`"));
    assert!(bad(&depool("balancers = [\"http://a\"]", "http://a/x")).contains("every balancer is the same one"));
    assert!(bad(&depool("balancers = [\"http://a\", \"http://a/\"]", "{balancer}/x")).contains("listed twice"));
    assert!(bad(&depool("balancers = []", "{balancer}/x")).contains("between 1 and 16 balancers"));
    assert!(bad(&depool("path = \"/x\"", "http://a/")).contains("unknown key `path`"), "another kind's key");
}

/// The base, with this way to depool and these lines behind it.
fn depooled(keys: &str, more: &str) -> String {
    BASE.replace("depool = { kind = \"none\" }\n", &format!("depool = {{ {keys} }}\n{more}\n"))
}

#[test]
fn haproxys_servers_are_exact_names_at_every_socket() {
    let keys = |sockets: &str, server: &str| format!("kind = \"haproxy\", sockets = {sockets}, server = {server}");
    let config =
        good(&depooled(&keys(r#"["lb1:9999", "/run/{host}.sock"]"#, r#"["app/{host}", "api/{host}:80"]"#), ""));
    let depool = &service(&config).depool;
    let Way::Haproxy(servers) = &depool.way else { panic!("{:?}", depool.way) };
    let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
    let expected = [
        "lb1:9999 app/mw1331",
        "/run/mw1331.sock app/mw1331",
        "lb1:9999 api/mw1331:80",
        "/run/mw1331.sock api/mw1331:80",
    ];
    assert_eq!(names, expected);
    assert_eq!((depool.tries, depool.timeout, depool.pause), (10, Duration::from_secs(5), Duration::from_secs(1)));
    let one = |sockets: &str, server: &str| bad(&depooled(&keys(sockets, server), ""));
    let servers = |server: &str| one("[\"lb1:9999\"]", server);
    assert!(servers("\"{host}\"").contains("a server is written BACKEND/SERVER"));
    for (name, wrong) in [
        ("app/", ""),
        ("/mw1", ""),
        ("app/#3", "#3"),
        ("a b/mw1", "a b"),
        ("app/mw1;quit", "mw1;quit"),
        ("app/a/b", "a/b"),
    ] {
        assert!(servers(&format!("{name:?}")).contains(&format!("{wrong:?} is no name in HAProxy")), "{name}");
    }
    assert!(servers("[]").contains("between 1 and 64 servers, over all sockets"));
    assert!(servers("[\"app/{host}\", \"app/mw1331\"]").contains("this server is listed twice"));
    assert!(servers("\"app/{hots}\"").contains("did you mean `{host}`?"));
    let sockets = |sockets: &str| one(sockets, "\"app/{host}\"");
    assert!(sockets("[]").contains("between 1 and 16 sockets"));
    assert!(sockets("\"lb1:9999\"").contains("sockets wants a list of sockets"));
    for (socket, help) in [
        ("lb1", None),
        ("run/haproxy.sock", None),
        ("unix:/run/h.sock", Some("/run/h.sock")),
        ("unix:///run/h.sock", Some("/run/h.sock")),
        ("unix@/run/h.sock", Some("/run/h.sock")),
        ("ipv4@127.0.0.1:21999", Some("127.0.0.1:21999")),
        ("tcp://lb1:9999", Some("lb1:9999")),
        ("http://lb1:9999/", None),
    ] {
        let said = sockets(&format!("[\"{socket}\"]"));
        assert!(said.contains("a socket is HOST:PORT, or a path from the root"), "{said}");
        assert_eq!(help.map(|help| said.contains(&format!("did you mean \"{help}\"?"))), help.map(|_| true), "{said}");
    }
    assert!(sockets("[\"lb1:9999\", \"lb1:9999\"]").contains("this socket is listed twice"));
    assert!(bad(&depooled("kind = \"haproxy\", server = \"app/{host}\"", "")).contains("missing key `sockets`"));
}

#[test]
fn sessions_are_counted_by_balancers_that_can() {
    let haproxy = "kind = \"haproxy\", sockets = [\"lb1:9999\"], server = \"app/{host}\"";
    let config = good(&depooled(haproxy, "drain = { sessions = 2 }"));
    assert_eq!(service(&config).drain, Drain { sessions: Some(2), ..Drain::default() });
    assert_eq!(service(&good(&depooled(haproxy, ""))).drain, Drain::default());
    let probe = "drain = { sessions = 0, exec = [\"x\"], until = \"exit == 0\" }";
    assert!(bad(&depooled(haproxy, probe)).contains("either `sessions`, or a probe with `until`"));
    assert!(bad(&depooled(haproxy, "drain = { sessions = -1 }")).contains("not between 0 and 1000000"));
    let file = "kind = \"file\", path = \"/out\"";
    assert!(
        bad(&depooled(file, "drain = { sessions = 0 }"))
            .contains("only balancers of `kind = \"haproxy\"` count sessions")
    );
}

#[test]
fn a_lame_duck_is_told_apart_by_its_address_and_path() {
    let duck = |keys: &str| depooled(&format!("kind = \"lame-duck\", {keys}"), "");
    let config = good(&duck("listen = \"0.0.0.0:7534\", path = \"/health/{host}\", tries = 3"));
    let duck_of_it = service(&config).depool.way.lame_duck().expect("a lame duck");
    assert_eq!(duck_of_it.url.as_str(), "http://127.0.0.1:7534/health/mw1331");
    assert_eq!(duck_of_it.flag.path, Path::new("/var/lib/stagger/lame-duck.php-fpm"));
    let config = good(&duck("listen = \"[::]:7534\""));
    assert_eq!(service(&config).depool.way.lame_duck().map(|duck| duck.url.as_str()), Some("http://[::1]:7534/"));
    assert!(bad(&duck("listen = \"0.0.0.0:0\"")).contains("the balancers must know the port"));
    assert!(bad(&duck("listen = \"7534\"")).contains("cannot use `service.php-fpm.depool.listen`"));
    assert!(bad(&duck("listen = \"[::]:7534\", path = \"health\"")).contains("a path of a URL is needed"));
    assert!(bad(&duck("listen = \"[::]:7534\", path = \"/a?b\"")).contains("a path of a URL is needed"));
    let two = |path: &str| {
        let second = BASE.split_once("[service.php-fpm]").expect("a service").1;
        let second = second
            .replace("kind = \"none\"", &format!("kind = \"lame-duck\", listen = \"[::]:7534\", path = {path:?}"));
        format!("{}[service.web]{second}", duck("listen = \"[::]:7534\", path = \"/a\""))
    };
    good(&two("/b"));
    let said = bad(&two("/a"));
    assert!(said.contains("error: two services answer at [::]:7534/a") && said.contains("of php-fpm, too"), "{said}");
}

#[test]
fn coordinators_are_lock_servers_by_port_or_stores() {
    let coordinator = |url: &str| url.parse::<CoordinatorUrl>().map(|url| url.to_string());
    assert_eq!(coordinator("http://a:1/"), Ok("http://a:1".to_owned()));
    assert_eq!(coordinator("http://a:1/eqiad"), Ok("http://a:1/eqiad".to_owned()));
    for url in ["redis://a:6379", "redis+sentinel://a:1,b:2/mymaster/eqiad", "etcd://a:2379,b:2379/eqiad"] {
        assert_eq!(coordinator(url), Ok(url.to_owned()));
    }
    assert_eq!(
        coordinator("redis://me:secret@a:6379/eqiad"),
        Ok("redis://me:…@a:6379/eqiad".to_owned()),
        "no password is shown"
    );
    for url in ["redis://a:x", "etcd://a:x", "redis+sentinel://a:1"] {
        assert!(matches!(coordinator(url), Err(CoordinatorUrlError::Store(_))), "{url}");
    }
    let meant = "http://127.0.0.1:21532".to_owned();
    assert_eq!(coordinator("127.0.0.1:21532"), Err(CoordinatorUrlError::NoScheme { meant }));
    for url in ["ftp://a:1", "a", ""] {
        assert_eq!(coordinator(url), Err(CoordinatorUrlError::Scheme), "{url}");
    }
    for url in ["http://a", "http://:1", "http://a:0", "http://a:x", "http://u@a:1", "http://a b:1"] {
        assert_eq!(coordinator(url), Err(CoordinatorUrlError::Authority), "{url}");
    }
    for url in ["http://a:1/b/c", "http://a:1/b?c", "http://a:1//", "redis://a//", "redis://a/b//"] {
        assert_eq!(coordinator(url), Err(CoordinatorUrlError::Domain), "{url}");
    }
    assert!(bad(&BASE.replace("http://locks:7532", "ftp://locks")).contains("a coordinator is reached by http://, "));
}

#[test]
fn every_service_is_told_its_first_mistake_in_the_order_of_the_file() {
    let text = "coordinator = \"http://a:1\"\n[service.z]\npools = 1\n[service.b]\nslots = 2\n[service.'c d']\n";
    let said = bad(text);
    let starts: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        starts,
        ["error: missing key `restart`, or `units`", "error: unknown key `slots`", "error: unusable service name"]
    );
}

#[test]
fn what_is_no_toml_is_shown_where_it_breaks() {
    let said = bad("coordinator = \n");
    assert!(said.starts_with("error: this is not TOML\n --> stagger.toml:1:15\n"), "{said}");
    assert!(bad("ключ = \"é").contains("this is not TOML"));
}

#[test]
fn a_file_that_is_too_deep_is_refused() {
    for deep in [
        format!("x = {}", "[".repeat(100_000)),
        format!("[{}a]\nb = 1", "a.".repeat(100_000)),
        "x = {a=".repeat(50_000),
    ] {
        assert!(bad(&deep).starts_with("error: "));
    }
}

#[test]
fn the_surroundings_fill_in_what_the_file_leaves_out() {
    let state_directory = Some(PathBuf::from("/run/state"));
    let given = Surroundings { hostname: "h".to_owned(), state_directory };
    let config = parse(BASE, Path::new("x"), &given).expect("a configuration");
    assert_eq!((config.host.as_str(), config.state.as_path()), ("h", Path::new("/run/state")));
    let nameless = parse(BASE, Path::new("x"), &Surroundings::default()).expect_err("no name");
    assert!(nameless.to_string().contains("the system's own name cannot be used"), "{nameless}");
    let system = Surroundings::of_system(None);
    assert!(!system.hostname.is_empty() && !system.hostname.contains('.'), "{system:?}");
}

#[test]
fn a_file_is_read_or_it_is_said_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("stagger.toml");
    let missing = load(&path, &surroundings()).expect_err("no file");
    assert!(missing.to_string().starts_with("error: cannot read the configuration "), "{missing}");
    assert!(missing.to_string().ends_with("\nhint: another file: -c FILE"), "{missing}");
    std::fs::write(&path, BASE).expect("written");
    assert_eq!(load(&path, &surroundings()).expect("a configuration").services.len(), 1);
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).expect("written");
    assert!(matches!(load(&path, &surroundings()), Err(ConfigError::TooLarge { .. })));
}

/// What a random change puts into a file: pieces that mean something in it.
const PIECES: [&str; 22] = [
    "\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "{host}",
    "{balancer}",
    "é",
    "\0",
    "#",
    "-1",
    "1e9",
    "then",
    "when",
    "answer.",
    "service",
    "(((",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_stands_in_a_file_is_read_or_refused_with_a_place(
        changes in proptest::collection::vec((0usize..2000, 0usize..PIECES.len(), 0usize..6), 0..6)
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, piece, dropped) in changes {
            let at = at % text.len();
            let end = (at + dropped).min(text.len());
            text.splice(at..end, PIECES[piece].chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text, Path::new("stagger.toml"), &surroundings()) {
            let said = error.to_string();
            assert!(said.starts_with("error: ") && said.contains("--> stagger.toml:"), "{said}");
        }
    }

    #[test]
    fn whatever_stands_in_an_expression_is_compiled_or_refused(text in "[a-z0-9 .()\\[\\]{}'\"!&|<>=?:,+*/%@\\\\é-]{0,40}") {
        if let Err(error) = Predicate::compile(&text, &["a", "answer"]) {
            assert!(!error.to_string().is_empty() && error.at.is_none_or(|at| at <= text.len()), "{error:?}");
        }
    }
}

#[test]
fn a_placeholder_that_there_is_not_is_refused_where_it_stands() {
    let text = BASE.replace("{ kind = \"none\" }", "{ kind = \"file\", path = \"/run/{hosts}.out\" }");
    let expected = "error: unknown placeholder `{hosts}`
 --> stagger.toml:5:34
  |
5 | depool = { kind = \"file\", path = \"/run/{hosts}.out\" }
  |                                  ^^^^^^^^^^^^^^^^^^ nothing is filled in for this in `service.php-fpm.depool.path`
  |
help: did you mean `{host}`?";
    assert_eq!(bad(&text), expected);
    for line in [
        "verify = { http = \"http://127.0.0.1/{name}\" }",
        "verify = { http = \"http://127.0.0.1/{balancer}\" }",
        "verify = { exec = [\"curl\", \"http://a/{Host}\"] }",
        "verify = { tcp = \"{hots}:80\" }",
    ] {
        assert!(bad(&with(line)).starts_with("error: unknown placeholder `{"), "{line}");
    }
    let mistyped = FULL.replacen("{balancer}", "{balancers}", 1);
    assert!(bad(&mistyped).contains("did you mean `{balancer}`?"), "{}", bad(&mistyped));
    // What a shell, awk or a body means by brackets is theirs.
    good(&with("verify = { exec = [\"sh\", \"-c\", \"echo ${PATH} {name} {} {a,b} {host}\"] }"));
}

/// The base with another way to restart.
fn restarted(by: &str) -> String {
    BASE.replace("restart = { kind = \"exec\", command = [\"systemctl\", \"restart\", \"php\"] }\n", by)
}

#[test]
fn units_are_short_for_a_restart_by_the_system_s_systemd() {
    let short = good(&restarted("units = [\"php8.2-fpm.service\", \"app@{host}.service\"]\n"));
    let restart = &service(&short).restart;
    let long = "restart = { kind = \"systemd\", units = [\"php8.2-fpm.service\", \"app@mw1331.service\"], manager = \"system\", action = \"restart\", timeout = \"90s\" }\n";
    assert_eq!(*restart, service(&good(&restarted(long))).restart);
    let restart::Way::Systemd(units) = &restart.way else { panic!("{restart:?}") };
    let names: Vec<&str> = units.units.iter().map(restart::UnitName::as_str).collect();
    assert_eq!(names, ["php8.2-fpm.service", "app@mw1331.service"]);
    assert_eq!((units.manager, units.action), (restart::Manager::System, restart::Action::Restart));
    let other = "restart = { kind = \"systemd\", units = [\"a.service\"], manager = \"user\", action = \"reload-or-restart\" }\n";
    let other = good(&restarted(other));
    let restart::Way::Systemd(units) = &service(&other).restart.way else { panic!("{other:?}") };
    assert_eq!((units.manager, units.action), (restart::Manager::User, restart::Action::ReloadOrRestart));
}

#[test]
fn how_a_service_restarts_is_said_once_and_completely() {
    assert_eq!(
        bad(&restarted("")),
        r#"error: missing key `restart`, or `units`
 --> stagger.toml:2:10
  |
2 | [service.php-fpm]
  |          ^^^^^^^ [service.php-fpm] does not say how it restarts
  |
help: units = ["NAME.service"]; or restart = { kind = "exec", command = ["COMMAND", …] }"#
    );
    assert!(bad(&with("units = [\"a.service\"]")).contains("`restart` says how it restarts already"));
    let systemd = |keys: &str| bad(&restarted(&format!("restart = {{ kind = \"systemd\", {keys} }}\n")));
    assert!(systemd("manager = \"user\"").contains("missing key `units`"));
    assert!(systemd("units = [\"a.service\"], manager = \"root\"").contains("this build knows system, user"));
    assert!(systemd("units = [\"a.service\"], action = \"reload\"").contains("knows restart, reload-or-restart"));
    assert!(systemd("units = [\"a.service\"], command = [\"x\"]").contains("unknown key `command`"));
}

#[test]
fn a_unit_is_named_in_full() {
    let units = |units: &str| bad(&restarted(&format!("units = [{units}]\n")));
    assert!(units("").contains("a service has 1 to 16 units"));
    assert!(units("\"a.service\", \"a.service\"").contains("this unit is listed twice"));
    assert!(units("\"php8.2-fpm\"").contains("a unit's name ends in its kind, such as `php8.2-fpm.service`"));
    assert!(units("\"app@.service\"").contains("name an instance of it, such as `app@1.service`"));
    assert!(units("\"user.slice\"").contains("no kind of unit that can be restarted"));
    for wrong in ["", "a b.service", "../a.service", "@x.service", ".service", "é.service"] {
        assert!(units(&format!("\"{wrong}\"")).contains("^ a unit's name "), "{wrong}");
    }
    let many: Vec<String> = (0..17).map(|number| format!("\"a{number}.service\"")).collect();
    assert!(units(&many.join(", ")).contains("a service has 1 to 16 units"));
    assert!(bad(&restarted("units = \"a.service\"\n")).contains("units wants a list of units"));
}

#[test]
fn a_reboot_takes_its_time_and_no_more_than_a_lease_may_be_silent() {
    let restart = |by: &str| restarted(&format!("restart = {{ kind = \"reboot\"{by} }}\n"));
    let config = good(&restart(""));
    let reboot = &service(&config).restart;
    assert_eq!(reboot.way, restart::Way::Reboot(restart::Reboot { command: None }));
    assert_eq!((reboot.timeout, reboot.away()), (Duration::from_secs(600), Duration::from_secs(600)));
    assert_eq!(service(&good(BASE)).restart.away(), Duration::ZERO, "a worker lives through any other restart");
    let config = good(&restart(", command = [\"reboot\"], timeout = \"2h\""));
    assert!(matches!(&service(&config).restart.way, restart::Way::Reboot(reboot) if reboot.command.is_some()));
    assert!(bad(&restart(", timeout = \"2h1s\"")).contains("a host that boots is waited for 2h at most"));
    assert!(bad(&restart(", units = [\"a.service\"]")).contains("unknown key `units`"));
}

/// The flag is gone then, and the host in: before anybody has verified it.
#[test]
fn what_says_that_a_host_is_out_survives_its_reboot() {
    let reboot = |depool: &str| {
        let text = restarted("restart = { kind = \"reboot\" }\n");
        text.replace("depool = { kind = \"none\" }", &format!("depool = {{ {depool} }}"))
    };
    for path in ["/run/stagger/php.out", "/var/run/php.out", "/dev/shm/php.out"] {
        let error = bad(&reboot(&format!("kind = \"file\", path = \"{path}\"")));
        assert!(error.contains("cannot use `service.php-fpm.depool`"), "{error}");
        assert!(error.contains("the flag must survive the reboot, and /"), "{error}");
        good(&reboot(&format!("kind = \"file\", path = \"{path}\", present = \"in\"")));
        let other = BASE.replace("kind = \"none\"", &format!("kind = \"file\", path = \"{path}\""));
        good(&other);
    }
    good(&reboot("kind = \"file\", path = \"/runtime/php.out\""));
    let duck = reboot("kind = \"lame-duck\", listen = \"127.0.0.1:9\"");
    good(&duck);
    let error = bad(&format!("state = \"/run/stagger\"\n{duck}"));
    assert!(error.contains("what the health URL says (`state`) must survive the reboot, and /run does not"), "{error}");
}

#[test]
fn a_service_may_be_well_when_a_unit_of_it_stays_up() {
    let verify = |keys: &str| with(&format!("[service.php-fpm.verify]\n{keys}"));
    let config = good(&verify("unit = \"php8.2-fpm.service\"\nactive = \"5s\""));
    let alone = service(&config).verify.as_ref().expect("a verify");
    assert_eq!((alone.probe.is_none(), alone.times), (true, 1), "one look at systemd tells all");
    let running = alone.unit.as_ref().expect("a unit");
    assert_eq!((running.unit.as_str(), running.active), ("php8.2-fpm.service", Duration::from_secs(5)));
    let config = good(&verify("unit = \"a.service\"\nhttp = \"http://a/\""));
    let both = service(&config).verify.as_ref().expect("a verify");
    assert_eq!((both.probe.is_some(), both.unit.is_some(), both.times), (true, true, 3));
    assert!(bad(&verify("active = \"5s\"")).contains("nothing says which unit"));
    assert!(bad(&verify("unit = \"a.service\"\nexpect = \"status == 200\"")).contains("there is no answer to look at"));
    assert!(bad(&verify("unit = \"a\"")).contains("ends in its kind"));
    let never = bad(&verify("unit = \"a.service\"\nactive = \"1m\""));
    assert!(never.contains("1 answer every 1s, steady for 0s, active for 1m: more than 1m"), "{never}");
}

#[test]
fn what_was_probably_meant_is_offered() {
    let dotted = BASE.replace("[service.php-fpm]", "[service.php8.2-fpm]");
    let said = bad(&dotted);
    assert!(said.contains("a name with a dot is quoted: [service.\"php8.2-fpm\"]"), "{said}");
    assert_eq!(service(&good(&dotted.replace("php8.2-fpm", "\"php8.2-fpm\""))).name.as_str(), "php8.2-fpm");
    let said = bad(&BASE.replace("\"none\"", "\"HAProxy\""));
    assert!(said.contains("did you mean \"haproxy\"?"), "{said}");
    let said = bad(&format!("listen = \"21543\"\n{BASE}"));
    assert!(
        said.contains("such as \"127.0.0.1:7533\"") && said.contains("did you mean \"127.0.0.1:21543\"?"),
        "{said}"
    );
    let said = bad(&format!("listen = \"localhost:1\"\n{BASE}"));
    assert!(said.contains("did you mean \"127.0.0.1:1\"?"), "{said}");
    let said = bad(&with("verify = { http = \"http://a:1/\", expect = \"status\" }"));
    assert!(said.contains("`status`, a number, is neither yes nor no: compare it, such as status == 200"), "{said}");
    let said = bad(&with("verify = { fastcgi = \"unix:/run/php.sock\", script = \"/ping\" }"));
    assert!(said.contains("did you mean \"/run/php.sock\"?"), "{said}");
    let said = bad(&with("steady = \"2min\""));
    assert!(said.contains("did you mean 2m?"), "{said}");
    let said = bad(&BASE.replace("http://locks:7532", "127.0.0.1:21532"));
    assert!(said.contains("did you mean http://127.0.0.1:21532?"), "{said}");
}

#[test]
fn a_server_is_named_for_its_host_when_the_name_stands_there_whole() {
    let unnamed = |server: &str, host: &str| {
        let depool = format!("{{ kind = \"haproxy\", sockets = [\"lb1:1\"], server = \"{server}\" }}");
        let text = format!("host = \"{host}\"\n{}", BASE.replace("{ kind = \"none\" }", &depool));
        match &service(&good(&text)).depool.way {
            Way::Haproxy(servers) => servers[0].unnamed.as_ref().map(ToString::to_string),
            other => panic!("{other:?}"),
        }
    };
    for (server, host) in [
        ("app/{host}", "web1"),
        ("app/x{host}x", "web1"),
        ("app/web1", "web1"),
        ("app/WEB1", "web1"),
        ("web1/http", "web1"),
        ("app/php-web1_80", "web1"),
        ("app/web1", "web1.eqiad.wmnet"),
        ("app/web1.eqiad", "web1"),
    ] {
        assert_eq!(unnamed(server, host), None, "{server} {host}");
    }
    for (server, host) in [("app/web2", "web1"), ("app/web10", "web1"), ("app/myweb1", "web1"), ("app/s10", "10.0.0.1")]
    {
        assert_eq!(unnamed(server, host).as_deref(), Some(host), "{server} {host}");
    }
}

#[test]
fn what_the_host_and_the_lock_server_know_each_other_by_is_said_at_the_top() {
    let with = |lines: &str| format!("{lines}\n{}", BASE.replace("http://locks", "https://locks"));
    let whole = "token = \"/etc/stagger/{host}.token\"\ntls = { ca = \"/ca\", cert = \"/c\", key = \"/k\" }\ntrusted_network = true";
    let config = good(&with(whole));
    assert_eq!(config.coordinator.as_str(), "https://locks:7532");
    let credentials = config.credentials;
    assert!(credentials.token.is_some_and(|path| path.starts_with("/etc/stagger") && path.extension().is_some()));
    assert_eq!((credentials.ca, credentials.identity), (Some("/ca".into()), Some(("/c".into(), "/k".into()))));
    assert!(credentials.trusted_network);
    assert_eq!(good(BASE).credentials, Default::default());
    for (lines, part) in [
        ("token = \"token\"", "from the root"),
        ("tls = { cert = \"/c\" }", "needs both"),
        ("tls = { verify = false }", "the keys here are ca, cert, key"),
        ("trusted_network = \"yes\"", "true or false"),
    ] {
        let told = bad(&with(lines));
        assert!(told.contains(part), "{lines}: {told}");
    }
}
