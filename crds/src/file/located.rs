//! A resource that knows the lines it was read from.

use std::ops::Deref;

use super::{error::FileError, tree::Node};

/// A resource with the file, the document and the lines it was read from.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The resource.
    pub resource: T,
    /// The file as it was named.
    pub file: String,
    /// Which of the file's documents it is, from 0; empty ones do not count.
    pub document: usize,
    tree: Node,
}

impl<T> Located<T> {
    pub(super) fn new(resource: T, file: &str, document: usize, tree: Node) -> Self {
        Self { resource, file: file.to_owned(), document, tree }
    }

    /// Line and column, from 1, of a field such as `spec.stages[2].after[0]`; of the nearest field around it that exists
    /// where it is not written.
    pub fn position(&self, field: &str) -> (usize, usize) {
        let place = self.tree.place_of(field);
        (place.line, place.column)
    }

    /// An error at a field, for checks that go beyond schema and rules.
    pub fn error(&self, field: &str, message: impl Into<String>) -> FileError {
        let (line, column) = self.position(field);
        FileError { file: self.file.clone(), line, column, field: field.to_owned(), message: message.into() }
    }
}

impl<T: kube::Resource> Located<T> {
    /// `metadata.name`, which every resource of a file has.
    pub fn name(&self) -> &str {
        self.resource.meta().name.as_deref().unwrap_or_default()
    }
}

impl<T> Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}
