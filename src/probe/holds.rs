//! Whether a predicate holds over an observation: yes, no, or an error; never a guess.
//!
//! A predicate that does not itself look at the status (of HTTP) or the exit code (of a command) speaks of good answers
//! only: over any other answer it is an error, so that a broken balancer or check is never read as a no.

use crate::config::Predicate;
use crate::probe::exec::OUTPUT_BYTES_MAX;
use crate::probe::observation::{Observation, excerpt};
use cel::Value;

/// Nobody can tell whether a predicate holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredicateError {
    /// The answer says that there is none.
    #[error("no usable answer: {said}")]
    NoAnswer {
        /// What it said.
        said: String,
    },
    /// The expression looks at what a command printed, and that was too much to be kept.
    #[error("the command printed more than {OUTPUT_BYTES_MAX} bytes: `{variable}` is not all of it")]
    Cut {
        /// At which variable it looks.
        variable: &'static str,
    },
    /// The expression cannot be evaluated over what was answered.
    #[error("cannot evaluate `{expression}`: {cause}; answered was {held}")]
    Evaluate {
        /// The expression.
        expression: String,
        /// What went wrong in it.
        cause: String,
        /// What the answer held.
        held: String,
    },
    /// The expression says neither yes nor no.
    #[error("`{expression}` gives {found} and not true or false; answered was {held}")]
    NotBool {
        /// The expression.
        expression: String,
        /// What it gave.
        found: String,
        /// What the answer held.
        held: String,
    },
}

impl Predicate {
    /// Whether it holds over this observation.
    ///
    /// # Errors
    /// The observation is no good answer and the predicate does not look at that; it looks at what was cut; or the expression
    /// cannot be evaluated, or gives anything but true or false.
    pub fn holds(&self, observation: &Observation) -> Result<bool, PredicateError> {
        if let Some((variable, said)) = observation.failure()
            && !self.names(variable)
        {
            return Err(PredicateError::NoAnswer { said: excerpt(&said) });
        }
        if let Some(variable) = observation.cut().find(|variable| self.names(variable)) {
            return Err(PredicateError::Cut { variable });
        }
        let expression = || excerpt(self.text());
        match self.program().execute(&observation.context()) {
            Ok(Value::Bool(yes)) => Ok(yes),
            Ok(other) => Err(PredicateError::NotBool {
                expression: expression(),
                found: format!("{:?}", other.type_of()).to_lowercase(),
                held: observation.figures(),
            }),
            Err(error) => Err(PredicateError::Evaluate {
                expression: expression(),
                cause: excerpt(&error.to_string()),
                held: observation.figures(),
            }),
        }
    }
}
