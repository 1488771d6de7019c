//! What a coordinator tells as it happens: server-sent events, read from a stream of bytes.
//!
//! Owns the format and its bounds. Opens no connection: [`crate::remote`] does.

use crate::error::{Error, Result};
use crate::wire::EVENT_RESET;
use model::change::Change;

/// Longest event, in bytes: a target with its report fits many times.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One thing that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something became different, and is kept.
    Changed {
        /// The number of it, to go on from.
        id: u64,
        /// What.
        change: Box<Change>,
    },
    /// What happened before is not told, or no longer: read what you show again. Always the first event of a stream that
    /// does not go on from another.
    Reset {
        /// The number to go on from.
        id: u64,
    },
}

impl Event {
    /// The number to go on from.
    pub fn id(&self) -> u64 {
        match self {
            Event::Changed { id, .. } | Event::Reset { id } => *id,
        }
    }
}

/// Puts events together from bytes as they come.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    id: Option<u64>,
    name: String,
    data: String,
    ready: std::collections::VecDeque<Event>,
}

impl Parser {
    /// Takes some bytes.
    ///
    /// # Errors
    /// They are no events of a coordinator, or one is longer than [`EVENT_BYTES_MAX`].
    pub fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line()?,
                b'\r' => {}
                other => self.line.push(*other),
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(Error::Corrupt(format!("an event is longer than {EVENT_BYTES_MAX} bytes")));
            }
        }
        Ok(())
    }

    /// The next event that is whole.
    pub fn take(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.end_event();
        }
        let line = String::from_utf8(line).map_err(|_| Error::Corrupt("an event is not UTF-8".to_owned()))?;
        let (field, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.parse().map_err(|_| Error::Corrupt(format!("{value:?} numbers no event")))?),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // A comment, which keeps the connection alive, or a field that matters to browsers only.
            _ => {}
        }
        Ok(())
    }

    fn end_event(&mut self) -> Result<()> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        let Some(id) = self.id.take() else { return Ok(()) };
        if name == EVENT_RESET {
            self.ready.push_back(Event::Reset { id });
            return Ok(());
        }
        let change =
            serde_json::from_str(&data).map_err(|cause| Error::Corrupt(format!("event {id} {name}: {cause}")))?;
        self.ready.push_back(Event::Changed { id, change: Box::new(change) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let text = ": hello\n\nid: 7\nevent: reset\ndata: {}\n\nid: 8\nevent: lease_ended\r\ndata: {\"lease_ended\":\ndata: \"mw1\"}\n\n";
        for size in [1, 2, 5, text.len()] {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for part in text.as_bytes().chunks(size) {
                parser.feed(part).expect("events");
                seen.extend(std::iter::from_fn(|| parser.take()));
            }
            let change = Box::new(Change::LeaseEnded("mw1".parse().expect("a holder")));
            assert_eq!(seen, [Event::Reset { id: 7 }, Event::Changed { id: 8, change }], "in parts of {size}");
            assert_eq!(seen.iter().map(Event::id).collect::<Vec<_>>(), [7, 8]);
        }
    }

    #[test]
    fn nonsense_is_an_error_and_never_grows() {
        let feed = |bytes: &[u8]| Parser::default().feed(bytes);
        assert!(matches!(feed(b"id: seven\n"), Err(Error::Corrupt(_))));
        assert!(matches!(feed(b"id: 7\ndata: {}\n\n"), Err(Error::Corrupt(_))));
        assert!(matches!(feed(b"data: \xff\n"), Err(Error::Corrupt(_))));
        assert!(matches!(feed(&vec![b'a'; EVENT_BYTES_MAX + 1]), Err(Error::Corrupt(_))));
    }
}
