//! Etcds that the tests run against: one member or several, on free ports of the loopback, in a folder of their own.

use crate::cases::{Server, until};
use crate::servers::Process;
use coordinator::store::Store;
use coordinator::store::etcd::EtcdStore;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take until it answers.
pub(crate) const READY: Duration = Duration::from_secs(30);

/// A cluster of etcd; mostly of one member.
pub(crate) struct Etcd {
    folder: TempDir,
    /// The port for clients, and that for other members.
    pub(crate) ports: Vec<(u16, u16)>,
    pub(crate) processes: Vec<Option<Process>>,
    /// More options than it needs.
    pub(crate) more: Vec<String>,
    pub(crate) has_tls: bool,
}

impl Etcd {
    pub(crate) async fn with(members: usize, more: &[&str]) -> Etcd {
        // All are bound at once, so that no two are the same.
        let listeners: Vec<_> = (0..2 * members).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let port = |at: usize| listeners[at].local_addr().expect("an address").port();
        let ports = (0..members).map(|at| (port(2 * at), port(2 * at + 1))).collect();
        let mut etcd = Etcd {
            folder: tempfile::tempdir().expect("a folder"),
            ports,
            processes: (0..members).map(|_| None).collect(),
            more: more.iter().map(|option| (*option).to_owned()).collect(),
            has_tls: false,
        };
        drop(listeners);
        etcd.restart().await;
        etcd
    }

    fn start_member(&mut self, at: usize) {
        let scheme = if self.has_tls { "https" } else { "http" };
        let peer = |at: usize| format!("http://127.0.0.1:{}", self.ports[at].1);
        let client = format!("{scheme}://127.0.0.1:{}", self.ports[at].0);
        let cluster: Vec<String> = (0..self.ports.len()).map(|at| format!("m{at}={}", peer(at))).collect();
        let mut args = Vec::new();
        for (option, value) in [
            ("name", format!("m{at}")),
            ("data-dir", format!("m{at}")),
            ("listen-client-urls", client.clone()),
            ("advertise-client-urls", client),
            ("listen-peer-urls", peer(at)),
            ("initial-advertise-peer-urls", peer(at)),
            ("initial-cluster", cluster.join(",")),
            ("log-level", "warn".to_owned()),
            ("logger", "zap".to_owned()),
        ] {
            args.push(format!("--{option}={value}"));
        }
        args.extend_from_slice(&self.more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        self.processes[at] = Some(Process::start("etcd", "etcd-server etcd-client", self.folder.path(), &args));
    }

    pub(crate) fn url(&self, domain: &str) -> String {
        let hosts: Vec<String> = self.ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        format!("etcd://{}/{domain}", hosts.join(","))
    }

    pub(crate) fn open_at(&self, url: &str) -> Arc<dyn Store> {
        Arc::new(EtcdStore::new(url).expect("a store"))
    }

    /// Asks one member with etcdctl, which must succeed; what it says.
    pub(crate) fn ctl(&self, at: usize, args: &[&str]) -> String {
        let done = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints=127.0.0.1:{}", self.ports[at].0))
            .args(args)
            .output()
            .expect("etcdctl: apt-get install etcd-client");
        assert!(done.status.success(), "etcdctl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    }

    /// A member's metrics: the sum of those of that name whose line holds all `parts`.
    pub(crate) async fn metric(&self, at: usize, name: &str, parts: &[&str]) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.ports[at].0);
        let text = get(&url).await.ok()?.text().await.ok()?;
        let lines = text.lines().filter(|line| line.starts_with(name) && parts.iter().all(|part| line.contains(part)));
        Some(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    pub(crate) async fn leader(&self) -> usize {
        for at in 0..self.ports.len() {
            if self.metric(at, "etcd_server_is_leader ", &[]).await == Some(1.0) {
                return at;
            }
        }
        panic!("no leader")
    }
}

impl Server for Etcd {
    const RESTART_MAY_LACK: bool = false;

    async fn start() -> Etcd {
        Etcd::with(1, &[]).await
    }

    fn open(&self, domain: &str) -> Arc<dyn Store> {
        self.open_at(&self.url(domain))
    }

    async fn kill(&mut self) {
        self.processes.iter_mut().for_each(|process| *process = None);
    }

    async fn restart(&mut self) {
        for at in 0..self.ports.len() {
            self.start_member(at);
        }
        for (port, _) in self.ports.clone().into_iter().filter(|_| !self.has_tls) {
            until(READY, async || match get(&format!("http://127.0.0.1:{port}/health")).await {
                Ok(answer) => answer.text().await.is_ok_and(|text| text.contains("true")),
                Err(_) => false,
            })
            .await;
        }
    }
}

/// Asks over a connection that nobody encrypts.
async fn get(url: &str) -> reqwest::Result<reqwest::Response> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let tls = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build()?.get(url).send().await
}
