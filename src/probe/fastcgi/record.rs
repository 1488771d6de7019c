//! The records of FastCGI 1.0 as a client sees them: the bytes of a request, and a reply put together from the pieces that it
//! comes in.
//!
//! Pure. Owns the bounds of what is kept of a reply. What is not a reply to the one request that was sent is an error, never
//! passed over. Names and numbers are those of the FastCGI Specification, version 1.0, section 8.

use super::FastCgiError;
use super::cgi::HEADERS_BYTES_MAX;
use crate::probe::observation::{BODY_BYTES_MAX, excerpt};

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
/// The first and the last of the types that a server sends of itself, under no request's number.
const MANAGEMENT: [u8; 2] = [10, 11];
/// In a record of the type `BEGIN_REQUEST`: the role of answering, and that the server closes the connection afterwards.
const RESPONDER: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
/// The number of the request: a connection has one.
const REQUEST_ID: u16 = 1;
/// The bytes in front of a record's content.
const HEAD_BYTES: usize = 8;
/// The bytes of a record of the type `END_REQUEST`.
const END_BYTES: usize = 8;
/// Longest content of one record.
const CONTENT_BYTES_MAX: usize = u16::MAX as usize;

/// Most bytes that are kept of what a script prints: its headers, and what is looked at of its body.
pub(super) const STDOUT_BYTES_MAX: usize = HEADERS_BYTES_MAX + BODY_BYTES_MAX;
/// Most bytes that are kept of what it complains.
pub(super) const STDERR_BYTES_MAX: usize = 8 * 1024;
/// Most bytes that are read of a reply, whatever they are.
pub(super) const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// What php-fpm complains when it does not even begin a script: that it is not there, or may not be run (`security.limit_extensions`).
const NO_SCRIPT: [&str; 2] = ["Primary script unknown", "Access to the script "];

/// The bytes of a whole request without a body.
pub(super) fn request(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (name, value) in parameters {
        pairs.extend(length(name));
        pairs.extend(length(value));
        pairs.extend(name.as_bytes());
        pairs.extend(value.as_bytes());
    }
    let mut bytes = Vec::new();
    push(&mut bytes, BEGIN_REQUEST, &RESPONDER);
    for part in pairs.chunks(CONTENT_BYTES_MAX) {
        push(&mut bytes, PARAMS, part);
    }
    push(&mut bytes, PARAMS, &[]);
    push(&mut bytes, STDIN, &[]);
    bytes
}

/// How a length is written: one byte below 128, else four with the first bit set.
fn length(text: &str) -> Vec<u8> {
    match u8::try_from(text.len()) {
        Ok(short) if short < 128 => vec![short],
        _ => (u32::try_from(text.len()).unwrap_or(u32::MAX) | 1 << 31).to_be_bytes().to_vec(),
    }
}

/// Appends a record; its content is not longer than [`CONTENT_BYTES_MAX`].
fn push(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let [id_high, id_low] = REQUEST_ID.to_be_bytes();
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    bytes.extend([VERSION, kind, id_high, id_low, high, low, 0, 0]);
    bytes.extend(content);
}

/// What has come of a reply so far.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The beginning of a record whose head is not complete.
    head: Vec<u8>,
    /// The record whose content comes.
    record: Option<Record>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    end: Vec<u8>,
    read: usize,
    is_cut: bool,
}

/// A record, while it comes.
#[derive(Debug)]
struct Record {
    kind: Kind,
    /// How much of its content is still to come.
    content: usize,
    /// And how much behind it that means nothing.
    padding: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stdout,
    Stderr,
    End,
    /// Something that the server says of itself.
    Management,
}

impl Record {
    fn read(head: &[u8]) -> Result<Record, FastCgiError> {
        let [version, kind, id_high, id_low, high, low, padding, _reserved] = *head else {
            return Err(FastCgiError::NotFastCgi(format!("a head of {} bytes", head.len())));
        };
        let id = u16::from_be_bytes([id_high, id_low]);
        let content = usize::from(u16::from_be_bytes([high, low]));
        if version != VERSION {
            return Err(FastCgiError::NotFastCgi(format!("its first bytes are {:?}", String::from_utf8_lossy(head))));
        }
        let kind = match (kind, id) {
            (STDOUT, REQUEST_ID) => Kind::Stdout,
            (STDERR, REQUEST_ID) => Kind::Stderr,
            (END_REQUEST, REQUEST_ID) if content == END_BYTES => Kind::End,
            (END_REQUEST, REQUEST_ID) => {
                return Err(FastCgiError::NotFastCgi(format!(
                    "a request's end has {END_BYTES} bytes, and not {content}"
                )));
            }
            (kind, 0) if MANAGEMENT.contains(&kind) => Kind::Management,
            (STDOUT | STDERR | END_REQUEST, id) => {
                return Err(FastCgiError::NotFastCgi(format!("a record of the request {id}, which nobody sent")));
            }
            (kind, _) => return Err(FastCgiError::NotFastCgi(format!("a record of the type {kind}"))),
        };
        Ok(Record { kind, content, padding: usize::from(padding) })
    }

    /// Whether all that matters of it is there.
    fn is_over(&self) -> bool {
        self.content == 0 && (self.padding == 0 || self.kind == Kind::End)
    }
}

impl Reply {
    /// Takes the next bytes, of any number. Whether the reply is over: complete, or longer than what is looked at.
    ///
    /// # Errors
    /// It is no reply of FastCGI, is endless, or says that there is no answer.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool, FastCgiError> {
        self.read += bytes.len();
        if self.read > REPLY_BYTES_MAX {
            return Err(FastCgiError::NotFastCgi(format!("a reply has at most {REPLY_BYTES_MAX} bytes")));
        }
        while !bytes.is_empty() {
            let Some(record) = &mut self.record else {
                self.head.extend(split(&mut bytes, HEAD_BYTES - self.head.len()));
                if self.head.len() == HEAD_BYTES {
                    self.record = Some(Record::read(&self.head)?);
                    self.head.clear();
                }
                // One without content is over at once, also at the very end of these bytes.
                if self.ended()? {
                    return Ok(true);
                }
                continue;
            };
            let content = split(&mut bytes, record.content);
            record.content -= content.len();
            if record.content == 0 {
                record.padding -= split(&mut bytes, record.padding).len();
            }
            match record.kind {
                Kind::Stdout => self.stdout.extend(content),
                Kind::Stderr => self.stderr.extend(&content[..content.len().min(STDERR_BYTES_MAX - self.stderr.len())]),
                Kind::End => self.end.extend(content),
                Kind::Management => {}
            }
            if self.stdout.len() > STDOUT_BYTES_MAX {
                self.stdout.truncate(STDOUT_BYTES_MAX);
                self.is_cut = true;
                return Ok(true);
            }
            if self.ended()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts a record away that is over; whether it was the last one.
    fn ended(&mut self) -> Result<bool, FastCgiError> {
        let Some(record) = self.record.take_if(|record| record.is_over()) else { return Ok(false) };
        if record.kind != Kind::End {
            return Ok(false);
        }
        let [a, b, c, d, protocol, ..] = *self.end else {
            return Err(FastCgiError::NotFastCgi("a request's end that says nothing".to_owned()));
        };
        match (protocol, u32::from_be_bytes([a, b, c, d])) {
            // What php-fpm complains of a missing script says more than a code could.
            (0, 0) => Ok(true),
            (0, code) => Err(FastCgiError::Failed { code, said: self.said() }),
            (1, _) => Err(FastCgiError::Refused { why: "one request after the other (CANT_MPX_CONN)" }),
            (2, _) => Err(FastCgiError::Refused { why: "it is overloaded (OVERLOADED)" }),
            (3, _) => Err(FastCgiError::Refused { why: "it answers no requests of this kind (UNKNOWN_ROLE)" }),
            (other, _) => Err(FastCgiError::NotFastCgi(format!("a request ended with the unknown status {other}"))),
        }
    }

    /// What the script printed, [`STDOUT_BYTES_MAX`] bytes of it at most.
    pub(super) fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// Whether it printed more than that.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The first line of what was complained, for people; empty when nothing was.
    pub(super) fn said(&self) -> String {
        first_line(&String::from_utf8_lossy(&self.stderr))
    }

    /// Whether the server complained that it does not run the script at all.
    pub(super) fn has_no_script(&self) -> bool {
        let said = String::from_utf8_lossy(&self.stderr);
        NO_SCRIPT.iter().any(|complaint| said.trim_start().starts_with(complaint))
    }
}

/// The first line of a text that says something, bounded.
pub(super) fn first_line(text: &str) -> String {
    excerpt(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}

/// Takes up to so many bytes from the front.
fn split<'b>(bytes: &mut &'b [u8], most: usize) -> &'b [u8] {
    let (front, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    front
}
