//! The name by which one process holds the Lease.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

/// Unique to this process and this moment: a container that restarts in the same pod is somebody else, or it would take the
/// Lease from a predecessor whose requests may still be on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// The pod's name, made unique.
    pub fn of_process(pod: &str) -> Self {
        // The standard library seeds its hashers from the system's randomness.
        let unique = RandomState::new().hash_one(std::process::id());
        Self(format!("{pod}_{unique:016x}"))
    }

    /// As it stands in the Lease.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
