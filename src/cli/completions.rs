//! `stagger completions`: what a shell needs to complete the command line.

use super::context::Context;
use super::failure::Failure;
use super::{command, exit, out};
use clap_complete::Shell;

/// Print the completions for a shell
///
/// Example: stagger completions bash > /etc/bash_completion.d/stagger
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints them.
pub(crate) fn run(args: &CompletionsArgs, _: &Context) -> Result<u8, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "stagger", &mut text);
    out::raw(&text)?;
    Ok(exit::OK)
}
