//! Asking, judging, and the steps that are only questions, against real servers and real commands.

mod asking;
mod running;
mod steps;
