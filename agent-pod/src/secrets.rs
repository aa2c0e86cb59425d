//! Secrets that a resource names: a variable or a file of the process.
//!
//! Whoever writes a pool or a pipeline also writes where its secret is sent. So it must not be one of the process's own, which
//! the operator gave it for the broker, the store of payloads, the gateway's callers, metrics or the API server.

use std::{fs, io, path::Path};

/// How the variables of the store of payloads begin, and the process's own, of which one may hold the password of a cache.
const OWN_VARIABLES: [&str; 2] = ["AWS_", "DOCKET_"];
/// Where the process's own secrets lie, and what shows its environment.
const OWN_FOLDERS: [&str; 6] = [
    "/etc/docket",
    "/etc/docket-metrics",
    "/etc/docket-nats",
    "/etc/docket-tokens",
    "/var/run/secrets/kubernetes.io",
    "/proc",
];

/// The value of a variable that a resource names; `variable` reads the environment.
///
/// # Errors
/// In words: it is not set, or it is the process's own.
pub fn variable(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if OWN_VARIABLES.iter().any(|own| name.starts_with(own)) {
        return Err(format!("the variable {name} is the process's own, and is sent to nobody; name another"));
    }
    variable(name).ok_or_else(|| format!("the variable {name} is not set"))
}

/// What a file holds that a resource names. Links are followed before it is decided whose it is.
///
/// # Errors
/// It cannot be read, or it is the process's own.
pub fn file(path: &Path) -> io::Result<Vec<u8>> {
    let real = fs::canonicalize(path)?;
    let own = |folder: &&str| fs::canonicalize(folder).is_ok_and(|folder| real.starts_with(folder));
    if OWN_FOLDERS.iter().any(own) {
        let problem = "it is one of the process's own files, and is sent to nobody; name another";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, problem));
    }
    fs::read(real)
}
