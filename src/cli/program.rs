//! Whether a command can be started at all: looked for as a shell would. Asked by `run`, before a slot is, and by `check`.
//!
//! Only a look: what vanishes meanwhile, and a script without its interpreter, shows when it is started.

use crate::cli::exit;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where programs are looked for when PATH is not set: execvp(3).
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// A program cannot be started. Fits after "cannot run NAME: ".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absent {
    /// There is no such file.
    #[error("there is no such file")]
    File,
    /// No folder of PATH has one of this name.
    #[error("it is in no folder of PATH ({0})")]
    InPath(String),
    /// It is there.
    #[error("{0} is no executable file")]
    NotExecutable(PathBuf),
}

impl Absent {
    /// The code that shells end with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Absent::File | Absent::InPath(_) => exit::NOT_FOUND,
            Absent::NotExecutable(_) => exit::CANNOT_START,
        }
    }
}

/// Looks for a program as execvp(3) does, with this PATH.
///
/// # Errors
/// It is not there, or not executable by this user.
pub(crate) fn find(program: &OsStr, path: Option<OsString>) -> Result<(), Absent> {
    if program.is_empty() || program.as_encoded_bytes().contains(&b'/') {
        return look(Path::new(program));
    }
    let path = path.unwrap_or_else(|| PATH_DEFAULT.into());
    let mut found = Absent::InPath(path.to_string_lossy().into_owned());
    for folder in std::env::split_paths(&path) {
        match look(&folder.join(program)) {
            Ok(()) => return Ok(()),
            Err(Absent::NotExecutable(file)) if matches!(found, Absent::InPath(_)) => {
                found = Absent::NotExecutable(file);
            }
            Err(_) => {}
        }
    }
    Err(found)
}

fn look(file: &Path) -> Result<(), Absent> {
    match accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) if file.is_file() => Ok(()),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Absent::File),
        _ => Err(Absent::NotExecutable(file.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, mode: u32| {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(&file, "").expect("written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
            file
        };
        let plain = write("a/tool", 0o644);
        let good = write("b/tool", 0o755);
        write("b/other", 0o755);
        let path = |folders: &[&str]| {
            Some(std::env::join_paths(folders.iter().map(|name| folder.path().join(name))).expect("a path"))
        };
        assert_eq!(find(OsStr::new("tool"), path(&["nowhere", "a", "b"])), Ok(()), "a later one will do");
        assert_eq!(find(OsStr::new("tool"), path(&["a"])), Err(Absent::NotExecutable(plain.clone())));
        assert_eq!(find(OsStr::new("a"), path(&["."])).map_err(|absent| absent.exit_code()), Err(126), "a folder");
        let absent = find(OsStr::new("tool"), path(&["nowhere"])).expect_err("not there");
        assert_eq!(absent.exit_code(), 127);
        assert!(absent.to_string().contains("nowhere"), "{absent}");
        assert_eq!(find(good.as_os_str(), None), Ok(()));
        assert_eq!(find(plain.as_os_str(), None).map_err(|absent| absent.exit_code()), Err(126));
        assert_eq!(find(OsStr::new("./no-such-file"), path(&["b"])), Err(Absent::File));
        assert_eq!(find(OsStr::new(""), path(&["b"])), Err(Absent::File));
        assert_eq!(find(OsStr::new("sh"), None), Ok(()), "without PATH too");
    }
}
