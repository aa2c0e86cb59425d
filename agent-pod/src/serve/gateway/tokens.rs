//! Who may call: bearer tokens from a file, read again when it changes.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use crds::schemars::{self, JsonSchema};
use serde::Deserialize;

use crate::{Error, Result, commands::validate, runtime::stop::Stop};

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
pub(in crate::serve) struct Caller {
    /// Who, for logs.
    pub(in crate::serve) name: String,
    /// The only tenant that it acts for; `None`: any.
    pub(in crate::serve) tenant: Option<String>,
    /// The only pipelines that it may use; `None`: all.
    pub(in crate::serve) pipelines: Option<Vec<String>>,
}

/// By the token's digest, so that comparing takes the same time whatever the token is.
type Known = HashMap<blake3::Hash, Caller>;

/// The tokens that count now.
pub(in crate::serve) struct Tokens {
    file: Option<(PathBuf, RwLock<Arc<Known>>)>,
}

impl Tokens {
    /// Reads the file; without one everybody is let in.
    pub(in crate::serve) fn open(path: Option<&Path>) -> Result<Self> {
        let read = |path: &Path| Ok::<_, Error>((path.to_path_buf(), RwLock::new(Arc::new(read(path)?))));
        Ok(Self { file: path.map(read).transpose()? })
    }

    /// Who a token belongs to; `None` for one that counts nothing.
    pub(in crate::serve) fn caller(&self, token: Option<&str>) -> Option<Caller> {
        let Some((_, known)) = &self.file else {
            return Some(Caller { name: "anyone".to_owned(), ..Caller::default() });
        };
        let known = Arc::clone(&known.read().unwrap_or_else(PoisonError::into_inner));
        known.get(&blake3::hash(token?.as_bytes())).cloned()
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
    let mut known = Known::new();
    for (index, entry) in file.tokens.iter().enumerate() {
        let caller =
            Caller { name: entry.name.clone(), tenant: entry.tenant.clone(), pipelines: entry.pipelines.clone() };
        if known.insert(blake3::hash(entry.token.as_bytes()), caller).is_some() {
            let field = format!("tokens[{index}].token");
            return Err(validate::usage(vec![file.error(&field, "is the token of another client too")]));
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "tokens:\n- {name: a, token: aaaaaaaaaaaaaaaa, tenant: acme, pipelines: [p]}\n- {name: b, token: bbbbbbbbbbbbbbbb}\n";

    #[test]
    fn a_token_names_its_client_and_another_one_names_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.yaml");
        std::fs::write(&path, TWO).expect("written");
        let tokens = Tokens::open(Some(&path)).expect("read");
        let acme = tokens.caller(Some("aaaaaaaaaaaaaaaa")).expect("a client");
        assert_eq!((acme.tenant.as_deref(), acme.pipelines), (Some("acme"), Some(vec!["p".to_owned()])));
        assert_eq!(tokens.caller(Some("bbbbbbbbbbbbbbbb")).expect("a client").tenant, None);
        assert_eq!(tokens.caller(Some("aaaaaaaaaaaaaaab")), None);
        assert_eq!(tokens.caller(None), None);
        assert!(Tokens::open(None).expect("none").caller(None).is_some());
    }

    #[test]
    fn a_file_with_an_unknown_field_a_short_token_or_one_token_twice_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.yaml");
        let refused = |text: &str| {
            std::fs::write(&path, text).expect("written");
            Tokens::open(Some(&path)).map(drop).expect_err("it is wrong").to_string()
        };
        assert!(refused(&TWO.replace("tenant:", "tenent:")).contains("tokens.yaml:2:"));
        assert!(refused("tokens: [{name: a, token: short}]").contains("tokens[0].token"));
        assert!(refused(&TWO.replace('b', "a")).contains("another client"));
    }
}
