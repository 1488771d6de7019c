//! What is said when the configuration cannot be read: the place, the line, and what would be right.
//!
//! Owns the rendering, without colour. Never decides what is wrong.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why there is no configuration. Displayed, it is complete: each wrong place with its line, a mark and a remedy.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("error: cannot read the configuration {}: {source}\nhint: another file: -c FILE", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("error: the configuration {} has more than {} bytes", path.display(), super::FILE_BYTES_MAX)]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{}", rendered.join("\n\n"))]
    Invalid {
        /// Each wrong thing, rendered over several lines.
        rendered: Vec<String>,
    },
}

impl ConfigError {
    /// Renders what is wrong in `text`, in the order of its lines.
    pub(super) fn invalid(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at.start);
        let path = path.display().to_string();
        Self::Invalid { rendered: problems.iter().map(|problem| problem.render(&path, text)).collect() }
    }
}

/// One wrong thing, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The bytes of the text that are wrong.
    pub(super) at: Range<usize>,
    /// What is wrong.
    message: String,
    /// Beside the mark: why.
    label: String,
    /// What would be right.
    help: Option<String>,
}

impl Problem {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), label: String::new(), help: None }
    }

    #[must_use]
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    #[must_use]
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn render(&self, path: &str, text: &str) -> String {
        // A place outside the text would panic in the renderer; nothing should make one, and an error must still be readable.
        let end = self.at.end.min(text.len());
        let start = self.at.start.min(end);
        let span = if text.is_char_boundary(start) && text.is_char_boundary(end) { start..end } else { 0..0 };
        let mut mark = AnnotationKind::Primary.span(span);
        if !self.label.is_empty() {
            mark = mark.label(self.label.as_str());
        }
        let place = Level::ERROR
            .primary_title(self.message.as_str())
            .element(Snippet::source(text).path(path).annotation(mark));
        let report: Vec<Group<'_>> = match &self.help {
            Some(help) => vec![place, Group::with_title(Level::HELP.secondary_title(help.as_str()))],
            None => vec![place],
        };
        Renderer::plain().render(&report)
    }
}
