//! What a script printed, read as CGI: a status, headers and a body (RFC 3875, section 6).
//!
//! Pure. Whoever prints no headers has given no answer.

use std::collections::BTreeMap;

/// Most bytes of headers.
pub(super) const HEADERS_BYTES_MAX: usize = 16 * 1024;

/// What was printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer<'b> {
    /// 200 unless it says otherwise.
    pub(super) status: u16,
    /// By name in small letters; of several with one name, the last.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: &'b [u8],
}

/// Reads it.
///
/// # Errors
/// There are no headers, or they are no headers: why, in a few words.
pub(super) fn read(printed: &[u8]) -> Result<Answer<'_>, String> {
    if printed.is_empty() {
        return Err("nothing was printed".to_owned());
    }
    let mut headers = BTreeMap::new();
    let mut rest = printed;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("its headers do not end")?;
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if printed.len() - rest.len() > HEADERS_BYTES_MAX {
            return Err(format!("more than {HEADERS_BYTES_MAX} bytes of headers"));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':').filter(|(name, _)| is_name(name)).ok_or("a line that is no header")?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let status = match headers.remove("status") {
        Some(status) => status_of(&status).ok_or("a status that is none")?,
        // RFC 3875, section 6.2.3 and 6.2.4.
        None if headers.contains_key("location") => 302,
        None => 200,
    };
    Ok(Answer { status, headers, body: rest })
}

/// `404` of `404 Not Found`.
fn status_of(text: &str) -> Option<u16> {
    text.split(' ').next()?.parse().ok().filter(|status| (100..1000).contains(status))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
