//! The ways to depool, each with its balancers as the test sees them from behind.

use super::contract::{HOST, Way};
use super::follower::Follower;
use super::meddler::{Meddler, Trouble};
use crate::support::haproxy::{DRAIN, Haproxy, MAINT};
use crate::support::{Balancer, lines, own_address};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HTTP_ERROR: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops";

/// Two HAProxys, each behind a socket that can be spoilt.
pub(super) struct Haproxies {
    balancers: [(Haproxy, Meddler); 2],
}

impl Way for Haproxies {
    fn start(folder: &Path) -> Self {
        let backends =
            "backend app\n    server mw1001 127.0.0.1:9\n    server mw1 127.0.0.1:9\n    server mw2 127.0.0.1:9\n";
        let balancers = ["lb1", "lb2"].map(|name| {
            let haproxy = Haproxy::start(folder, name, backends);
            let meddler = Meddler::before(&haproxy.admin, "Internal error.\n\n");
            (haproxy, meddler)
        });
        Self { balancers }
    }

    fn keys(&self) -> String {
        let [(_, one), (_, two)] = &self.balancers;
        format!("kind = \"haproxy\"\nsockets = [\"{}\", \"{}\"]\nserver = \"app/{{host}}\"", one.address, two.address)
    }

    fn places(&self) -> usize {
        2
    }

    fn is_out(&self, place: usize) -> bool {
        self.balancers[place].0.is_out("app/mw1")
    }

    fn somebody(&self, place: usize, out: bool) {
        let haproxy = &self.balancers[place].0;
        haproxy.set("app/mw1", if out { "state drain" } else { "state ready" });
        haproxy.set("app/mw1", "weight 1");
    }

    fn is_neighbour_in(&self) -> bool {
        let untouched = |name: &str| self.balancers.iter().all(|(haproxy, _)| haproxy.state(name).admin == 0);
        untouched("app/mw1001") && untouched("app/mw2")
    }

    fn trouble(&self, place: usize, trouble: Option<Trouble>) {
        self.balancers[place].1.trouble(trouble);
    }

    fn asked(&self, place: usize) -> Vec<Instant> {
        self.balancers[place].1.asked()
    }

    fn disown(&self, place: usize) -> bool {
        self.balancers[place].0.set("app/mw1", "state maint");
        self.balancers[place].0.set("app/mw1", "weight 50");
        true
    }

    fn is_disowned(&self, place: usize) -> bool {
        let state = self.balancers[place].0.state("app/mw1");
        state.admin & (MAINT | DRAIN) == MAINT && state.weight == 50
    }
}

/// Two balancers that are spoken to over HTTP.
pub(super) struct Http {
    balancers: [(Balancer, Meddler); 2],
}

impl Way for Http {
    fn start(_: &Path) -> Self {
        let balancers = [(); 2].map(|()| {
            let balancer = Balancer::start();
            let meddler = Meddler::before(balancer.url.trim_start_matches("http://"), HTTP_ERROR);
            (balancer, meddler)
        });
        Self { balancers }
    }

    fn keys(&self) -> String {
        let [(_, one), (_, two)] = &self.balancers;
        let is = |state: &str| format!("answer.host == '{HOST}' && answer.state == '{state}'");
        let url = "{balancer}/servers/{host}";
        let [put_out, put_in] =
            ["out", "in"].map(|body| format!("{{ method = \"PUT\", url = \"{url}\", body = \"{body}\" }}"));
        format!(
            "kind = \"http\"\nbalancers = [\"http://{}\", \"http://{}\"]\nout = {put_out}\nin = {put_in}\n\
             status = {{ url = \"{url}\", out_when = \"{}\", in_when = \"{}\" }}",
            one.address,
            two.address,
            is("out"),
            is("in")
        )
    }

    fn places(&self) -> usize {
        2
    }

    fn is_out(&self, place: usize) -> bool {
        self.balancers[place].0.is_out(HOST)
    }

    fn somebody(&self, place: usize, out: bool) {
        self.balancers[place].0.set(HOST, out);
    }

    fn is_neighbour_in(&self) -> bool {
        self.balancers.iter().all(|(balancer, _)| !balancer.is_out("mw1001"))
    }

    fn trouble(&self, place: usize, trouble: Option<Trouble>) {
        self.balancers[place].1.trouble(trouble);
    }

    fn asked(&self, place: usize) -> Vec<Instant> {
        self.balancers[place].1.asked()
    }

    fn disown(&self, place: usize) -> bool {
        self.balancers[place].0.make_inactive(HOST);
        true
    }

    fn is_disowned(&self, place: usize) -> bool {
        self.balancers[place].0.is_inactive(HOST)
    }
}

/// Commands around a file, the status of which can be told to go wrong.
pub(super) struct Exec {
    folder: PathBuf,
}

impl Exec {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Way for Exec {
    fn start(folder: &Path) -> Self {
        let status = r#"#!/bin/sh
cd "$(dirname "$0")"
date +%s%N >> asked
case "$(cat trouble 2>/dev/null)" in
    Hangs) exec sleep 60 ;;
    HalfALine) printf o ;;
    Errs) echo out; exit 3 ;;
    AnothersState) echo "mw9 out" ;;
    Closes) exit 0 ;;
    Disowned) echo inactive since monday ;;
    *) if test -e flag; then echo out draining; else echo in; fi ;;
esac
"#;
        let exec = Self { folder: folder.join("exec") };
        std::fs::create_dir_all(&exec.folder).expect("a folder");
        std::fs::write(exec.file("status.sh"), status).expect("a script");
        exec
    }

    fn keys(&self) -> String {
        let (flag, status) = (self.file("flag"), self.file("status.sh"));
        format!(
            "kind = \"exec\"\ndepool = [\"touch\", {flag:?}]\nrepool = [\"rm\", \"-f\", {flag:?}]\nstatus = [\"sh\", {status:?}]"
        )
    }

    fn places(&self) -> usize {
        1
    }

    fn is_out(&self, _: usize) -> bool {
        self.file("flag").exists()
    }

    fn somebody(&self, _: usize, out: bool) {
        let _none = std::fs::remove_file(self.file("trouble"));
        set_flag(&self.file("flag"), out);
    }

    fn trouble(&self, _: usize, trouble: Option<Trouble>) {
        match trouble {
            Some(trouble) => std::fs::write(self.file("trouble"), format!("{trouble:?}")).expect("written"),
            None => drop(std::fs::remove_file(self.file("trouble"))),
        }
    }

    fn asked(&self, _: usize) -> Vec<Instant> {
        let (now, today) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"));
        let times = lines(&self.file("asked")).into_iter().filter_map(|line| line.parse::<u64>().ok());
        times.filter_map(|nanos| now.checked_sub(today.saturating_sub(Duration::from_nanos(nanos)))).collect()
    }

    fn disown(&self, _: usize) -> bool {
        std::fs::write(self.file("trouble"), "Disowned").expect("written");
        true
    }

    fn is_disowned(&self, _: usize) -> bool {
        // Its own commands would have ended that only by the flag.
        lines(&self.file("trouble")) == ["Disowned"]
    }
}

fn set_flag(flag: &Path, is_there: bool) {
    if is_there {
        std::fs::write(flag, "").expect("written");
    } else {
        let _none = std::fs::remove_file(flag);
    }
}

/// A flag file that is believed as it is; out while it is there.
pub(super) struct Flag {
    flag: PathBuf,
}

/// The same, in while it is there.
pub(super) struct InFlag {
    flag: PathBuf,
}

impl Way for Flag {
    fn start(folder: &Path) -> Self {
        Self { flag: folder.join("flag") }
    }

    fn keys(&self) -> String {
        format!("kind = \"file\"\npath = {:?}", self.flag)
    }

    fn places(&self) -> usize {
        1
    }

    fn is_out(&self, _: usize) -> bool {
        self.flag.exists()
    }

    fn somebody(&self, _: usize, out: bool) {
        set_flag(&self.flag, out);
    }

    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    fn trouble(&self, _: usize, _: Option<Trouble>) {}

    fn asked(&self, _: usize) -> Vec<Instant> {
        Vec::new()
    }
}

impl Way for InFlag {
    fn start(folder: &Path) -> Self {
        let flag = folder.join("flag");
        set_flag(&flag, true);
        Self { flag }
    }

    fn keys(&self) -> String {
        format!("kind = \"file\"\npath = {:?}\npresent = \"in\"", self.flag)
    }

    fn places(&self) -> usize {
        1
    }

    fn is_out(&self, _: usize) -> bool {
        !self.flag.exists()
    }

    fn somebody(&self, _: usize, out: bool) {
        set_flag(&self.flag, !out);
    }

    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    fn trouble(&self, _: usize, _: Option<Trouble>) {}

    fn asked(&self, _: usize) -> Vec<Instant> {
        Vec::new()
    }
}

/// A flag file that something looks at, which confirms it.
pub(super) struct File {
    flag: PathBuf,
    _follower: Follower,
    meddler: Meddler,
}

/// The keys by which such a thing confirms.
fn confirm(meddler: &Meddler) -> String {
    format!(
        "confirm = {{ http = \"http://{}/\", out_when = \"status == 503 && answer.host == '{HOST}'\", in_when = \"status == 200 && answer.host == '{HOST}'\", timeout = \"700ms\" }}",
        meddler.address
    )
}

impl Way for File {
    fn start(folder: &Path) -> Self {
        let flag = folder.join("flag");
        let follower = Follower::of(&flag);
        let meddler = Meddler::before(&follower.address, HTTP_ERROR);
        Self { flag, _follower: follower, meddler }
    }

    fn keys(&self) -> String {
        format!("kind = \"file\"\npath = {:?}\n{}", self.flag, confirm(&self.meddler))
    }

    fn places(&self) -> usize {
        1
    }

    fn is_out(&self, _: usize) -> bool {
        self.flag.exists()
    }

    fn somebody(&self, _: usize, out: bool) {
        set_flag(&self.flag, out);
    }

    fn trouble(&self, _: usize, trouble: Option<Trouble>) {
        self.meddler.trouble(trouble);
    }

    fn asked(&self, _: usize) -> Vec<Instant> {
        self.meddler.asked()
    }
}

/// The health URL that the worker serves, and something that confirms it.
pub(super) struct LameDuck {
    listen: String,
    flag: PathBuf,
    _follower: Follower,
    meddler: Meddler,
}

impl Way for LameDuck {
    fn start(folder: &Path) -> Self {
        let state = folder.join(HOST).join("state");
        std::fs::create_dir_all(&state).expect("a folder");
        let flag = state.join("lame-duck.web");
        let follower = Follower::of(&flag);
        let meddler = Meddler::before(&follower.address, HTTP_ERROR);
        Self { listen: own_address(), flag, _follower: follower, meddler }
    }

    fn keys(&self) -> String {
        let confirm = confirm(&self.meddler);
        format!("kind = \"lame-duck\"\nlisten = \"{}\"\npath = \"/health\"\n{confirm}", self.listen)
    }

    fn places(&self) -> usize {
        1
    }

    fn is_out(&self, _: usize) -> bool {
        match status(&self.listen, "/health").as_deref() {
            Some("200") => false,
            Some("503") => true,
            // Nobody serves it at this moment: its file says what whoever comes will answer.
            _ => self.flag.exists(),
        }
    }

    fn somebody(&self, _: usize, out: bool) {
        set_flag(&self.flag, out);
    }

    fn trouble(&self, _: usize, trouble: Option<Trouble>) {
        self.meddler.trouble(trouble);
    }

    fn asked(&self, _: usize) -> Vec<Instant> {
        self.meddler.asked()
    }

    fn needs_worker(&self) -> bool {
        true
    }
}

/// The status of an answer over HTTP; nothing when nobody answers.
pub(super) fn status(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.to_owned())
}
