//! The part of a terminal that is drawn again and again, below what stays.
//!
//! Owns the moving of the cursor. Only on a terminal; what is not one gets lines instead, from its caller.

use super::out::{height, painted, width};
use super::render::text::{fit, rows};
use std::io::{self, Write as _};

/// Lines at the end of a terminal that are replaced by the next ones.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// How many rows of the terminal were drawn last.
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
        let (columns, height) = (width(&io::stderr()), height(&io::stderr()));
        let mut error = io::stderr().lock();
        // Moving the cursor is no colour: it must reach the terminal when colours are switched off, too.
        if self.drawn > 0 {
            write!(error, "\u{1b}[{}A\r\u{1b}[J", self.drawn)?;
        }
        error.flush()?;
        drop(error);
        let mut text = anstream::stderr().lock();
        for line in staying.iter().flat_map(|line| lines_of(line, columns)) {
            writeln!(text, "{}", painted(&line))?;
        }
        self.drawn = 0;
        for line in live.iter().flat_map(|line| lines_of(line, columns)) {
            let taken = self.drawn + columns.map_or(1, |columns| rows(&line, columns).max(1));
            // What has left the top of the terminal could not be taken away again; the cursor needs a row, too.
            if height.is_some_and(|height| taken >= height) {
                break;
            }
            writeln!(text, "{}", painted(&line))?;
            self.drawn = taken;
        }
        text.flush()
    }
}

fn lines_of(line: &str, columns: Option<usize>) -> Vec<String> {
    fit(line, columns).lines().map(str::to_owned).collect()
}
