//! The file of the tokens as text: read, and written. Pure.
//!
//! A line says what it is and in which version; then a line for each token, `NAME ROLE KEY=VALUE…`, such as
//! `mw1331 worker host=mw1331 made=2026-11-28T13:00:00Z sha256=…`. Empty lines and those that begin with `#` say nothing, and stay.

use super::{CertificateName, Clash, Name, Proof, Role, Token, Tokens, WordError};
use crate::access::secret::NoSecret;
use jiff::Timestamp;
use std::fmt::{self, Write as _};

/// The first line. A file without it is no file of tokens: not one that was emptied, either.
pub const FIRST_LINE: &str = "stagger-tokens 1";
/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Why a text is no file of tokens: the line, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Damage {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl From<WordError> for String {
    fn from(error: WordError) -> String {
        error.to_string()
    }
}

/// Reads a file's text.
///
/// # Errors
/// Something in it is no token, or it ends in the middle of a line; nothing of it counts then.
pub fn parse(text: &str) -> Result<Tokens, Damage> {
    let damage = |line, why: String| Damage { line, why };
    if text.len() > FILE_BYTES_MAX {
        return Err(damage(1, format!("the file has more than {FILE_BYTES_MAX} bytes")));
    }
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    if lines.next().is_none_or(|(_, line)| line != FIRST_LINE) {
        return Err(damage(1, format!("a file of tokens begins with the line {FIRST_LINE:?}")));
    }
    let said: Vec<_> = lines.filter(|(_, line)| !says_nothing(line)).collect();
    if !text.ends_with('\n') {
        return Err(damage(text.lines().count(), "the file ends in the middle of this line".to_owned()));
    }
    let mut places = Vec::with_capacity(said.len());
    let mut all = Vec::with_capacity(said.len());
    for (line, written) in said {
        all.push(read(written).map_err(|why| damage(line, why))?);
        places.push(line);
    }
    Tokens::of(all).map_err(|(place, clash): (usize, Clash)| {
        damage(places.get(place).copied().unwrap_or_default(), clash.to_string())
    })
}

fn says_nothing(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

fn read(line: &str) -> Result<Token, String> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default().parse::<Name>()?;
    let Some(role) = words.next() else { return Err(format!("{name} has no role")) };
    let role = role.parse::<Role>()?;
    let (mut host, mut made, mut expires, mut revoked, mut proof) = (None, None, None, None, None);
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err("behind the role there are words such as host=mw1331".to_owned());
        };
        let moment =
            || value.parse::<Timestamp>().map_err(|_| format!("{key} is a moment, such as 2026-11-28T13:00:00Z"));
        let is_second = match key {
            "host" => host.replace(value.parse().map_err(|error| format!("host: {error}"))?).is_some(),
            "made" => made.replace(moment()?).is_some(),
            "expires" => expires.replace(moment()?).is_some(),
            "revoked" => revoked.replace(moment()?).is_some(),
            "sha256" => {
                let hash = value.parse().map_err(|_: NoSecret| "sha256 is 64 hexadecimal digits".to_owned())?;
                proof.replace(Proof::Secret(hash)).is_some()
            }
            "certificate" => proof.replace(Proof::Certificate(value.parse::<CertificateName>()?)).is_some(),
            _ => return Err("the words are host, made, expires, revoked, and one of sha256 and certificate".to_owned()),
        };
        if is_second {
            return Err(format!("{key} is there twice, or what stands in its place"));
        }
    }
    let made = made.ok_or("made=2026-11-28T13:00:00Z, or whenever it was, is missing")?;
    let proof = proof.ok_or("one of sha256 and certificate is missing")?;
    if host.is_some() && role != Role::Worker {
        return Err("only a worker's token is bound to a host".to_owned());
    }
    Ok(Token { name, role, host, made, expires, revoked, proof })
}

/// The line of a token, without its end.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.role)?;
        if let Some(host) = &self.host {
            write!(f, " host={host}")?;
        }
        write!(f, " made={}", self.made)?;
        for (key, at) in [("expires", self.expires), ("revoked", self.revoked)] {
            if let Some(at) = at {
                write!(f, " {key}={at}")?;
            }
        }
        match &self.proof {
            Proof::Secret(hash) => write!(f, " sha256={hash}"),
            Proof::Certificate(name) => write!(f, " certificate={}", name.as_str()),
        }
    }
}

/// The text of a file without any token.
pub fn empty() -> String {
    format!(
        "{FIRST_LINE}\n# Kept by: stagger lockserver token. NAME ROLE, then what else there is to say; of a token only its hash.\n"
    )
}

/// The text with this token in it, in the place of the one of its name, else at the end. The other lines stay as they are.
pub fn with(text: &str, token: &Token) -> String {
    let mut new = String::with_capacity(text.len() + 200);
    let mut is_there = false;
    for (at, line) in text.lines().enumerate() {
        let is_its = at > 0 && !says_nothing(line) && line.split_ascii_whitespace().next() == Some(token.name.as_str());
        // Writing to a string cannot fail.
        let _ = if is_its && !is_there { writeln!(new, "{token}") } else { writeln!(new, "{line}") };
        is_there |= is_its;
    }
    if !is_there {
        let _ = writeln!(new, "{token}");
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::secret::Secret;
    use crate::access::tokens::tests::token;

    fn whole(lines: &str) -> String {
        format!("{FIRST_LINE}\n{lines}")
    }

    #[test]
    fn what_is_written_is_read_and_what_people_wrote_stays() {
        let secret = Secret::random().expect("a token");
        let at = |second| Some(Timestamp::from_second(second).expect("a moment"));
        let mut one = token("mw1331", Role::Worker, &secret);
        one.host = Some("mw1331".parse().expect("a host"));
        (one.expires, one.revoked) = (at(1_800_000_000), at(1_790_000_000));
        let other = Token {
            proof: Proof::Certificate("ops1.example.net".parse().expect("a name")),
            ..token("ops", Role::Admin, &secret)
        };
        let text = with(&with(&format!("{}\n  # ours\n", empty()), &one), &other);
        let tokens = parse(&text).expect("tokens");
        assert_eq!(tokens.all(), [one.clone(), other.clone()]);
        let again = Token { revoked: None, ..one };
        let text = with(&text, &again);
        assert_eq!(parse(&text).expect("tokens").all(), [again, other]);
        assert!(text.contains("\n\n  # ours\n"), "{text}");
        assert_eq!(parse(&empty()).expect("none").all(), []);
    }

    #[test]
    fn what_is_no_file_of_tokens_is_refused_whole_with_its_line() {
        let hash = "0".repeat(64);
        let good = format!("a read made=2026-11-28T13:00:00Z sha256={hash}");
        parse(&whole(&format!("{good}\n"))).expect("tokens");
        let other = hash.replace('0', "1");
        for (text, line, part) in [
            (String::new(), 1, "begins with"),
            ("\n".to_owned(), 1, "begins with"),
            (whole(&good), 2, "middle"),
            (whole(&good[..30]), 2, "middle"),
            (whole("a\n"), 2, "no role"),
            (whole("é read\n"), 2, "named by"),
            (whole("#\na root\n"), 3, "the roles are"),
            (whole("a read nonsense\n"), 2, "words such as"),
            (whole("a read uid=0\n"), 2, "the words are"),
            (whole("a read made=yesterday\n"), 2, "a moment"),
            (whole("a read made=2026-11-28T13:00:00Z\n"), 2, "sha256"),
            (whole(&format!("a read sha256={hash}\n")), 2, "made"),
            (whole(&format!("a read made=2026-11-28T13:00:00Z sha256={hash}0\n")), 2, "64"),
            (whole(&format!("{good} host=mw1\n")), 2, "worker"),
            (whole(&format!("{good} certificate=x\n")), 2, "twice"),
            (whole(&format!("{good}\n\n{good}\n")), 4, "two of the name"),
            (whole(&format!("{good}\nb{}\n", &good[1..])), 3, "one and the same"),
            (
                whole(&format!("{good}\nb{}\nb{}\n", &good[1..].replace(&hash, &other), &good[1..])),
                4,
                "two of the name",
            ),
        ] {
            let damage = parse(&text).expect_err(&text);
            assert_eq!((damage.line, damage.why.contains(part)), (line, true), "{text}: {damage}");
            assert!(!damage.to_string().contains(&hash), "a hash is nobody's business");
        }
        let long = whole(&"# a comment\n".repeat(FILE_BYTES_MAX / 12));
        assert!(parse(&long).is_err());
    }
}
