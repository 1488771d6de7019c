//! The file of the tokens on disk: read whole, and written whole under another name, which then takes its place.
//!
//! Owns its mode, its owner and its lock. What its text means is [`tokens::file`](super::tokens::file)'s. Called by the server, which
//! reads, and by the commands, which write.

use super::tokens::file::{self, Damage, FILE_BYTES_MAX};
use super::tokens::{Token, Tokens};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Where the tokens are, unless said otherwise.
pub const PATH_DEFAULT: &str = "/etc/stagger/tokens";
/// Its owner alone reads it.
const MODE: u32 = 0o600;
/// Who else may write what everyone would be let in by.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why tokens cannot be had, or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The file cannot be read.
    #[error("cannot read the tokens in {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else may write it.
    #[error("others than its owner may write {}, and so let themselves in: chmod 600 it", path.display())]
    Writable {
        /// Which file.
        path: PathBuf,
    },
    /// It is no file of tokens.
    #[error("the tokens in {} are damaged, {source}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where, and why.
        source: Damage,
    },
    /// It cannot be beside those that are there; the file is as it was.
    #[error("{why}; nothing was changed")]
    Clash {
        /// Which does not go with which.
        why: String,
    },
    /// It cannot be written; it is as it was.
    #[error("cannot write the tokens to {}: {source}", path.display())]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl KeepError {
    /// Whether there is just no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, KeepError::Unreadable { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

/// Reads the tokens.
///
/// # Errors
/// There is no such file, it cannot be read, others may write it, or it is damaged: then nothing of it counts.
pub fn load(path: &Path) -> Result<Tokens, KeepError> {
    parse(path, &text(path)?)
}

fn text(path: &Path) -> Result<String, KeepError> {
    let unreadable = |source| KeepError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(KeepError::Writable { path: path.to_owned() });
    }
    let mut text = String::new();
    // One byte more than there may be is refused when it is read.
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Tokens, KeepError> {
    file::parse(text).map_err(|source| KeepError::Damaged { path: path.to_owned(), source })
}

/// The tokens, for somebody who changes them: nobody else does meanwhile. Dropped, others may.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    text: String,
    tokens: Tokens,
    /// Whose the file is; nobody's when there is none yet.
    owner: Option<(u32, u32)>,
    /// The folder, which is locked.
    folder: File,
}

impl Keeper {
    /// Waits until nobody else changes them, and reads them. A file that is missing has no token.
    ///
    /// # Errors
    /// As of [`load`]; or the folder is not there.
    pub fn open(path: &Path) -> Result<Keeper, KeepError> {
        let unreadable = |source| KeepError::Unreadable { path: path.to_owned(), source };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = File::open(parent).and_then(|folder| folder.lock().map(|()| folder)).map_err(unreadable)?;
        let (text, owner) = match text(path) {
            Ok(text) => {
                let metadata = std::fs::metadata(path).map_err(unreadable)?;
                (text, Some((metadata.uid(), metadata.gid())))
            }
            Err(error) if error.is_missing() => (file::empty(), None),
            Err(error) => return Err(error),
        };
        let tokens = parse(path, &text)?;
        Ok(Keeper { path: path.to_owned(), text, tokens, owner, folder })
    }

    /// They, as they are.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether there is no file yet.
    pub fn is_new(&self) -> bool {
        self.owner.is_none()
    }

    /// Puts this one in the place of the one of its name, or beside the others, on disk. A lock server that reads the file knows
    /// it about a second later.
    ///
    /// # Errors
    /// It clashes with another one, or cannot be written. The file is as it was.
    pub fn put(&mut self, token: &Token) -> Result<(), KeepError> {
        let text = file::with(&self.text, token);
        let clash = |damage: Damage| KeepError::Clash { why: damage.why };
        let tokens = file::parse(&text).map_err(clash)?;
        self.write(&text).map_err(|source| KeepError::Unwritable { path: self.path.clone(), source })?;
        (self.text, self.tokens) = (text, tokens);
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        // One that was left by a command that died is in nobody's use: the folder is locked.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&new)?;
        file.write_all(text.as_bytes())?;
        if let Some((user, group)) = self.owner {
            fchown(&file, Some(user), Some(group))?;
            // Whoever could read it can do so now: a lock server that cannot goes on with the tokens that it knows.
            file.set_permissions(std::fs::metadata(&self.path)?.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        self.folder.sync_all()?;
        let metadata = file.metadata()?;
        self.owner = Some((metadata.uid(), metadata.gid()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::secret::Secret;
    use super::super::tokens::Role;
    use super::super::tokens::tests::token;
    use super::*;

    #[test]
    fn tokens_are_kept_for_their_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        assert!(load(&path).expect_err("not there").is_missing());
        let secret = Secret::random().expect("a token");
        let mut keeper = Keeper::open(&path).expect("a new file");
        assert!(keeper.is_new());
        keeper.put(&token("a", Role::Read, &secret)).expect("written");
        keeper.put(&token("a", Role::Admin, &secret)).expect("written");
        let clash = keeper.put(&token("b", Role::Admin, &secret)).expect_err("the same token");
        assert!(clash.to_string().contains("one and the same"), "{clash}");
        assert!(!keeper.is_new());
        drop(keeper);
        let tokens = load(&path).expect("tokens");
        assert_eq!(tokens.of_secret(&secret).map(|token| token.role), Some(Role::Admin));
        let text = std::fs::read_to_string(&path).expect("a text");
        assert!(!text.contains(secret.reveal()), "only its hash is kept");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, MODE);
        let names: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").collect();
        assert_eq!(names.len(), 1, "nothing else is left there");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o620)).expect("a mode");
        assert!(matches!(load(&path), Err(KeepError::Writable { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("a mode");
        std::fs::write(&path, &text[..text.len() - 9]).expect("cut");
        let damaged = Keeper::open(&path).expect_err("damaged").to_string();
        assert!(damaged.contains("line 3: the file ends in the middle"), "{damaged}");
    }
}
