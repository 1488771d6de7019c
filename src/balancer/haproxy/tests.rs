//! What HAProxy's answers are read as, also those that it should never give. The real one is asked in `tests/balancers`.

use super::*;
use crate::config::depool::haproxy::Socket;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const COLUMNS: &str = "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port";

fn row(backend: &str, id: u32, server: &str, operation: u32, admin: u32) -> String {
    format!("3 {backend} {id} {server} 127.0.0.1 {operation} {admin} 1 1 16 15 3 4 6 0 0 0 - 80 - 0 0 - - 0\n")
}

fn states(rows: &str) -> String {
    format!("1\n# {COLUMNS}\n{rows}")
}

fn stats(server: &str, status: &str, check: &str) -> String {
    format!(
        "# pxname,svname,qcur,scur,status,weight,check_status,last_chk,\napp,{server},1,2,{status},1,{check},\"bad, \"\"odd\"\"\",\n"
    )
}

/// A server whose load balancer answers every connection with what is returned for the command.
async fn answered_by(answer: impl Fn(&str) -> String + Send + 'static) -> HaproxyServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut command = String::new();
            while !command.ends_with('\n') {
                let mut bytes = [0; 256];
                let count = stream.read(&mut bytes).await.expect("a command");
                command.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            let _closed_early = stream.write_all(answer(command.trim_end()).as_bytes()).await;
        }
    });
    HaproxyServer { socket: Socket::Tcp(address), backend: "app".to_owned(), server: "mw1".to_owned(), unnamed: None }
}

const WITHIN: Duration = Duration::from_secs(5);

async fn asked(states: String, stats: String) -> Said {
    let answer = move |command: &str| if command.starts_with("show stat ") { stats.clone() } else { states.clone() };
    ask(&answered_by(answer).await, WITHIN).await
}

#[tokio::test]
async fn an_answer_that_is_not_whole_and_about_this_server_is_unknown() {
    let up = states(&row("app", 2, "mw1", 2, 0));
    let good = || format!("{}\n", stats("mw1", "UP", "L7OK"));
    let is = async |states: &str, stats: String, detail: &str| {
        let said = asked(states.to_owned(), stats).await;
        assert_eq!((said.presence, said.is_foreign), (Presence::Unknown, false), "{states}: {}", said.detail);
        assert!(said.detail.contains(detail), "{states}: {}", said.detail);
    };
    assert_eq!(asked(format!("{up}\n"), good()).await.presence, Presence::In);
    is("", good(), "its answer was cut off").await;
    is("HTTP/1.0 400 Bad request\r\n\r\n<html>", good(), "this is HTTP, not a runtime socket").await;
    is(&up, good(), "its answer was cut off").await;
    is(&up[..up.len() - 9], good(), "its answer was cut off").await;
    is(&format!("{}\n\n", &up[..up.len() - 9]), good(), "a line of another form").await;
    is("Permission denied\n\n", good(), "its answer cannot be read: Permission denied").await;
    is("Unknown command: 'show servers'\n\n", good(), "Unknown command").await;
    is("\n", good(), "its answer is empty").await;
    is("2\n# a b\nc d\n\n", good(), "its answer cannot be read: 2").await;
    is("1\n\n", good(), "no columns").await;
    is(&format!("{}\n", states("")), good(), "app has no server mw1; there is none").await;
    is(&format!("{}\n", states(&row("app", 1, "mw1001", 2, 8))), good(), "app has no server mw1; there are mw1001")
        .await;
    is(&format!("{}\n", states(&row("api", 1, "mw1", 2, 8))), good(), "asked about app, and answers about api").await;
    let twice = states(&(row("app", 1, "mw1", 2, 8) + &row("app", 2, "mw1", 2, 8)));
    is(&format!("{twice}\n"), good(), "app has several servers mw1").await;
    is(&format!("{}\n", states(&row("app", 1, "mw1", 7, 0))), good(), "operational state is 7").await;
    is(&format!("{}\n", states(&row("app", 1, "mw1", 2, 128))), good(), "administrative state is 128").await;
    let strange = row("app", 1, "mw1", 2, 0).replace(" 2 0 ", " 2 x ");
    is(&format!("{}\n", states(&strange)), good(), "a line of another form").await;
}

#[tokio::test]
async fn statistics_that_say_something_else_are_unknown_and_a_check_that_has_not_passed_is_told() {
    let up = format!("{}\n", states(&row("app", 2, "mw1", 2, 0)));
    let of = async |server: &str, status: &str, check: &str| {
        asked(up.clone(), format!("{}\n", stats(server, status, check))).await
    };
    let said = of("mw1", "UP", "* L7OK").await;
    assert_eq!((said.presence, said.is_joining, said.detail.as_str()), (Presence::In, false, "UP"));
    for (status, check) in [("UP 1/3", "L7OK"), ("UP", "INI"), ("UP", "* INI"), ("UP 2/3", "L7STS")] {
        let said = of("mw1", status, check).await;
        assert_eq!((said.presence, said.is_joining), (Presence::In, true), "{status} {check}: {}", said.detail);
        assert!(said.detail.starts_with(&format!("{status}, and its last check has not passed: ")), "{}", said.detail);
        assert!(said.detail.ends_with(": bad, \"odd\""), "{}", said.detail);
    }
    for (server, status, detail) in
        [("mw1001", "UP", "its statistics are of app/mw1001"), ("mw1", "DOWN", "DOWN: L7OK"), ("mw1", "", ": L7OK")]
    {
        let said = of(server, status, "L7OK").await;
        assert_eq!(said.presence, Presence::Unknown, "{status}: {}", said.detail);
        assert!(said.detail.starts_with(detail), "{}", said.detail);
    }
    let said = of("mw1", "DOWN", "* L7STS").await;
    assert!(said.detail.starts_with("DOWN: L7STS"), "the next check is under way: {}", said.detail);
    for stats in
        ["No such proxy.\n\n".to_owned(), "# pxname,svname,\napp,mw1\n\n".to_owned(), "# pxname\n\n".to_owned()]
    {
        let said = asked(up.clone(), stats.clone()).await;
        assert_eq!(said.presence, Presence::Unknown, "{stats}");
    }
}

#[tokio::test]
async fn a_number_of_sessions_that_cannot_be_is_not_few() {
    let of = async |current: u64, queued: u64| {
        let up = format!("{}\n", states(&row("app", 2, "mw1", 2, 0)));
        let stats = stats("mw1", "UP", "L7OK").replace(",1,2,", &format!(",{queued},{current},"));
        let answer = move |command: &str| {
            if command.starts_with("show stat ") { format!("{stats}\n") } else { up.clone() }
        };
        answered_by(answer).await
    };
    let servers = [of(u64::MAX, 1).await, of(1, 0).await];
    let in_flight = crate::balancer::Sessions::of(&servers, WITHIN).ask().await;
    assert_eq!((in_flight.sessions, in_flight.is_at_most(u32::MAX)), (Some(u64::MAX), false), "{}", in_flight.detail);
}

#[tokio::test]
async fn every_bit_is_read_by_itself() {
    for (admin, operation, presence, detail) in [
        (0x01, 0, Presence::Out, "MAINT"),
        (0x05, 0, Presence::Out, "MAINT"),
        (0x09, 0, Presence::Out, "MAINT"),
        (0x08, 2, Presence::Out, "DRAIN"),
        (0x08, 0, Presence::Out, "DRAIN"),
        (0x28, 0, Presence::Out, "DRAIN"),
        (0x0a, 0, Presence::Out, "DRAIN"),
        (0x02, 0, Presence::Out, "MAINT by the server that it tracks"),
        (0x10, 2, Presence::Out, "DRAIN by the server that it tracks"),
        (0x20, 0, Presence::Unknown, "MAINT, since its name does not resolve"),
        (0x04, 2, Presence::In, "UP"),
        (0x40, 2, Presence::In, "UP"),
        (0x40, 1, Presence::In, "UP"),
        (0x00, 0, Presence::Unknown, "DOWN by its check"),
        (0x00, 3, Presence::Unknown, "stopping by its check"),
    ] {
        let states = format!("{}\n", states(&row("app", 1, "mw1", operation, admin)));
        let said = asked(states, format!("{}\n", stats("mw1", "UP", "L7OK"))).await;
        assert_eq!(said.presence, presence, "{admin:#x} {operation}: {}", said.detail);
        assert!(said.detail.starts_with(detail), "{admin:#x} {operation}: {}", said.detail);
    }
}

/// What a check alone found down can be taken out; what an agent, a resolver, a weight or an operator keeps out cannot.
#[tokio::test]
async fn only_what_its_check_alone_found_down_is_ill() {
    let down = row("app", 1, "mw1", 0, 0);
    for (row, is_unwell) in [
        (down.clone(), true),
        (row("app", 1, "mw1", 0, 0x44), true),
        (row("app", 1, "mw1", 3, 0), false),
        (row("app", 1, "mw1", 2, 0), false),
        (row("app", 1, "mw1", 0, 0x20), false),
        (row("app", 1, "mw1", 0, 0x08), false),
        (down.replace(" 0 0 1 1 ", " 0 0 0 1 "), false),
        (down.replace(" 6 0 0 0 - ", " 6 4 0 0 - "), false),
    ] {
        let said = asked(format!("{}\n", states(&row)), format!("{}\n", stats("mw1", "UP", "L7OK"))).await;
        assert_eq!(said.is_unwell, is_unwell, "{row}");
    }
}

/// What is sent to move a server in this administrative state.
async fn sent(admin: u32, way: Move) -> (Result<(), String>, Vec<String>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let server = answered_by(move |command| {
        if command.starts_with("set ") {
            tell.lock().expect("no panic").push(command.to_owned());
            return "\n".to_owned();
        }
        format!("{}\n", states(&row("app", 1, "mw1", 2, admin)))
    })
    .await;
    let put = put(&server, way, WITHIN).await;
    let told = told.lock().expect("no panic").clone();
    (put, told)
}

#[tokio::test]
async fn only_drain_is_set_and_only_over_drain_it_is_made_ready() {
    let (drain, ready) = ("set server app/mw1 state drain", "set server app/mw1 state ready");
    for (admin, out, back) in [
        (0x00, Some(drain), None),
        (0x04, Some(drain), None),
        (0x08, None, Some(ready)),
        (0x10, Some(drain), None),
        (0x18, None, Some(ready)),
        (0x20, Some(drain), None),
    ] {
        for (way, expected) in [(Move::Out, out), (Move::In, back)] {
            let (put, told) = sent(admin, way).await;
            assert_eq!((put, told), (Ok(()), expected.into_iter().map(str::to_owned).collect()), "{admin:#x}");
        }
    }
    for admin in [0x01, 0x05, 0x09] {
        for way in [Move::Out, Move::In] {
            let (put, told) = sent(admin, way).await;
            assert_eq!((put, told), (Err("it is out by somebody else: MAINT".to_owned()), vec![]), "{admin:#x}");
        }
    }
}

#[tokio::test]
async fn only_a_whole_answer_of_bounded_length_is_read() {
    let long = "x".repeat(1024);
    let server = answered_by(move |_| long.repeat(5 * 1024)).await;
    let said = ask(&server, WITHIN).await;
    assert_eq!((said.presence, said.detail.as_str()), (Presence::Unknown, "its answer has more than 4194304 bytes"));
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let socket = Socket::Tcp(hanging.local_addr().expect("its address").to_string());
    let said = ask(&HaproxyServer { socket, ..server }, Duration::from_millis(80)).await;
    assert_eq!((said.presence, said.detail.as_str()), (Presence::Unknown, "it did not answer within 80ms"));
}

#[test]
fn what_is_missing_is_told_with_what_is_there() {
    let names = ["mw10", "mw11", "mw2", "mw3", "mw4", "mw5", "mw6"];
    let said = missing("app has no server", "mw1", &names);
    assert_eq!(said, "app has no server mw1, perhaps mw10? there are mw10, mw11, mw2, mw3, mw4 and 2 more");
}
