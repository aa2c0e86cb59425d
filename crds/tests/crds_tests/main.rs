//! The tests of the definitions, as one program: it is linked once, and its tests run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod answers;
mod charts;
mod file;
mod file_text;
mod schema;
mod span;
mod support;
