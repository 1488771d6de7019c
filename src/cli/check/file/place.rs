//! What a worker needs of this host for itself: the folder of its journals, and where its metrics are served.
//!
//! Owns what can be looked at without touching it: nothing is made, locked or bound, and a worker that runs here is left alone.

use super::Row;
use crate::cli::exit;
use crate::config::Config;
use crate::sequence::lock;
use rustix::fs::{Access, access};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long somebody on this host may take to answer.
const MOMENT: Duration = Duration::from_millis(500);

/// What is wrong with it.
pub(super) async fn rows(config: &Config) -> Vec<Row> {
    let wrong = |part, says| Row::of_host(part, exit::CONFIGURATION, says);
    let mut rows: Vec<Row> = cannot_be(&config.state).map(|says| wrong("state", says)).into_iter().collect();
    match lock::worker_in(&config.state) {
        Some(host) if host != config.host.as_str() => {
            let says = format!("{} is where the worker of {host} works; each needs its own", config.state.display());
            rows.push(wrong("state", says));
        }
        // Whoever listens there is the worker itself.
        Some(_) => {}
        None if is_taken(config.listen).await => {
            rows.push(wrong("listen", format!("{} is taken: something listens there already", config.listen)));
        }
        None => {}
    }
    rows
}

/// Why there can be no such folder.
fn cannot_be(state: &Path) -> Option<String> {
    let above = state.ancestors().find(|above| above.exists())?;
    let why = match above {
        _ if !above.is_dir() => "no folder".to_owned(),
        // Another user may be the worker's, and root may be kept from nothing but a disk that nobody may write to.
        _ if rustix::process::geteuid().is_root() => access(above, Access::WRITE_OK).err()?.to_string(),
        _ => return None,
    };
    Some(match above == state {
        true => format!("{} cannot be used: {why}", state.display()),
        false => format!("{} cannot be made: {}: {why}", state.display(), above.display()),
    })
}

/// Whether something listens there.
async fn is_taken(listen: SocketAddr) -> bool {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    listen.port() > 0 && matches!(timeout(MOMENT, TcpStream::connect((ip, listen.port()))).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::file::tests::{config, says};
    use crate::sequence::HostLock;

    #[tokio::test]
    async fn a_folder_that_cannot_be_or_is_anothers_and_a_port_that_is_taken_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut config = config(folder.path(), "depool = { kind = \"none\" }\n");
        config.listen = taken.local_addr().expect("its address");
        config.state = folder.path().join("state");
        let at = config.listen;
        assert_eq!(says(&rows(&config).await), [format!("✗ listen {at} is taken: something listens there already")]);
        std::fs::create_dir(&config.state).expect("a folder");
        let own = HostLock::of_worker(&config.state, &config.host).expect("the lock");
        assert_eq!(rows(&config).await, [], "its own worker listens there");
        config.host = "mw2".parse().expect("a host");
        let shown = config.state.display().to_string();
        let expected = format!("✗ state {shown} is where the worker of mw1 works; each needs its own");
        assert_eq!(says(&rows(&config).await), [expected]);
        drop(own);
        config.listen.set_port(0);
        assert_eq!(rows(&config).await, []);
        std::fs::write(folder.path().join("file"), "").expect("written");
        config.state = folder.path().join("file/deeper/state");
        let file = folder.path().join("file").display().to_string();
        assert_eq!(
            says(&rows(&config).await),
            [format!("✗ state {file}/deeper/state cannot be made: {file}: no folder")]
        );
    }
}
