//! Events as they come: read from a stream, or fetched part by part through a store.

use super::connections::chain;
use super::{Reply, Request, is_success, refused};
use crate::error::{Error, Result};
use crate::events::{Event, Parser};
use crate::mailbox::Mailbox;
use http::Method;
use reqwest::Response;
use std::sync::Arc;
use std::time::Duration;

/// How long a stream of events may be silent: a comment comes every 15 s.
pub const EVENT_WAIT: Duration = Duration::from_secs(40);
/// For how long one call for the next events is held.
const HOLD: Duration = Duration::from_secs(30);

/// Events as they come; see [`Remote::events`](super::Remote::events).
#[derive(Debug)]
pub struct Events {
    source: Source,
    parser: Parser,
}

#[derive(Debug)]
enum Source {
    /// One answer that goes on and on.
    Stream(Response),
    /// One call after the other.
    Calls {
        mailbox: Arc<Mailbox>,
        path: String,
        /// The number of the last event that was told.
        last: Option<u64>,
    },
}

impl Events {
    pub(super) fn streamed(response: Response) -> Events {
        Events { source: Source::Stream(response), parser: Parser::default() }
    }

    pub(super) fn posted(mailbox: Arc<Mailbox>, path: String, last: Option<u64>) -> Events {
        Events { source: Source::Calls { mailbox, path, last }, parser: Parser::default() }
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The stream ended or fell silent: go on with a new one from the last event's number.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.parser.take() {
                if let Source::Calls { last, .. } = &mut self.source {
                    *last = Some(event.id());
                }
                return Ok(event);
            }
            let part = self.source.part().await?;
            self.parser.feed(&part)?;
        }
    }
}

impl Source {
    /// The next part of the stream.
    async fn part(&mut self) -> Result<Vec<u8>> {
        match self {
            Source::Stream(response) => {
                let over = |why: &str| Error::Unknown { why: why.to_owned() };
                let part = tokio::time::timeout(EVENT_WAIT, response.chunk()).await;
                let part = part.map_err(|_| over("the events fell silent"))?;
                let part = part.map_err(|cause| over(&chain(&cause)))?.ok_or_else(|| over("the events ended"))?;
                Ok(part.to_vec())
            }
            Source::Calls { mailbox, path, last } => {
                let separator = if path.contains('?') { '&' } else { '?' };
                let after = last.map(|last| format!("&after={last}")).unwrap_or_default();
                let path = format!("{path}{separator}hold_ms={}{after}", HOLD.as_millis());
                let request = Request { method: Method::GET, path, json: None, hold: HOLD };
                let Reply { status, body } = mailbox.send(&request).await?;
                if !is_success(status) {
                    return Err(refused(status, &body));
                }
                Ok(body)
            }
        }
    }
}
