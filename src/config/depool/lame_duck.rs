//! How a host leaves its balancers by the health URL that its worker serves for them.
//!
//! Owns the keys. What is answered there is decided in the module `balancer`.

use super::FlagFile;
use crate::config::error::Problem;
use crate::config::probe::HttpUrl;
use crate::config::reader::Section;
use model::names::{Host, Service};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A health URL that the worker serves for one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LameDuck {
    /// Where the worker listens.
    pub listen: SocketAddr,
    /// The URL's path.
    pub path: String,
    /// Where it is asked from this host.
    pub url: HttpUrl,
    /// The host, which each answer names.
    pub host: Host,
    /// The service, which each answer names.
    pub service: Service,
    /// What says that the host is out: it lies in the state folder and so outlives the worker.
    pub flag: FlagFile,
}

/// Reads the keys of this kind; `state` is the worker's folder. The flag's `confirm` is the caller's to read.
pub(super) fn read(section: &Section<'_>, host: &Host, service: &Service, state: &Path) -> Result<LameDuck, Problem> {
    let field = section.must("listen", "\"0.0.0.0:7534\": where the worker serves the health URL")?;
    let listen = field.socket_address()?;
    if listen.port() == 0 {
        return Err(field.wrong("the balancers must know the port"));
    }
    let path = match section.get("path") {
        None => "/".to_owned(),
        Some(field) => {
            let path = field.without_placeholders(field.filled(host)?)?;
            let is_path =
                path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c));
            if !is_path {
                return Err(field.wrong("a path of a URL is needed, such as \"/health\""));
            }
            path
        }
    };
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let url = format!("http://{}{path}", SocketAddr::new(ip, listen.port()));
    let url = url.parse().map_err(|error: crate::config::probe::HttpUrlError| field.wrong(error.to_string()))?;
    let flag = FlagFile { path: state.join(format!("lame-duck.{service}")), present_is_out: true, confirm: None };
    Ok(LameDuck { listen, path, url, host: host.clone(), service: service.clone(), flag })
}
