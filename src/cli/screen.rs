//! The part of a terminal that is drawn again and again, below what stays.
//!
//! Owns the moving of the cursor. Only on a terminal; what is not one gets lines instead, from its caller.

use super::out::{painted, width};
use super::render::text::fit;
use std::io::{self, Write as _};

/// Lines at the end of a terminal that are replaced by the next ones.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// How many lines were drawn last.
    drawn: usize,
}

impl Screen {
    /// A screen, when standard error is a terminal that can move its cursor.
    pub(crate) fn open() -> Option<Screen> {
        let can_move = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        (can_move && super::out::is_watched()).then(Screen::default)
    }

    /// Takes away what was drawn last, prints lines that stay, and draws the next ones. A terminal that cannot be written is
    /// gone, and nobody to be told.
    pub(crate) fn draw(&mut self, staying: &[String], live: &[String]) {
        let _gone = self.try_draw(staying, live);
    }

    fn try_draw(&mut self, staying: &[String], live: &[String]) -> io::Result<()> {
        let columns = width(&io::stderr());
        let mut error = io::stderr().lock();
        // Moving the cursor is no colour: it must reach the terminal when colours are switched off, too.
        if self.drawn > 0 {
            write!(error, "\u{1b}[{}A\r\u{1b}[J", self.drawn)?;
        }
        error.flush()?;
        drop(error);
        let mut text = anstream::stderr().lock();
        for line in staying.iter().chain(live) {
            writeln!(text, "{}", painted(&fit(line, columns)))?;
        }
        self.drawn = live.len();
        text.flush()
    }
}
