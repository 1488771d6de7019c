//! Where a lock server listens, and what is said when it cannot.

use super::super::exit;
use super::super::failure::Failure;
use ::lockserver::poolcounter;
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The listening socket for the API.
///
/// # Errors
/// It cannot listen there.
pub(super) async fn api(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| taken(address, &error))
}

/// The listening socket for clients of poolcounterd, and its address.
///
/// # Errors
/// It cannot listen there.
pub(super) fn poolcounter_door(address: SocketAddr) -> Result<(std::net::TcpListener, SocketAddr), Failure> {
    let bound =
        poolcounter::bind(address).and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    bound.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::AddrInUse => "poolcounterd runs here, or another program has the port: -l ADDRESS:PORT",
            _ => "",
        };
        Failure::Work {
            what: format!("cannot listen on {address}: {error}"),
            hint: hint.to_owned(),
            code: exit::FAILED,
        }
    })
}

/// Why it cannot listen, and what to do where another program does.
fn taken(api: SocketAddr, error: &std::io::Error) -> Failure {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "a lock server runs here already, or another program has the port: --api ADDRESS:PORT",
        _ => "",
    };
    Failure::Work { what: format!("cannot listen on {api}: {error}"), hint: hint.to_owned(), code: exit::FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_says_what_to_do() {
        let api = "127.0.0.1:7532".parse().expect("an address");
        let failure = taken(api, &ErrorKind::AddrInUse.into()).render();
        assert!(failure.starts_with("error: cannot listen on 127.0.0.1:7532: "), "{failure}");
        assert!(failure.ends_with("has the port: --api ADDRESS:PORT"), "{failure}");
    }
}
