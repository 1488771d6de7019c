//! Real Redis and etcd servers, each on free ports of the loopback, in a folder of its own, gone with its value.

use crate::support::{Running, SOON, signal, wait_for};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// Ports that were free just now, all of them others.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}

/// Starts a server in a folder; what it prints is in `log` there.
pub(crate) fn start(program: &str, package: &str, folder: &Path, args: &str) -> Running {
    std::fs::create_dir_all(folder).expect("a folder");
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    let mut command = Command::new(program);
    command.args(args.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    let started = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
    Running::of(started.unwrap_or_else(|cause| panic!("cannot start {program} ({cause}): apt-get install {package}")))
}

fn until_it_listens(port: u16) {
    wait_for("the server listens", SOON, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
}

/// Asks a server with its own client, which must succeed; what it says.
fn ask(program: &str, line: &str) -> String {
    let output = Command::new(program).env("ETCDCTL_API", "3").args(line.split(' ')).output().expect("its client");
    assert!(output.status.success(), "{program} {line}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A Redis that has everything on its disk before it answers.
#[derive(Debug)]
pub(crate) struct Redis {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    more: String,
    process: Option<Running>,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::with("")
    }

    fn with(more: &str) -> Redis {
        let [port] = free_ports();
        let folder = tempfile::tempdir().expect("a folder");
        let mut redis = Redis { folder, port, more: more.to_owned(), process: None };
        redis.restart();
        redis
    }

    /// Kills it with kill -9 and starts it again on what is on its disk.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let (port, more) = (self.port, &self.more);
        let args = format!(
            "--port {port} --bind 127.0.0.1 --save --appendonly yes --appendfsync always --repl-diskless-sync-delay 0 {more}"
        );
        self.process = Some(start("redis-server", "redis-server", self.folder.path(), &args));
        until_it_listens(port);
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    fn signal(&self, which: Signal) {
        signal(&self.process.as_ref().expect("it runs").0, which);
    }

    /// What it answers to a command.
    pub(crate) fn ask(&self, line: &str) -> String {
        ask("redis-cli", &format!("-p {} {line}", self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Every key there is.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ask("keys *").lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }
}

/// A master, its replica, and a sentinel that watches both.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    _sentinel: Running,
    _folder: tempfile::TempDir,
    port: u16,
}

impl Watched {
    pub(crate) fn start() -> Watched {
        let master = Redis::start();
        let replica = Redis::with(&format!("--replicaof 127.0.0.1 {}", master.port));
        let [port] = free_ports();
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            master.port
        );
        std::fs::write(folder.path().join("sentinel.conf"), text).expect("written");
        let sentinel = start("redis-sentinel", "redis-sentinel", folder.path(), "sentinel.conf");
        until_it_listens(port);
        let known = || ask("redis-cli", &format!("-p {port} SENTINEL REPLICAS main")).contains("name").then_some(());
        wait_for("the sentinel knows the replica", SOON, known);
        let follows = || replica.ask("INFO replication").contains("master_link_status:up").then_some(());
        wait_for("the replica follows", SOON, follows);
        Watched { master, replica, _sentinel: sentinel, _folder: folder, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.port)
    }

    /// From now on the replica gets nothing of what is written.
    pub(crate) fn freeze_replica(&self) {
        self.replica.signal(Signal::STOP);
    }

    /// The master dies, and the replica, which lacks what was written last, takes its place.
    pub(crate) fn fail_over(&mut self) {
        self.master.kill();
        self.replica.signal(Signal::CONT);
        let is_master = || self.replica.ask("ROLE").starts_with("master").then_some(());
        wait_for("the replica is master", SOON, is_master);
    }
}

/// An etcd of one member or several.
#[derive(Debug)]
pub(crate) struct Etcd {
    folder: tempfile::TempDir,
    more: &'static str,
    /// Of each: for clients, for other members.
    ports: Vec<[u16; 2]>,
    members: Vec<Option<Running>>,
}

impl Etcd {
    pub(crate) fn start(count: usize) -> Etcd {
        Etcd::with(count, "")
    }

    /// With further arguments for each member.
    pub(crate) fn with(count: usize, more: &'static str) -> Etcd {
        let folder = tempfile::tempdir().expect("a folder");
        let ports: Vec<[u16; 2]> = (0..count).map(|_| free_ports()).collect();
        let mut etcd = Etcd { folder, more, ports, members: (0..count).map(|_| None).collect() };
        for place in 0..count {
            etcd.members[place] = Some(etcd.launch(place));
        }
        for [port, _] in etcd.ports.clone() {
            wait_for("the member serves", SOON, || etcd.try_ask(port, "endpoint health").then_some(()));
        }
        etcd
    }

    fn launch(&self, place: usize) -> Running {
        let [port, peers] = self.ports[place];
        let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        let all: Vec<String> = (self.ports.iter().enumerate())
            .map(|(place, [_, peers])| format!("m{place}=http://127.0.0.1:{peers}"))
            .collect();
        let args = format!(
            "--name m{place} --data-dir data --listen-client-urls {clients} --advertise-client-urls {clients} \
             --listen-peer-urls {peers} --initial-advertise-peer-urls {peers} --initial-cluster {} {}",
            all.join(","),
            self.more
        );
        start("etcd", "etcd-server", &self.folder.path().join(format!("m{place}")), &args)
    }

    fn try_ask(&self, port: u16, line: &str) -> bool {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &format!("127.0.0.1:{port}")]).args(line.split(' '));
        command.output().expect("etcdctl: apt-get install etcd-client").status.success()
    }

    /// Kills the member that leads, with kill -9.
    pub(crate) fn kill_leader(&mut self) {
        let leads = |[port, _]: &[u16; 2]| {
            let line = format!("--endpoints 127.0.0.1:{port} endpoint status -w json");
            let status: serde_json::Value = serde_json::from_str(&ask("etcdctl", &line)).expect("JSON");
            let status = &status[0]["Status"];
            status["leader"] == status["header"]["member_id"]
        };
        let leader = self.ports.iter().position(leads).expect("a leader");
        drop(self.members[leader].take());
    }

    /// Kills every member, with kill -9.
    pub(crate) fn kill(&mut self) {
        self.members.iter_mut().for_each(|member| drop(member.take()));
    }

    /// The port of the first.
    pub(crate) fn port(&self) -> u16 {
        self.ports[0][0]
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|[port, _]| format!("127.0.0.1:{port}")).collect();
        format!("etcd://{}", hosts.join(","))
    }

    /// Every key there is.
    pub(crate) fn keys(&self) -> Vec<String> {
        let line = format!("--endpoints 127.0.0.1:{} get --prefix --keys-only /", self.ports[0][0]);
        ask("etcdctl", &line).lines().filter(|key| !key.is_empty()).map(str::to_owned).collect()
    }
}
