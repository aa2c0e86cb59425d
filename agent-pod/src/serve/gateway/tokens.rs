//! Who may call: whoever has a bearer token of a file, which is read again when it changes, or one of a ServiceAccount that
//! the API server vouches for. Callers of the gateway's namespace see all that is in it: what keeps tenants apart is the
//! namespace, each with its own gateway.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crds::schemars::{self, JsonSchema};
use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::{
    Error, Result,
    commands::validate,
    error::chain,
    runtime::{metrics::Metrics, stop::Stop},
    serve::reviews::{ReviewSettings, Reviews, Unsaid},
};

/// How often the file is looked at: a token that was taken out is refused within this time.
const LOOK: Duration = Duration::from_secs(5);

/// The file of tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TokensFile {
    /// One entry a client.
    #[schemars(length(max = 10_000))]
    tokens: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// Who it is, for logs.
    #[schemars(length(min = 1, max = 253))]
    name: String,
    /// The token itself.
    #[schemars(length(min = 16, max = 4_096))]
    token: String,
    /// The tenant that all documents of this client belong to. Left out: any tenant.
    #[schemars(length(min = 1, max = 253))]
    tenant: Option<String>,
    /// The pipelines that it may use. Left out: all.
    #[schemars(length(max = 1_000))]
    pipelines: Option<Vec<String>>,
}

/// A client that was let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Who, for logs.
    pub name: String,
    /// The only tenant that it acts for; `None`: any.
    pub tenant: Option<String>,
    /// The only pipelines that it may use; `None`: all.
    pub pipelines: Option<Vec<String>>,
}

/// Why nobody is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no token, or one that counts nothing.
    Unknown,
    /// It is not known now whose it is.
    Unsaid(Unsaid),
}

/// Workers cannot be asked for a ServiceAccount. Whoever writes the file can fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway's file of tokens holds none without pipelines, with which it could ask workers for you")]
pub(in crate::serve) struct NoToken;

/// What the file says.
#[derive(Default)]
struct Known {
    /// By the token's digest, so that comparing takes the same time whatever the token is.
    callers: HashMap<blake3::Hash, Caller>,
    /// What workers are asked with for a ServiceAccount, whose own token they could not check.
    own: Option<HeaderValue>,
}

/// The tokens that count now.
pub struct Tokens {
    file: Option<(PathBuf, RwLock<Arc<Known>>)>,
    reviews: Option<Reviews>,
}

impl Tokens {
    /// Reads the file, and knows ServiceAccounts where reviews say so; without both everybody is let in.
    pub fn open(path: Option<&Path>, reviews: Option<ReviewSettings>, metrics: &Arc<Metrics>) -> Result<Self> {
        let read = |path: &Path| Ok::<_, Error>((path.to_path_buf(), RwLock::new(Arc::new(read(path)?))));
        let reviews = reviews.map(|settings| Reviews::open(settings, Arc::clone(metrics))).transpose();
        let reviews = reviews.map_err(|error| Error::usage(format!("kubernetes: {}", chain(&error))))?;
        Ok(Self { file: path.map(read).transpose()?, reviews })
    }

    /// Who a token belongs to.
    pub async fn caller(&self, token: Option<&str>) -> std::result::Result<Caller, Refused> {
        if self.file.is_none() && self.reviews.is_none() {
            return Ok(Caller { name: "anyone".to_owned(), ..Caller::default() });
        }
        let token = token.ok_or(Refused::Unknown)?;
        if let Some(caller) = self.known().callers.get(&blake3::hash(token.as_bytes())) {
            return Ok(caller.clone());
        }
        let reviews = self.reviews.as_ref().ok_or(Refused::Unknown)?;
        let account = reviews.account(token).await.map_err(Refused::Unsaid)?.ok_or(Refused::Unknown)?;
        Ok(Caller { name: account.to_string(), ..Caller::default() })
    }

    /// What a worker is asked with for a client that was let in: its own token where that is of the file, which workers have
    /// too. A ServiceAccount's token goes to no worker; for it they are asked with a token of the file, if there is a file.
    pub(in crate::serve) fn toward_workers(
        &self,
        authorization: Option<&HeaderValue>,
    ) -> std::result::Result<Option<HeaderValue>, NoToken> {
        if self.reviews.is_none() {
            return Ok(authorization.cloned());
        }
        let known = self.known();
        let is_of_file = |value: &&HeaderValue| {
            let token = value.to_str().ok().and_then(bearer);
            token.is_some_and(|token| known.callers.contains_key(&blake3::hash(token.as_bytes())))
        };
        let found = authorization.filter(is_of_file).or(known.own.as_ref()).cloned();
        if found.is_none() && self.file.is_some() { Err(NoToken) } else { Ok(found) }
    }

    fn known(&self) -> Arc<Known> {
        let known =
            self.file.as_ref().map(|(_, known)| Arc::clone(&known.read().unwrap_or_else(PoisonError::into_inner)));
        known.unwrap_or_default()
    }

    /// Reads the file again when it changes, until the process stops. A file that is wrong changes nothing.
    pub(in crate::serve) async fn follow(&self, stop: &Stop) {
        let Some((path, known)) = &self.file else { return stop.cordoned().await };
        let mut seen = bytes(path).await;
        loop {
            tokio::select! {
                () = stop.cordoned() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let now = bytes(path).await;
            if now == seen {
                continue;
            }
            seen = now;
            match read(path) {
                Ok(read) => *known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read),
                Err(error) => {
                    tracing::error!(error = %error, "the file of tokens is wrong; the tokens before it still count");
                }
            }
        }
    }
}

/// The token of an `Authorization` header.
pub(in crate::serve) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What the file holds, to see whether it has changed: by content, since a mounted Secret changes by a link.
async fn bytes(path: &Path) -> Option<blake3::Hash> {
    tokio::fs::read(path).await.ok().map(|bytes| blake3::hash(&bytes))
}

fn read(path: &Path) -> Result<Known> {
    let file = crds::file::settings::<TokensFile>(path).map_err(validate::usage)?;
    let mut known = Known::default();
    for (index, entry) in file.tokens.iter().enumerate() {
        let caller =
            Caller { name: entry.name.clone(), tenant: entry.tenant.clone(), pipelines: entry.pipelines.clone() };
        if known.own.is_none() && entry.pipelines.is_none() {
            known.own = HeaderValue::from_str(&format!("Bearer {}", entry.token)).ok().map(|mut value| {
                value.set_sensitive(true);
                value
            });
        }
        if known.callers.insert(blake3::hash(entry.token.as_bytes()), caller).is_some() {
            let field = format!("tokens[{index}].token");
            return Err(validate::usage(vec![file.error(&field, "is the token of another client too")]));
        }
    }
    Ok(known)
}
