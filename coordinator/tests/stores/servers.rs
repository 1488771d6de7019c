//! The servers that stores are tested with: each on free ports of the loopback, in a folder of its own, gone with its value.

use crate::cases::{Server, until};
use coordinator::store::Store;
use coordinator::store::memory::MemoryServer;
use coordinator::store::redis::RedisStore;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(20);

/// No server at all.
pub(crate) struct Memory(MemoryServer);

impl Server for Memory {
    const RESTART_MAY_LACK: bool = true;

    async fn start() -> Memory {
        Memory(MemoryServer::default())
    }

    fn open(&self, domain: &str) -> Arc<dyn Store> {
        Arc::new(self.0.open(domain))
    }

    async fn kill(&mut self) {
        self.0.stop();
    }

    async fn restart(&mut self) {
        self.0.start();
    }
}

/// A process of a server, killed with its value.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program in this folder; what it prints is in `log` there.
    pub(crate) fn start(program: &str, package: &str, folder: &Path, args: &[&str]) -> Process {
        let log = || File::options().append(true).create(true).open(folder.join("log")).expect("a log");
        // Of util-linux: it ends with the thread that starts it, even when the test is killed.
        let started = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log()))
            .stderr(Stdio::from(log()))
            .spawn();
        Process(started.unwrap_or_else(|cause| panic!("cannot start {program} ({cause}): apt-get install {package}")))
    }

    /// Sends it a signal, as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

/// A port that was free just now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A Redis that writes everything to its disk before it answers.
pub(crate) struct Redis {
    pub(crate) port: u16,
    folder: TempDir,
    more: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// One with more options than it needs, as `--requirepass x`.
    pub(crate) async fn with(more: &[&str]) -> Redis {
        let folder = tempfile::tempdir().expect("a folder");
        let more = more.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Redis { port: free_port(), folder, more, process: None };
        redis.restart().await;
        redis
    }

    pub(crate) fn url(&self, domain: &str) -> String {
        format!("redis://127.0.0.1:{}/{domain}", self.port)
    }

    /// Sends it a signal, as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    /// What it answers, or why it does not.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        ask(self.port, command).await
    }
}

/// Asks whatever listens there.
pub(crate) async fn ask<T: redis::FromRedisValue>(port: u16, command: &[&str]) -> redis::RedisResult<T> {
    let mut connection = redis::Client::open(("127.0.0.1", port))?.get_multiplexed_async_connection().await?;
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
}

impl Server for Redis {
    const RESTART_MAY_LACK: bool = true;

    async fn start() -> Redis {
        Redis::with(&[]).await
    }

    fn open(&self, domain: &str) -> Arc<dyn Store> {
        Arc::new(RedisStore::new(&self.url(domain)).expect("a store"))
    }

    async fn kill(&mut self) {
        self.process = None;
    }

    async fn restart(&mut self) {
        let port = self.port.to_string();
        let mut args = vec!["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"];
        args.extend(["--appendfsync", "always", "--repl-diskless-sync-delay", "0"]);
        args.extend(self.more.iter().map(String::as_str));
        self.process = Some(Process::start("redis-server", "redis-server", self.folder.path(), &args));
        until(READY, async || match self.ask::<String>(&["PING"]).await {
            Ok(_) => true,
            Err(error) => matches!(error.code(), Some("NOAUTH")),
        })
        .await;
    }
}
