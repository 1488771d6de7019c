//! What can end a command early: one error, its exit code, and how it is told.
//!
//! Owns the mapping to exit codes and the one rendering with hints. Every command returns it; only `main` acts on it.

use super::exit;
use super::render::text::clean;
use crate::config::ConfigError;
use coordinator::Error;
use coordinator::refusal::kind;

/// What `doctor` does: whoever reads that it failed need not be told to begin it.
pub(crate) const DOCTOR: &str = "look at it";

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{what}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What would be right.
        hint: String,
    },
    /// The configuration is wrong; its own text is complete.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The coordinator did not answer as it should.
    #[error("cannot {doing}: {}", placed(url, source))]
    Coordinator {
        /// What was asked.
        doing: String,
        /// Whom.
        url: String,
        /// What came.
        source: Error,
    },
    /// The answer was no.
    #[error("{why}")]
    Refused {
        /// Why.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The worker's work cannot start, or ended early.
    #[error("{what}")]
    Work {
        /// Why.
        what: String,
        /// What to do.
        hint: String,
        /// The code to end with.
        code: u8,
    },
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    System {
        /// What.
        doing: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Failure {
    /// A wrong command line.
    pub(crate) fn usage(what: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Usage { what: what.into(), hint: hint.into() }
    }

    /// Something that the system refused.
    pub(crate) fn system(doing: impl Into<String>, source: std::io::Error) -> Failure {
        Failure::System { doing: doing.into(), source }
    }

    /// The same, told as a part of what a person wanted: nobody asked to read what a command looks up first.
    pub(crate) fn while_doing(self, wanted: &str) -> Failure {
        match self {
            Failure::Coordinator { url, source, .. } => Failure::Coordinator { doing: wanted.to_owned(), url, source },
            other => other,
        }
    }

    /// The code to end with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage { .. } => exit::USAGE,
            Failure::Configuration(_) => exit::CONFIGURATION,
            Failure::Coordinator { source: Error::Refused { .. }, .. } | Failure::Refused { .. } => exit::FAILED,
            Failure::Coordinator { .. } => exit::NO_LEASE,
            Failure::Work { code, .. } => *code,
            Failure::System { .. } => exit::FAILED,
        }
    }

    /// What to do about it; empty when there is nothing to say.
    fn hint(&self) -> String {
        match self {
            Failure::Usage { hint, .. } | Failure::Refused { hint, .. } | Failure::Work { hint, .. } => hint.clone(),
            Failure::Coordinator { source: Error::NotApplied { retry, .. }, url, doing } if is_store(url) => {
                match retry {
                    true if doing == DOCTOR => "is it running there?".to_owned(),
                    true => format!(
                        "is it running there? What else may be wrong with it: stagger doctor --coordinator {url}"
                    ),
                    false => String::new(),
                }
            }
            Failure::Coordinator { source: Error::NotApplied { why, .. }, .. } if why.contains("certificate") => {
                "who vouches for whom is said in the configuration: tls = { ca = …, cert = …, key = … }".to_owned()
            }
            Failure::Coordinator { source: Error::NotApplied { why, .. }, .. } if why.contains("token in") => {
                String::new()
            }
            Failure::Coordinator { source: Error::NotApplied { .. }, .. } => {
                "is the lock server running there? Another one: --coordinator URL, or STAGGER_COORDINATOR".to_owned()
            }
            Failure::Coordinator { source: Error::Unable { kind, .. }, .. } => unable(kind).to_owned(),
            Failure::Coordinator { source: Error::Unknown { .. }, .. } => {
                "look before you repeat it: stagger history".to_owned()
            }
            Failure::Coordinator { source: Error::Corrupt(_), .. } => {
                "is that a lock server, and of this version?".to_owned()
            }
            Failure::Coordinator { source: Error::Refused { kind, .. }, .. } => refused(kind).to_owned(),
            Failure::Configuration(_) | Failure::System { .. } => String::new(),
        }
    }

    /// What a person reads: the error, and a hint.
    pub(crate) fn render(&self) -> String {
        if let Failure::Configuration(error) = self {
            return error.to_string();
        }
        let error = format!("error: {}", clean(&self.to_string()));
        match self.hint() {
            hint if hint.is_empty() => error,
            hint => format!("{error}\nhint: {}", clean(&hint)),
        }
    }
}

/// What came, and from where, unless it says so itself.
fn placed(url: &str, source: &Error) -> String {
    let came = source.to_string();
    if came.contains(url) { came } else { format!("{url}: {came}") }
}

/// Whether a coordinator is a store.
fn is_store(url: &str) -> bool {
    !url.starts_with("http://") && !url.starts_with("https://")
}

/// What to do when the lock server does not let somebody do something.
fn refused(kind: &str) -> &'static str {
    match kind {
        kind::UNAUTHORIZED => {
            "say where a token that counts is: --token-file FILE, STAGGER_TOKEN_FILE, or token = \"FILE\" in the configuration; whoever \
             keeps the lock server makes one, also in the place of one that is over: stagger lockserver token add"
        }
        kind::FORBIDDEN => {
            "use a token that may: --token-file FILE; who may what: stagger lockserver token list, on the lock server"
        }
        _ => "",
    }
}

/// What to do when the lock server answers, and can do nothing.
fn unable(kind: &str) -> &'static str {
    match kind {
        kind::STORE => "it runs, and cannot write: look at its disk and its log; nothing was changed",
        kind::LIMITED => "nothing was changed: ask less often; the lock server's file says how often one may: limits",
        kind::STOPPING => "it is being stopped: try again when it is back",
        _ => "nothing was changed: try again in a moment",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coordinator(source: Error) -> Failure {
        Failure::Coordinator { doing: "read the leases".to_owned(), url: "http://a:1".to_owned(), source }
    }

    #[test]
    fn each_failure_has_its_code_and_says_what_to_do() {
        let why = || "connection refused".to_owned();
        let unreachable = coordinator(Error::NotApplied { retry: true, why: why() });
        assert_eq!(unreachable.exit_code(), 2);
        let expected = "error: cannot read the leases: http://a:1: connection refused\n\
                        hint: is the lock server running there? Another one: --coordinator URL, or STAGGER_COORDINATOR";
        assert_eq!(unreachable.render(), expected);
        let of_store = |retry, why: &str| Failure::Coordinator {
            doing: "read the leases".to_owned(),
            url: "redis://a:1/web".to_owned(),
            source: Error::NotApplied { retry, why: why.to_owned() },
        };
        let expected = "error: cannot read the leases: redis://a:1/web cannot be reached\n\
                        hint: is it running there? What else may be wrong with it: stagger doctor --coordinator redis://a:1/web";
        assert_eq!(of_store(true, "redis://a:1/web cannot be reached").render(), expected);
        let expected = "error: cannot read the leases: redis://a:1/web: no such user";
        assert_eq!(of_store(false, "no such user").render(), expected);
        let full = coordinator(Error::Unable { kind: "store".to_owned(), value: "no space left".to_owned() });
        assert_eq!(full.exit_code(), 2);
        let expected = "error: cannot read the leases: http://a:1: no space left (store)\n\
                        hint: it runs, and cannot write: look at its disk and its log; nothing was changed";
        assert_eq!(full.render(), expected);
        assert_eq!(coordinator(Error::Unknown { why: why() }).exit_code(), 2);
        assert!(coordinator(Error::Unknown { why: why() }).render().ends_with("stagger history"));
        assert_eq!(coordinator(Error::Corrupt(why())).exit_code(), 2);
        let wrong =
            coordinator(Error::Refused { kind: "not_found".to_owned(), value: "no\nsuch".to_owned(), status: 404 });
        assert_eq!(wrong.exit_code(), 1);
        assert_eq!(wrong.render(), "error: cannot read the leases: http://a:1: no such (not_found, 404)");
        let usage = Failure::usage("that is no scope", "write pool/NAME");
        assert_eq!(
            (usage.exit_code(), usage.render()),
            (64, "error: that is no scope\nhint: write pool/NAME".to_owned())
        );
        let refused = Failure::Refused { why: "no".to_owned(), hint: String::new() };
        assert_eq!((refused.exit_code(), refused.render()), (1, "error: no".to_owned()));
    }
}
