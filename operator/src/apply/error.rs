//! Why something could not be written or read, and how long an answer is waited for.

use std::time::Duration;

use crate::names::{ALLOWED, ALLOWED_LABEL};

/// Longest wait for one answer of the API server.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What could not be written. Retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process leads now: it writes. Nobody has to do anything.
    #[error("this process does not lead any more")]
    NotLeading,
    /// Somebody else was quicker, who may have acted on newer knowledge: everything is to be read again. Nobody has to do anything.
    #[error("{object} was changed by somebody else meanwhile")]
    Overtaken {
        /// What was to be written.
        object: String,
    },
    /// The API server did not answer in time; its operator can fix it.
    #[error("the API server did not answer within {} s when asked to {action} {object}", DEADLINE.as_secs())]
    Deadline {
        /// What was tried.
        action: &'static str,
        /// With what.
        object: String,
    },
    /// An object is there that somebody else made. It stays as it is: whoever writes a pool chooses how its objects are called,
    /// and need not have a right to those of others. Their owner, or the pool's author, can fix it.
    #[error(
        "{object} is there and was not made by Docket: give the pool another name, or let Docket have it with \
         `kubectl label --namespace {namespace} {kind} {name} {ALLOWED_LABEL}={ALLOWED}`"
    )]
    NotOurs {
        /// What it is.
        object: String,
        /// Its kind, in small letters.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The API server refused. The message says whether the cluster's administrator or the object's author can fix it.
    #[error("failed to {action} {object}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// With what.
        object: String,
        /// Why not.
        #[source]
        source: Box<Refusal>,
    },
}

/// What the API server, or the way to it, said.
#[derive(Debug)]
pub struct Refusal(kube::Error);

impl Refusal {
    /// The code of the API server's answer, if it answered.
    pub fn code(&self) -> Option<u16> {
        match &self.0 {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        }
    }
}

impl Error {
    /// Whether the object's namespace is going: nothing can be made in it, and nothing has to be.
    pub fn is_of_a_leaving_namespace(&self) -> bool {
        let Self::Refused { source, .. } = self else { return false };
        let kube::Error::Api(status) = &source.0 else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }
}

impl std::fmt::Display for Refusal {
    // The answer's own words; kube adds the whole answer, and its reason twice.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            kube::Error::Api(status) => f.write_str(&status.message),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            kube::Error::Api(_) => None,
            error => error.source(),
        }
    }
}

/// An answer of the API server, within the deadline.
pub async fn within<T>(
    action: &'static str,
    object: String,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, asked).await {
        Err(_) => Err(Error::Deadline { action, object }),
        Ok(Err(source)) => Err(refused(action, object, source)),
        Ok(Ok(answer)) => Ok(answer),
    }
}

fn refused(action: &'static str, object: String, source: kube::Error) -> Error {
    Error::Refused { action, object, source: Box::new(Refusal(source)) }
}
