//! Predicates: CEL expressions over what a probe observed, compiled when the configuration is read.
//!
//! Owns the text and the compiled program. What holds is decided in the module `probe`, which has the answers.

use super::vocabulary;
use cel::Program;
use std::fmt;
use std::sync::Arc;

/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;
/// Deepest nesting of brackets. The parser needs some 150 KiB of stack for each in a debug build, and has no bound that holds.
pub const NESTING_MAX: usize = 8;

/// A compiled expression that says yes or no of an observation.
#[derive(Clone)]
pub struct Predicate {
    text: Arc<str>,
    program: Arc<Program>,
}

/// Why an expression cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// In one line.
    pub message: String,
    /// The byte of the expression where it went wrong, when that is known.
    pub at: Option<usize>,
}

impl Predicate {
    /// Compiles an expression that may speak of `variables` and of the functions of this build, and of nothing else.
    ///
    /// # Errors
    /// It is no CEL, or speaks of a variable that its probe never has, or of a function that nobody has.
    pub fn compile(text: &str, variables: &[&str]) -> Result<Self, ExpressionError> {
        let plain = |message: String| ExpressionError { message, at: None };
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(plain(format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes")));
        }
        if nesting(text) > NESTING_MAX {
            return Err(plain(format!("an expression has at most {NESTING_MAX} brackets inside each other")));
        }
        let program = Program::compile(text).map_err(|errors| match errors.errors.first() {
            Some(error) => {
                let at = offset(text, error.pos);
                let message = at.and_then(|at| slip(text, at)).map_or_else(|| one_line(&error.msg), str::to_owned);
                ExpressionError { message, at }
            }
            None => plain("not an expression".to_owned()),
        })?;
        vocabulary::check(&program, text, variables)?;
        Ok(Self { text: text.into(), program: Arc::new(program) })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The compiled expression.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Whether it speaks of this variable.
    pub fn names(&self, variable: &str) -> bool {
        self.program.references().has_variable(variable)
    }
}

/// What was meant by what the parser stumbled over, where that is a common slip.
fn slip(text: &str, at: usize) -> Option<&'static str> {
    let rest = text.get(at..)?;
    let word = rest.split(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default();
    match word {
        "" if rest.starts_with('=') => Some("`=` compares nothing, did you mean `==`?"),
        "" if rest.starts_with('&') => Some("`&` joins nothing, did you mean `&&`?"),
        "" if rest.starts_with('|') => Some("`|` joins nothing, did you mean `||`?"),
        "and" => Some("`and` is written `&&`"),
        "or" => Some("`or` is written `||`"),
        "not" => Some("`not` is written `!`"),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How many brackets stand inside each other at most. A rough count, for quoted ones are counted too: it guards against
/// mistakes, and whoever writes the file is trusted.
fn nesting(text: &str) -> usize {
    let mut depth: usize = 0;
    let mut deepest = 0;
    for letter in text.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The byte that a parser's line and column, both from 1, stand for.
fn offset(text: &str, (line, column): (isize, isize)) -> Option<usize> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within: usize = text.get(before..)?.chars().take(column).map(char::len_utf8).sum();
    Some(before + within)
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Predicate {}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predicate({:?})", self.text)
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_compiled_once_and_knows_its_variables() {
        let predicate = Predicate::compile("status == 200 && answer.free > 3", &["status", "answer"]).expect("CEL");
        assert_eq!(predicate.text(), "status == 200 && answer.free > 3");
        assert!(predicate.names("status") && !predicate.names("body"));
    }

    #[test]
    fn what_is_no_expression_is_refused_with_its_place() {
        let error = Predicate::compile("status = 200", &["status"]).expect_err("an assignment");
        assert_eq!((error.to_string().as_str(), error.at), ("`=` compares nothing, did you mean `==`?", Some(7)));
        for (text, message, at) in [
            ("status == 200 & status > 1", "`&` joins nothing, did you mean `&&`?", 14),
            ("status == 200 | status > 1", "`|` joins nothing, did you mean `||`?", 14),
            ("status == 200 and status > 1", "`and` is written `&&`", 14),
            ("status == 200 or status > 1", "`or` is written `||`", 14),
        ] {
            let error = Predicate::compile(text, &["status"]).expect_err(text);
            assert_eq!((error.to_string().as_str(), error.at), (message, Some(at)), "{text}");
        }
        let error = Predicate::compile("status == 200)", &["status"]).expect_err("a bracket");
        assert!(!error.to_string().contains("did you mean"), "{error}");
        assert!(Predicate::compile("", &[]).is_err());
        assert!(Predicate::compile(&"1+".repeat(4000), &[]).is_err());
    }

    #[test]
    fn no_expression_is_too_deep_for_the_stack() {
        let longest = |part: &str| part.repeat(EXPRESSION_BYTES_MAX / part.len());
        for deep in ["(", "[", "{a:", "[a][", "f("] {
            assert!(Predicate::compile(&longest(deep), &["a"]).is_err(), "{deep}");
        }
        // Whether these are accepted is the parser's business; that it returns is ours.
        for long in ["!", "-", "a.", "a?a:", "a+", "a&&", "[a](", "'"] {
            let _returned = Predicate::compile(&longest(long), &["a"]);
        }
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(Predicate::compile(&nested(NESTING_MAX), &["a"]).is_ok());
        let error = Predicate::compile(&nested(NESTING_MAX + 1), &["a"]).expect_err("too deep");
        assert_eq!(error.message, "an expression has at most 8 brackets inside each other");
        assert!(Predicate::compile(&format!("{}a > 0", "(a)+".repeat(100)), &["a"]).is_ok());
    }
}
