//! What is wrong in a file, and where.

use std::{fmt, string::FromUtf8Error};

use super::place::Place;

/// One thing that is wrong in a file of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1; 0 where the error is of the whole file.
    pub line: usize,
    /// The column in characters, from 1; 0 where the error is of the whole file.
    pub column: usize,
    /// The field, for example `spec.stages[2].after[0]`; empty where the error is of no field.
    pub field: String,
    /// What is wrong, and where it is known what was meant.
    pub message: String,
}

impl FileError {
    /// An error that has no line.
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, field: String::new(), message: message.into() }
    }

    pub(super) fn not_utf8(file: &str, error: &FromUtf8Error) -> Self {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        let last = valid.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let column = 1 + String::from_utf8_lossy(last).chars().count();
        Self { line, column, ..Self::of_file(file, "is not UTF-8 text") }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for FileError {}

/// An error before the file's name is put to it.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) place: Place,
    pub(super) field: String,
    pub(super) message: String,
    /// Whether a rule about the fields around this one would only say the same again.
    pub(super) hides_rules: bool,
}

impl Finding {
    pub(super) fn in_file(self, file: &str) -> FileError {
        let Place { line, column } = self.place;
        FileError { file: file.to_owned(), line, column, field: self.field, message: self.message }
    }
}
