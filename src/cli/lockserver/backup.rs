//! `stagger lockserver backup`: a copy of the state of a lock server that runs, of one moment.
//!
//! Owns the file that it becomes: whole under another name first, for its owner alone. What it says is the crate `lockserver`'s.

use super::super::context::Context;
use super::super::failure::Failure;
use super::super::{exit, out};
use super::given::{API_DEFAULT, file};
use crate::cli::client::Client;
use ::lockserver::backup::count;
use serde_json::json;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const DOING: &str = "take a backup";

/// Take a backup of a lock server's state while it runs
///
/// It is of one moment, and holds everything that anybody was told before. The file is there when it is whole: until then it has .part behind its name. Nobody
/// but you may read it. It asks the lock server of --coordinator or STAGGER_COORDINATOR; else the one of its file, else the one on this machine. Where
/// that wants tokens, this takes one with the role admin: --token-file.
///
/// Example: stagger lockserver backup /backup/stagger.jsonl
#[derive(Debug, Clone, clap::Args)]
pub(super) struct BackupArgs {
    /// The file; one that is there is replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who vouches for the lock server, in PEM [default: as in /etc/stagger/stagger.toml, else the system's authorities]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Takes it.
pub(super) async fn run(args: &BackupArgs, context: &Context) -> Result<u8, Failure> {
    let client = Client::here(&coordinator(context)?, &context.seats_of_host(args.ca.clone())?)?;
    let mut backup = client.coordinator().backup().await.map_err(|error| client.failure(DOING, error))?;
    let mut part = Part::begin(&args.file).map_err(|error| unwritten(&args.file, error))?;
    while let Some(bytes) = backup.next().await.map_err(|error| client.failure(DOING, error))? {
        part.file.write_all(&bytes).map_err(|error| unwritten(&args.file, error))?;
    }
    let records = part.end()?;
    match context.globals.json {
        true => out::json(&json!({ "file": args.file, "records": records }))?,
        false => out::result(&format!("{}: {records} records", args.file.display()))?,
    }
    Ok(exit::OK)
}

/// The lock server that is asked.
fn coordinator(context: &Context) -> Result<String, Failure> {
    if let Some(chosen) = context.chosen_coordinator()? {
        return Ok(chosen.as_str().to_owned());
    }
    let file = file(context)?;
    if let Some(store) = file.as_ref().and_then(|file| file.coordinator.as_ref()) {
        return Ok(store.value.as_str().to_owned());
    }
    let is_encrypted = file.as_ref().is_some_and(|file| file.access.tls.is_some());
    let scheme = if is_encrypted { "https" } else { "http" };
    let api = file.and_then(|file| file.api).map_or(API_DEFAULT, |api| api.value);
    Ok(format!("{scheme}://{}", reachable(api)))
}

/// Where to reach somebody on this machine who listens there.
fn reachable(api: SocketAddr) -> SocketAddr {
    let ip = match api.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, api.port())
}

fn unwritten(path: &Path, error: io::Error) -> Failure {
    Failure::system(format!("write {}", path.display()), error)
}

/// A file that is not whole yet. Dropped, it goes.
#[derive(Debug)]
struct Part {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

impl Part {
    fn begin(whole: &Path) -> io::Result<Part> {
        let mut name = whole.file_name().map(OsString::from).ok_or(io::ErrorKind::InvalidInput)?;
        name.push(".part");
        let part = whole.with_file_name(name);
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Part { file, part, whole: whole.to_owned() })
    }

    /// Gives it its name, once it is whole and on disk. Returns how many records are in it.
    fn end(self) -> Result<u64, Failure> {
        let failed = |error| unwritten(&self.whole, error);
        self.file.sync_all().map_err(failed)?;
        let read = File::open(&self.part).map_err(failed)?;
        let records = count(BufReader::new(read)).map_err(|cause| Failure::Refused {
            why: format!("what came is no backup: {cause}"),
            hint: "take another one; nothing was changed".to_owned(),
        })?;
        std::fs::rename(&self.part, &self.whole).map_err(failed)?;
        let folder = self.whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(records)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _renamed_or_gone = std::fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_lock_server_that_listens_everywhere_is_asked_on_loopback() {
        let reached = |api: &str| reachable(api.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:7532"), "127.0.0.1:7532");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("10.0.0.5:7532"), "10.0.0.5:7532");
    }

    #[test]
    fn what_is_not_whole_never_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backup");
        std::fs::write(&path, "the one before").expect("written");
        let mut part = Part::begin(&path).expect("begun");
        part.file.write_all(b"{\"stagger_backup\":1").expect("written");
        let mode = part.file.metadata().expect("its own").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        part.end().expect_err("half of one");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "the one before");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "the part is gone");
    }
}
