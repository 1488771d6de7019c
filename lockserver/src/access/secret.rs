//! The text of a token, and what is kept of it.
//!
//! Pure but for its randomness. The text is shown once, to whoever has it made; nothing here prints it otherwise.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that one that leaks is recognised.
pub const PREFIX: &str = "stagger_";
/// Bytes of chance in a token.
const RANDOM_BYTES: usize = 32;

/// A token as its owner has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What is kept of a token: nobody can make the token of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; SHA256_OUTPUT_LEN]);

/// What is no token, or no hash of one. What it was is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token is {PREFIX} and 64 hexadecimal digits")]
pub struct NoSecret;

impl Secret {
    /// A new one, which nobody can guess.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn random() -> std::io::Result<Secret> {
        let mut bytes = [0_u8; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|cause| std::io::Error::other(cause.to_string()))?;
        Ok(Secret(format!("{PREFIX}{}", hex(&bytes))))
    }

    /// The text itself, for its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it: SHA-256 of the text. A token is chance alone, so that nothing slower is needed.
    pub fn hash(&self) -> Hash {
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        Hash(hash)
    }
}

impl FromStr for Secret {
    type Err = NoSecret;
    fn from_str(text: &str) -> Result<Secret, NoSecret> {
        let digits = text.strip_prefix(PREFIX).ok_or(NoSecret)?;
        unhex::<RANDOM_BYTES>(digits).ok_or(NoSecret)?;
        Ok(Secret(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Hash {
    /// Whether it is the same, in a time that does not tell how far they agree.
    pub fn is(&self, other: &Hash) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Its beginning: where a table keeps it. Whoever sends a token knows its hash, so the way to the place tells nothing.
    pub(super) fn place(&self) -> [u8; 8] {
        let mut place = [0; 8];
        place.copy_from_slice(&self.0[..8]);
        place
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({}…)", hex(&self.0[..4]))
    }
}

impl FromStr for Hash {
    type Err = NoSecret;
    fn from_str(text: &str) -> Result<Hash, NoSecret> {
        unhex(text).map(Hash).ok_or(NoSecret)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of exactly so many pairs of lower-case digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |letter: &u8| matches!(letter, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_recognised_never_the_same_and_never_shown() {
        let (one, other) = (Secret::random().expect("a token"), Secret::random().expect("a token"));
        assert_ne!(one, other);
        assert_eq!(one.reveal().parse::<Secret>().as_ref(), Ok(&one));
        assert!(one.reveal().starts_with(PREFIX) && one.reveal().len() == PREFIX.len() + 64);
        assert!(one.hash().is(&one.hash()) && !one.hash().is(&other.hash()));
        assert_eq!(one.hash().to_string().parse::<Hash>(), Ok(one.hash()));
        assert!(!format!("{one:?} {:?}", one.hash()).contains(&one.reveal()[PREFIX.len()..]));
        for wrong in ["", "stagger_", "stagger_ab", &one.reveal().to_uppercase(), &one.reveal()[1..]] {
            assert_eq!(wrong.parse::<Secret>(), Err(NoSecret), "{wrong}");
        }
        let multibyte = format!("{PREFIX}{}", "é".repeat(32));
        assert_eq!(multibyte.parse::<Secret>(), Err(NoSecret));
    }

    #[test]
    fn the_hash_is_sha_256() {
        let secret: Secret = format!("{PREFIX}{}", "0".repeat(64)).parse().expect("a token");
        // printf 'stagger_000…' | sha256sum
        assert!(secret.hash().to_string().starts_with("02466b26"), "{}", secret.hash());
        assert_eq!(secret.hash().to_string().len(), 64);
    }
}
