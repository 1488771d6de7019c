//! What a lock server is to be: what its flags say, else its file, else the usual.
//!
//! Owns which of them wins, and what cannot be together. Listens nowhere.

use super::super::context::{Context, no_coordinator, state_directory};
use super::super::exit;
use super::super::failure::Failure;
use super::LockserverArgs;
use crate::config::{CoordinatorUrl, LockServerConfig, lock_server};
use ::lockserver::access::Settings;
use coordinator::mailbox::Mailbox;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a lock server's configuration is, unless said otherwise.
pub(crate) const CONFIG_DEFAULT: &str = "/etc/stagger/lockserver.toml";
/// Where its state lies, unless said otherwise; a worker's on the same machine lies elsewhere.
pub(crate) const DATA_DEFAULT: &str = "/var/lib/stagger-locks";
/// Where it listens, unless said otherwise.
pub(super) const API_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7532);

/// What a lock server is to be.
#[derive(Debug)]
pub(super) struct Given {
    /// Where it listens.
    pub(super) api: SocketAddr,
    /// Who may come in.
    pub(super) access: Settings,
    /// Where it listens for clients of poolcounterd.
    pub(super) poolcounter: Option<SocketAddr>,
    /// Where its state is.
    pub(super) place: Place,
    /// Which file it was told by; none when there is none.
    pub(super) file: Option<LockServerConfig>,
}

/// Where a lock server's state is.
#[derive(Debug)]
pub(super) enum Place {
    /// In this folder.
    Folder(PathBuf),
    /// In a store, to which it is a door.
    Store(Arc<Mailbox>),
}

impl Given {
    /// What flags and file come to.
    ///
    /// # Errors
    /// Something of it is wrong, or cannot be together.
    pub(super) fn of(args: &LockserverArgs, context: &Context) -> Result<Given, Failure> {
        let file = file(context)?;
        let said = file.as_ref();
        let api_said = said.and_then(|file| file.api.as_ref());
        let api = args.api.or(api_said.map(|api| api.value)).unwrap_or(API_DEFAULT);
        let api_place = match (args.api, said, api_said) {
            (None, Some(file), Some(api)) => format!("{}: ", file.place(api)),
            _ => String::new(),
        };
        let access = args.access.settings(api, said, &api_place)?;
        let door = args.poolcounter.as_deref().map(poolcounter_address).transpose()?;
        let poolcounter = door.or(said.and_then(|file| file.poolcounter.as_ref()).map(|door| door.value));
        let place = place(args, context, said, poolcounter.is_some())?;
        Ok(Given { api, access, poolcounter, place, file })
    }
}

/// The file that `-c` names, or the usual one where it is there.
///
/// # Errors
/// It is wrong, or was named and is not there.
pub(super) fn file(context: &Context) -> Result<Option<LockServerConfig>, Failure> {
    match path(context) {
        Some(path) => Ok(Some(lock_server::load(&path)?)),
        None => Ok(None),
    }
}

/// Where the file is that `-c` names, or the usual one where it is there.
pub(super) fn path(context: &Context) -> Option<PathBuf> {
    let usual = || Some(PathBuf::from(CONFIG_DEFAULT)).filter(|path| path.exists());
    context.globals.config.clone().or_else(usual)
}

/// The folder of the state: the flag's, the file's, the service manager's, the usual one.
pub(super) fn folder(flag: Option<&Path>, file: Option<&LockServerConfig>) -> PathBuf {
    let said = || file.and_then(|file| file.data.as_ref()).map(|data| data.value.clone());
    let flag = flag.map(Path::to_owned);
    flag.or_else(said).or_else(state_directory).unwrap_or_else(|| PathBuf::from(DATA_DEFAULT))
}

fn place(
    args: &LockserverArgs,
    context: &Context,
    file: Option<&LockServerConfig>,
    has_door: bool,
) -> Result<Place, Failure> {
    let said = file.and_then(|file| file.coordinator.as_ref()).filter(|_| args.data.is_none());
    let url = match (&context.globals.coordinator, said) {
        (Some(url), _) => url.parse().map_err(|error| no_coordinator(url, &error))?,
        (None, Some(said)) => said.value.clone(),
        (None, None) => return Ok(Place::Folder(folder(args.data.as_deref(), file))),
    };
    relayed(&url, args, context, has_door).map(Place::Store)
}

/// The way to the store to which it is a door.
fn relayed(
    url: &CoordinatorUrl,
    args: &LockserverArgs,
    context: &Context,
    has_door: bool,
) -> Result<Arc<Mailbox>, Failure> {
    if has_door {
        let hint = "start a lock server of its own for them, or leave -l out";
        return Err(Failure::usage("a door to a store has none for clients of poolcounterd", hint));
    }
    if args.data.is_some() {
        return Err(Failure::usage("a door to a store keeps nothing, so --data has no use", "leave one of both out"));
    }
    let mailbox = context.seats.mailbox(url.as_str()).map_err(|error| Failure::usage(error.to_string(), ""))?;
    mailbox.ok_or_else(|| {
        let what = format!("a lock server keeps its own state here, and --coordinator {url} would name another's");
        Failure::usage(
            what,
            "leave --coordinator out; --data says where the state is. Or name a Redis or an etcd, to be a door to it",
        )
    })
}

/// Where to listen for clients of poolcounterd. What is no address ends it as it ends poolcounterd.
fn poolcounter_address(typed: &str) -> Result<SocketAddr, Failure> {
    lock_server::poolcounter_address(typed).ok_or_else(|| Failure::Work {
        what: format!("address `{typed}` is not valid to listen on"),
        hint: format!(
            "write an IP address, with its port unless that is {}: -l 10.0.0.5",
            lock_server::POOLCOUNTER_PORT
        ),
        code: exit::FAILED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::context::Globals;
    use clap::Parser as _;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: LockserverArgs,
    }

    fn given(file: &str, flags: &[&str]) -> Result<Given, Failure> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lockserver.toml");
        std::fs::write(&path, file).expect("written");
        let globals = Globals { config: Some(path), ..Globals::default() };
        let args = Line::try_parse_from([&["lockserver"], flags].concat()).expect("flags").args;
        Given::of(&args, &Context { globals, ..Context::default() })
    }

    #[test]
    fn its_state_does_not_lie_in_the_folder_of_a_worker() {
        assert_ne!(DATA_DEFAULT, crate::config::STATE_DEFAULT);
        let help =
            crate::cli::command().find_subcommand_mut("lockserver").expect("there").render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains(&format!("else {DATA_DEFAULT}]")), "{help}");
        assert!(help.contains(&format!("else {API_DEFAULT}]")), "{help}");
    }

    #[test]
    fn where_poolcounter_clients_come_in_is_typed_as_for_poolcounterd() {
        assert_eq!(lock_server::POOLCOUNTER_PORT, ::lockserver::poolcounter::PORT);
        let read = |typed| poolcounter_address(typed).map(|address| address.to_string());
        assert_eq!(read("10.0.0.5").ok().as_deref(), Some("10.0.0.5:7531"));
        assert_eq!(read("::1").ok().as_deref(), Some("[::1]:7531"));
        assert_eq!(read("127.0.0.1:0").ok().as_deref(), Some("127.0.0.1:0"));
        assert_eq!(read("[::1]:75").ok().as_deref(), Some("[::1]:75"));
        for wrong in ["", "localhost", "10.0.0", "7531", "10.0.0.5:x"] {
            let failure = read(wrong).expect_err("no address");
            assert!(matches!(failure, Failure::Work { code: 1, .. }));
            assert!(failure.render().starts_with(&format!("error: address `{wrong}` is not valid to listen on")));
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_usual() {
        let plain = given("", &[]).expect("the usual");
        assert_eq!((plain.api, plain.poolcounter), (API_DEFAULT, None));
        let file = "api = \"10.0.0.5:1\"\ntrusted_network = true\npoolcounter = \"10.0.0.6\"\ndata = \"/srv/locks\"\n";
        let of_file = given(file, &[]).expect("the file's");
        assert_eq!(of_file.api.to_string(), "10.0.0.5:1");
        assert_eq!(of_file.poolcounter.map(|door| door.to_string()).as_deref(), Some("10.0.0.6:7531"));
        assert!(matches!(of_file.place, Place::Folder(folder) if folder == Path::new("/srv/locks")));
        let of_flags =
            given(file, &["--api", "127.0.0.1:2", "-l", "127.0.0.1:3", "--data", "/else"]).expect("the flags'");
        assert_eq!(of_flags.api.to_string(), "127.0.0.1:2");
        assert_eq!(of_flags.poolcounter.map(|door| door.to_string()).as_deref(), Some("127.0.0.1:3"));
        assert!(matches!(of_flags.place, Place::Folder(folder) if folder == Path::new("/else")));
    }

    #[test]
    fn an_address_beyond_loopback_is_refused_where_it_stands() {
        let refused = given("# api\n  api = \"10.0.0.5:1\"\n", &[]).expect_err("not protected");
        assert_eq!(refused.exit_code(), 64);
        assert!(refused.render().contains("lockserver.toml:2:9: 10.0.0.5:1 can be reached"), "{}", refused.render());
        given("api = \"10.0.0.5:1\"\n", &["--trusted-network"]).expect("trusted");
        given("api = \"10.0.0.5:1\"\n", &["--api", "127.0.0.1:0"]).expect("on loopback");
    }
}
