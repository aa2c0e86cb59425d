//! How the broker is reached and what is asked of it.

use std::{path::PathBuf, time::Duration};

use super::{failure::Failure, names};
use crate::{DEDUPLICATION_WINDOW, LEASE, STATUS_TTL, redelivery::REDELIVERY};

/// Shorter times than this say more about the network than about a worker.
const SHORTEST: Duration = Duration::from_millis(100);

/// How the broker is reached and what is asked of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// URLs of servers, separated by commas: `nats://host:4222` or `tls://…`.
    pub servers: String,
    /// Name of the connection, for those who look at the broker: the pod's.
    pub name: String,
    /// Begins the name of every stream and every subject; at most 64 letters, digits, `-` and `_`. All processes that work
    /// together share it.
    pub bucket_prefix: String,
    /// Bucket of the records, and beginning of the names of their other buckets. Same alphabet.
    pub records: String,
    /// Prefixes of keys, each with a `/` at its end, behind which a name follows that has a bucket of its own: with
    /// `documents/`, the key `documents/contracts/a.pdf` lies in the bucket of `contracts`. The same for all processes that
    /// work together.
    pub scoped: Vec<&'static str>,
    /// Copies of every stream: 1, 3 or 5. A stream that has fewer is an error, never used silently.
    pub replicas: usize,
    /// How long a task stays with a worker, unless extended. Shared by all processes of a pool.
    pub lease: Duration,
    /// How long an acknowledged id is remembered.
    pub deduplication_window: Duration,
    /// Tasks under a lease at once, a pool and priority.
    pub max_in_work: u32,
    /// How long an alarm that was delivered is given to be done, before it is delivered again.
    pub redelivery: Duration,
    /// How long a status counts that is not said again.
    pub status_ttl: Duration,
    /// Where payloads lie: `nats:` (a stream of the broker), `file:///folder` (shared by all processes), `s3://bucket/prefix`
    /// (credentials and endpoint from the usual `AWS_…` variables), or `memory:` (one process, tests).
    pub payloads: String,
    /// Who we are, where the broker asks for it.
    pub credentials: Option<Credentials>,
    /// Begins the subjects of answers to us. Whoever may listen only there is given it with its credentials; otherwise the
    /// client's own.
    pub inbox: Option<String>,
    /// Whether streams, buckets and consumers that are missing are made. Otherwise somebody else makes them, for whom they are
    /// waited for as long as for an answer.
    pub makes_streams: bool,
    /// Who vouches for servers of `tls://`; otherwise the system's authorities do.
    pub ca: Option<Authorities>,
    /// Longest wait for one answer of the broker.
    pub timeout: Duration,
    /// Longest wait for what a broker has now. It usually answers within a millisecond; its silence says that nothing is there, as
    /// where two pulls want the same last message, or that as much is in work as may be.
    pub silence: Duration,
    /// How long opening is tried again while no server can be reached, or one that starts does not answer yet; zero: once. A
    /// pod may run before the network lets it through. What a server refuses is not tried again.
    pub patience: Duration,
}

/// Certificates (PEM) of those who vouch for servers.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// A file.
    File(PathBuf),
    /// The text of such a file.
    Text(String),
}

/// How a process names itself to the broker.
#[derive(Clone)]
pub enum Credentials {
    /// A `.creds` file (JWT and seed).
    File(PathBuf),
    /// The text of such a file.
    Creds(String),
    /// A shared token.
    Token(String),
    /// A user of the server's own configuration.
    User {
        /// Name.
        name: String,
        /// Password.
        password: String,
    },
}

impl Settings {
    /// One copy, 30 s leases, payloads in the broker: what a test or a small cluster uses.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            name: "docket".to_owned(),
            bucket_prefix: "docket".to_owned(),
            records: "records".to_owned(),
            scoped: Vec::new(),
            replicas: 1,
            lease: LEASE,
            deduplication_window: DEDUPLICATION_WINDOW,
            max_in_work: 10_000,
            redelivery: REDELIVERY,
            status_ttl: STATUS_TTL,
            payloads: "nats:".to_owned(),
            credentials: None,
            inbox: None,
            makes_streams: true,
            ca: None,
            timeout: Duration::from_secs(10),
            silence: Duration::from_millis(500),
            patience: Duration::ZERO,
        }
    }

    /// Fails where a value makes no sense.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = |setting, problem: &str| Err(Failure::Setting { setting, problem: problem.to_owned() });
        if !names::is_plain(&self.bucket_prefix) {
            return wrong("bucket_prefix", "is not 1 to 64 letters, digits, \"-\" and \"_\"");
        }
        if !(1..=5).contains(&self.replicas) {
            return wrong("replicas", "is not 1 to 5");
        }
        if self.inbox.as_deref().is_some_and(|inbox| !names::is_subject(inbox)) {
            return wrong(
                "inbox",
                "is no subject: write words of letters, digits, \"-\", \"_\" and \"=\" with dots between them",
            );
        }
        let times = [
            ("lease", self.lease),
            ("deduplication_window", self.deduplication_window),
            ("redelivery", self.redelivery),
            ("status_ttl", self.status_ttl),
            ("timeout", self.timeout),
            ("silence", self.silence),
        ];
        match times.iter().find(|(_, time)| *time < SHORTEST) {
            Some((setting, _)) => wrong(setting, "is shorter than 100 ms"),
            None if self.max_in_work == 0 => wrong("max_in_work", "is 0"),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Credentials {
    // Secrets stay out of logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Creds(_) => formatter.write_str("Creds"),
            Self::Token(_) => formatter.write_str("Token"),
            Self::User { name, .. } => formatter.debug_struct("User").field("name", name).finish_non_exhaustive(),
        }
    }
}
