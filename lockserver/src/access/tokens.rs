//! Who is known: tokens by name, with what each may do. Pure.
//!
//! Owns the words of a token, and how one is found by its text or by a client certificate's name. How they are written is
//! [`mod@file`]'s; where they lie, [`keep`](super::keep)'s.

pub mod file;

use super::secret::{Hash, Secret};
use jiff::Timestamp;
use model::names::{Holder, Host};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most tokens of one file: as many as there may be members, and people beside them.
pub const TOKENS_MAX: usize = 20_000;
/// Longest name of a token, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest name in a certificate, in bytes: as long as a name in the DNS can be.
pub const CERTIFICATE_BYTES_MAX: usize = 253;

/// What a token may do. Whoever may anything may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Read,
    /// What a worker asks, and what `stagger run` asks.
    Worker,
    /// Announce, abort, pause, resume.
    Deploy,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 4] = [Role::Read, Role::Worker, Role::Deploy, Role::Admin];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Worker => "worker",
            Role::Deploy => "deploy",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Role {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Role, WordError> {
        let known = Role::ALL.into_iter().find(|role| role.word() == text);
        known.ok_or_else(|| WordError("the roles are read, worker, deploy and admin".to_owned()))
    }
}

/// What is no word of a token's; it fits behind the word and a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WordError(String);

/// The name of a token: what the history and the log call whoever has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = WordError;
    fn from_str(text: &str) -> Result<Name, WordError> {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | ':' | '@');
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(is_of_name) {
            return Ok(Name(text.to_owned()));
        }
        Err(WordError(format!("a token is named by 1 to {NAME_BYTES_MAX} letters, digits and . _ - : @")))
    }
}

/// A name that a client certificate is made out to (a DNS name of its subject's alternative names).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateName(String);

impl CertificateName {
    /// The name as text, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CertificateName {
    type Err = WordError;
    fn from_str(text: &str) -> Result<CertificateName, WordError> {
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        if (1..=CERTIFICATE_BYTES_MAX).contains(&text.len()) && text.chars().all(is_of_name) {
            return Ok(CertificateName(text.to_ascii_lowercase()));
        }
        Err(WordError("a client certificate is named as a host is, such as mw1331.example.net".to_owned()))
    }
}

/// By what its owner is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// By the token's text, of which this is kept.
    Secret(Hash),
    /// By a client certificate that is made out to this name; there is no text.
    Certificate(CertificateName),
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is called.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// The one host that a worker's may act for; any when not said.
    pub host: Option<Host>,
    /// When it was made.
    pub made: Timestamp,
    /// When it is over; never when not said.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// By what its owner is recognised.
    pub proof: Proof,
}

impl Token {
    /// Whether it may act under this holder's name. To a host belong its own name, and what `stagger run` calls itself there:
    /// `run-PID.HOST`, or `run-` and another word without a dot before the host's name.
    pub fn may_act_for(&self, holder: &Holder) -> bool {
        let Some(host) = &self.host else { return true };
        if holder.as_str() == host.as_str() {
            return true;
        }
        let run = holder.as_str().strip_prefix("run-").and_then(|rest| rest.split_once('.'));
        run.is_some_and(|(word, of)| !word.is_empty() && of == host.as_str())
    }

    /// Whether it counts at a moment.
    pub fn state(&self, now: Timestamp) -> TokenState {
        match (self.revoked, self.expires) {
            (Some(_), _) => TokenState::Revoked,
            (None, Some(expires)) if expires <= now => TokenState::Expired,
            _ => TokenState::Valid,
        }
    }
}

/// Whether a token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// It does.
    Valid,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

/// Everyone who is known. No two have one name, or one proof.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    all: Vec<Token>,
    /// Where each is, by the beginning of its hash.
    secrets: BTreeMap<[u8; 8], Vec<usize>>,
    certificates: BTreeMap<CertificateName, usize>,
}

/// Why two tokens cannot be in one file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Clash {
    /// Another one has the name.
    #[error("there are two of the name {0}")]
    Name(Name),
    /// Another one has the same text.
    #[error("{0} and {1} are one and the same token")]
    Secret(Name, Name),
    /// Another one stands for the same certificate.
    #[error("{0} and {1} stand for one certificate")]
    Certificate(Name, Name),
    /// More than [`TOKENS_MAX`].
    #[error("there are more than {TOKENS_MAX} tokens")]
    TooMany,
}

impl Tokens {
    /// Everyone, in the order of the file.
    pub fn all(&self) -> &[Token] {
        &self.all
    }

    /// The one of this name.
    pub fn named(&self, name: &Name) -> Option<&Token> {
        self.all.iter().find(|token| token.name == *name)
    }

    /// Whose text this is, whether it counts or not.
    pub fn of_secret(&self, secret: &Secret) -> Option<&Token> {
        let hash = secret.hash();
        let places = self.secrets.get(&hash.place())?;
        let tokens = places.iter().filter_map(|place| self.all.get(*place));
        tokens.fold(None, |found, token| match &token.proof {
            Proof::Secret(kept) if kept.is(&hash) => Some(token),
            _ => found,
        })
    }

    /// Who is recognised by a certificate that is made out to these names, whether it counts or not; the first that is.
    pub fn of_certificate(&self, names: &[String]) -> Option<&Token> {
        let named = names.iter().filter_map(|name| self.certificates.get(&name.parse::<CertificateName>().ok()?));
        named.filter_map(|place| self.all.get(*place)).next()
    }

    /// Puts these together.
    ///
    /// # Errors
    /// Two of them cannot be told apart, or there are too many; with the place of the one that is too much.
    pub fn of(all: Vec<Token>) -> Result<Tokens, (usize, Clash)> {
        let mut names = BTreeMap::new();
        let mut tokens = Tokens::default();
        for (place, token) in all.iter().enumerate() {
            let clash = |clash| Err((place, clash));
            if place >= TOKENS_MAX {
                return clash(Clash::TooMany);
            }
            if names.insert(token.name.clone(), place).is_some() {
                return clash(Clash::Name(token.name.clone()));
            }
            match &token.proof {
                Proof::Secret(hash) => {
                    let here: &mut Vec<usize> = tokens.secrets.entry(hash.place()).or_default();
                    let mut others = here.iter().filter_map(|other| all.get(*other));
                    if let Some(same) = others.find(|other| other.proof == token.proof) {
                        return clash(Clash::Secret(same.name.clone(), token.name.clone()));
                    }
                    here.push(place);
                }
                Proof::Certificate(name) => {
                    if let Some(other) = tokens.certificates.insert(name.clone(), place).and_then(|at| all.get(at)) {
                        return clash(Clash::Certificate(other.name.clone(), token.name.clone()));
                    }
                }
            }
        }
        tokens.all = all;
        Ok(tokens)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn token(name: &str, role: Role, secret: &Secret) -> Token {
        Token {
            name: name.parse().expect("a name"),
            role,
            host: None,
            made: Timestamp::UNIX_EPOCH,
            expires: None,
            revoked: None,
            proof: Proof::Secret(secret.hash()),
        }
    }

    #[test]
    fn a_token_is_found_by_its_text_and_by_its_certificate() {
        let secrets: Vec<_> = (0..50).map(|_| Secret::random().expect("a token")).collect();
        let mut all: Vec<_> =
            secrets.iter().enumerate().map(|(n, secret)| token(&format!("t{n}"), Role::Read, secret)).collect();
        let proof = Proof::Certificate("mw1.example.net".parse().expect("a name"));
        all.push(Token { proof, ..token("cert", Role::Worker, &secrets[0]) });
        let tokens = Tokens::of(all.clone()).expect("tokens");
        for (n, secret) in secrets.iter().enumerate() {
            assert_eq!(tokens.of_secret(secret).map(|token| token.name.to_string()), Some(format!("t{n}")));
        }
        assert_eq!(tokens.of_secret(&Secret::random().expect("a token")), None);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let found = tokens.of_certificate(&names(&["*", "other", "MW1.example.net"])).expect("found");
        assert_eq!(found.name.as_str(), "cert");
        assert_eq!(tokens.of_certificate(&names(&["mw2.example.net"])), None);
        let again = |more: Token| {
            Tokens::of(all.iter().cloned().chain([more]).collect()).map_err(|(at, clash)| (at, clash.to_string()))
        };
        let fresh = Secret::random().expect("a token");
        assert_eq!(again(token("t7", Role::Read, &fresh)), Err((51, "there are two of the name t7".to_owned())));
        assert_eq!(
            again(token("x", Role::Read, &secrets[3])),
            Err((51, "t3 and x are one and the same token".to_owned()))
        );
    }

    #[test]
    fn a_bound_token_acts_for_its_host_alone() {
        let secret = Secret::random().expect("a token");
        let bound = Token { host: Some("mw1.net".parse().expect("a host")), ..token("w", Role::Worker, &secret) };
        let may = |holder: &str| bound.may_act_for(&holder.parse().expect("a holder"));
        for own in ["mw1.net", "run-4711.mw1.net", "run-upgrade.mw1.net"] {
            assert!(may(own), "{own}");
        }
        for other in [
            "mw2.net",
            "net",
            "run-.mw1.net",
            "run-1.mw2.net",
            "run-1.x.mw1.net",
            "x.mw1.net",
            "mw1.net.evil",
            "run-1mw1.net",
        ] {
            assert!(!may(other), "{other}");
        }
        assert!(token("any", Role::Worker, &secret).may_act_for(&"whoever".parse().expect("a holder")));
    }

    #[test]
    fn a_token_counts_until_it_expires_or_is_revoked() {
        let secret = Secret::random().expect("a token");
        let at = |second| Timestamp::from_second(second).expect("a moment");
        let limited = Token { expires: Some(at(100)), ..token("w", Role::Worker, &secret) };
        assert_eq!((limited.state(at(99)), limited.state(at(100))), (TokenState::Valid, TokenState::Expired));
        let revoked = Token { revoked: Some(at(50)), ..limited };
        assert_eq!(revoked.state(at(10)), TokenState::Revoked);
    }
}
