//! Every decision of Stagger, and nothing else: no I/O, no clock, no unordered map, no logging.
//!
//! Reading order: [`names`], [`time`], [`mod@bound`], [`settings`], [`defaults`]; the records [`lease`], [`member`], [`rollout`], [`history`], [`passage`];
//! what is asked and answered, [`request`]; the state and what changes it, [`state`] and [`change`]; the one function
//! that decides, [`mod@apply`]; what can be looked at, [`read`] and [`why`]; what must always hold,
//! [`invariants`]. The worker's side: [`sequence`] and [`host`].

pub mod bound;
pub mod names;
pub mod time;

pub mod settings;

pub mod defaults;

pub mod history;
pub mod lease;
pub mod member;
pub mod rollout;

pub mod passage;
pub mod request;

pub mod change;
pub mod state;

pub mod apply;
pub(crate) mod view;

pub mod read;
pub mod why;

pub mod invariants;

pub mod host;
pub mod sequence;

pub use apply::apply;
pub use request::{Reply, Request};
pub use state::State;
pub use time::{Now, Time, Wall};
