//! The demonstration's corpus: real documents that lie on every machine which has built Docket.
//!
//! Crates carry their licence texts. Which licence a text is follows from its file name or from the crate's manifest, so
//! that a classifier can be trained and measured without labels made by hand. This crate knows the files and the two
//! formats it writes (documents and feedback as JSON lines); it must not know how Docket works.

pub mod check;
pub mod collect;
pub mod corpus;
pub mod normalise;
pub mod review;
pub mod similarity;
pub mod split;
pub mod truth;
