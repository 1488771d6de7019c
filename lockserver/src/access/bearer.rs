//! What a request brings to say who asks: the header `authorization`. Pure.
//!
//! `Bearer TOKEN`, or `Basic` with the token as the password and any user, for clients that can say nothing else, such as those of
//! FleetLock. A client certificate comes with the connection, not with the request.

use super::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

/// What a request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bearer {
    /// Nothing.
    Nothing,
    /// Something that is no token.
    Unreadable,
    /// A token; whether anybody knows it is another question.
    Token(Secret),
}

impl Bearer {
    /// Reads it from a request's headers.
    pub(super) fn read(headers: &HeaderMap) -> Bearer {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Bearer::Nothing };
        let said = value.to_str().ok().filter(|_| values.next().is_none()).and_then(secret);
        said.map_or(Bearer::Unreadable, Bearer::Token)
    }
}

fn secret(value: &str) -> Option<Secret> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return rest.parse().ok();
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    text.split_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_as_a_bearer_or_as_a_password() {
        let secret = Secret::random().expect("a token");
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            Bearer::read(&headers)
        };
        let token = Bearer::Token(secret.clone());
        assert_eq!(read(&[&format!("Bearer {}", secret.reveal())]), token);
        assert_eq!(read(&[&format!("bearer  {} ", secret.reveal())]), token);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read(&[&basic(&format!("mw1:{}", secret.reveal()))]), token);
        assert_eq!(read(&[]), Bearer::Nothing);
        let whole = format!("Bearer {}", secret.reveal());
        for wrong in [
            &["Bearer"][..],
            &["Bearer "],
            &["Bearer stagger_1"],
            &[secret.reveal()],
            &["Basic ???"],
            &[&basic(secret.reveal())],
            &["Digest x"],
            &[&whole, &whole],
        ] {
            assert_eq!(read(wrong), Bearer::Unreadable, "{wrong:?}");
        }
        assert!(!format!("{token:?}").contains(secret.reveal()));
    }
}
