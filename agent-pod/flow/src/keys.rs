//! Names under which different programs find the same things: records of documents, and what processes say of themselves.

/// Begins the keys of all records of documents: `documents/PIPELINE/DOCUMENT`.
pub const DOCUMENTS: &str = "documents/";
/// Begins the keys of all feedback: `feedback/PIPELINE/…`.
pub const FEEDBACK: &str = "feedback/";
/// What lies apart for each pipeline, so that access can be limited to it and its end removes all of it.
pub const OF_ONE_PIPELINE: [&str; 2] = [DOCUMENTS, FEEDBACK];
/// Begins the keys of gateways' statuses; those of workers begin with the name of their pool, which never has a `_`.
pub const GATEWAYS: &str = "_gateways/";
