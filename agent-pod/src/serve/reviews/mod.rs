//! Tokens of ServiceAccounts: the API server says whose one is, and its word counts for a while.
//!
//! ```text
//! token ─▶ digest ─▶ kept word? ─▶ one review in flight for a token ─▶ API server ─▶ verdict: whose, for us, of our namespace
//! ```
//! Guarantees: a token is kept as its digest alone and never logged; no word counts longer than `keep` from the moment it was
//! asked for; where the API server does not answer nobody is let in, and nothing is kept. Knows no other kind of token.

mod server;
pub mod verdict;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, future::Cache};
use reqwest::Url;
use tokio::{sync::Semaphore, time::timeout};

use self::{server::ApiServer, verdict::Verdict};
use crate::{error::chain, runtime::metrics::Metrics};

/// Longest wait for a word: a client waits as long.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a refusal counts: a ServiceAccount that was just made, or a clock that was wrong, is not refused for long.
const REFUSAL: Duration = Duration::from_secs(5);
/// Words that are kept; each takes some hundred bytes.
const KEPT: u64 = 10_000;
/// Reviews at once: strangers with invented tokens cannot have us flood the API server.
const AT_ONCE: usize = 32;
/// Longest token that is reviewed; those of ServiceAccounts have about a thousand bytes.
pub const LONGEST: usize = 8 << 10;

/// Where tokens are reviewed, and whose are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewSettings {
    /// What a token must be made for.
    pub audience: String,
    /// Whose ServiceAccounts are let in.
    pub namespace: String,
    /// The API server.
    pub server: Url,
    /// Folder with our own `token` and with `ca.crt`, which vouches for the server.
    pub account: PathBuf,
    /// Longest time for which a word counts.
    pub keep: Duration,
}

/// The tokens that were reviewed of late.
pub(in crate::serve) struct Reviews {
    server: ApiServer,
    audience: String,
    namespace: String,
    keep: Duration,
    words: Cache<blake3::Hash, Word>,
    room: Semaphore,
    metrics: Arc<Metrics>,
    /// Whether the last review failed, so that a server that is away is logged once.
    failing: AtomicBool,
}

/// What the API server said of a token.
#[derive(Clone)]
struct Word {
    /// The ServiceAccount's user name; `None`: it is refused.
    account: Option<Arc<str>>,
    until: Instant,
}

/// It is not known whose a token is, because the API server does not say. May pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Kubernetes API server does not say whose token this is; tokens of the file still count")]
pub struct Unsaid;

impl Reviews {
    /// Fails where our own files cannot be used.
    pub(in crate::serve) fn open(settings: ReviewSettings, metrics: Arc<Metrics>) -> Result<Self, server::Error> {
        let ReviewSettings { audience, namespace, server, account, keep } = settings;
        Ok(Self {
            server: ApiServer::open(&server, account)?,
            audience,
            namespace,
            keep,
            words: Cache::builder().max_capacity(KEPT).expire_after(UntilItsEnd).build(),
            room: Semaphore::new(AT_ONCE),
            metrics,
            failing: AtomicBool::new(false),
        })
    }

    /// The user name of the ServiceAccount whose token this is; `None` for a token that is not let in.
    pub(in crate::serve) async fn account(&self, token: &str) -> Result<Option<Arc<str>>, Unsaid> {
        if !is_jwt(token) {
            return Ok(None);
        }
        // Of several requests with one token, one asks and the others wait for its answer. A failure is not kept.
        let word = self.words.try_get_with(blake3::hash(token.as_bytes()), self.ask(token)).await;
        word.map(|word| word.account).map_err(|unsaid| *unsaid)
    }

    async fn ask(&self, token: &str) -> Result<Word, Unsaid> {
        let asking = async {
            let _place = self.room.acquire().await;
            // Not before there is a place: the word is at least as new as this.
            let asked = Instant::now();
            self.server.review(token, &self.audience).await.map(|answer| (asked, answer))
        };
        let answered = timeout(ANSWER, asking).await.unwrap_or(Err(server::Error::Silent));
        let (asked, answer) = answered.map_err(|error| self.failed(&error))?;
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the API server reviews tokens again");
        }
        let (account, keep) = match verdict::of(answer, &self.audience, &self.namespace) {
            Verdict::Accepted(account) => (Some(account.into()), self.keep),
            Verdict::Refused(why) => {
                tracing::debug!(why, "a token is refused");
                (None, self.keep.min(REFUSAL))
            }
        };
        self.metrics.token_review(if account.is_some() { "accepted" } else { "refused" });
        Ok(Word { account, until: asked + keep })
    }

    fn failed(&self, error: &server::Error) -> Unsaid {
        self.metrics.token_review("failed");
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(error = %chain(error), "tokens cannot be reviewed; those of the file still count");
        }
        Unsaid
    }
}

/// Words count until their own end, not for a time from when they came.
struct UntilItsEnd;

impl Expiry<blake3::Hash, Word> for UntilItsEnd {
    fn expire_after_create(&self, _: &blake3::Hash, word: &Word, created: Instant) -> Option<Duration> {
        Some(word.until.saturating_duration_since(created))
    }
}

/// Whether a text has the form of a ServiceAccount's token: nothing else is worth a review.
pub fn is_jwt(token: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    token.len() <= LONGEST && token.split('.').count() == 3 && token.split('.').all(is_part)
}
