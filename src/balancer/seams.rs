//! Seams for the fuzz targets, and for the test that repeats what they found: what is made of balancers' answers, as texts.
//!
//! No part of the interface, and called by no command. Decides nothing: all of it is what the balancers themselves use.

use super::{conftool, haproxy};

/// How many servers an answer to HAProxy's `show servers state` tells of.
///
/// # Errors
/// It is of another form.
pub fn servers(text: &str) -> Result<usize, String> {
    haproxy::servers(text)
}

/// How many servers an answer to HAProxy's `show stat` tells of.
///
/// # Errors
/// It is of another form.
pub fn stats(text: &str) -> Result<usize, String> {
    haproxy::stats(text)
}

/// What a PyBal says of a host, in PyBal's own form.
///
/// # Errors
/// It is of another form.
pub fn pybal(text: &str) -> Result<String, String> {
    conftool::pybal_says(text)
}

/// The word that an entry in conftool's etcd says.
///
/// # Errors
/// It is no entry.
pub fn entry(text: &str) -> Result<String, String> {
    conftool::word(text)
}

/// The same entry, saying that the host takes part or not, and otherwise byte for byte what it was.
///
/// # Errors
/// It is no entry.
pub fn entry_with(text: &str, takes_part: bool) -> Result<String, String> {
    conftool::with_word(text, takes_part)
}
