//! The program: parses nothing itself, and is the only place that exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(stagger::cli::main())
}
