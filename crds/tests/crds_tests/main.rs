//! The tests of the definitions, as one program: it is linked once, and its tests run side by side.

mod answers;
mod charts;
mod file;
mod file_text;
mod schema;
mod span;
mod support;
