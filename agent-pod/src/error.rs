//! What a command could not do, and the exit code that says so.

use std::{error::Error as StdError, fmt};

use crate::commands::note;

/// Why a command failed.
#[derive(Debug)]
pub enum Error {
    /// The user can fix it: a wrong file, flag or input. Exit code 2. One line a problem.
    Usage(Vec<String>),
    /// The system failed: disk, model, store. Exit code 3.
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// One usage problem.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(vec![message.into()])
    }

    /// For `map_err`: a system error while doing `action` ("open the state folder").
    pub fn system<E: Into<Box<dyn StdError + Send + Sync>>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::System { .. } => 3,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(problems) => f.write_str(&problems.join("\n")),
            Self::System { action, .. } => write!(f, "failed to {action}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Usage(_) => None,
            Self::System { source, .. } => Some(source.as_ref()),
        }
    }
}

/// An error and its causes in one line, each once.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Prints an error for a person on standard error.
pub fn print(error: &Error) {
    match error {
        Error::Usage(problems) => problems.iter().for_each(|problem| note(&format!("error: {problem}"))),
        Error::System { .. } => note(&format!("error: {}", chain(error))),
    }
}
