//! The key of a provider. It is never printed: neither by `Debug`, nor in an error, nor in what a provider says of it.

use std::{fmt, io, path::PathBuf};

use crds::OpenAiSource;
use reqwest::header::HeaderValue;

use crate::secrets;

/// Longest key; a file that is longer is something else.
const LONGEST: usize = 16 << 10;
/// Shorter texts are not looked for in messages: they would be found everywhere.
const SHORTEST: usize = 6;

/// Where the key comes from.
#[derive(Debug)]
pub(super) enum Key {
    /// No key is sent.
    None,
    /// It was in the environment when the process started.
    Known(Secret),
    /// It is read for each request, so that a mounted secret can change.
    File(PathBuf),
}

/// A key.
#[derive(Clone)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Key {
    /// Finds the key that a model's source names; the problem in words where it is not there. `variable` reads the
    /// environment.
    pub(super) fn find(source: &OpenAiSource, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if let Some(name) = &source.api_key_env {
            let text = secrets::variable(name, variable).map_err(|problem| format!("apiKeyEnv: {problem}"))?;
            let secret = Secret::new(&text);
            return secret.map(Self::Known).ok_or_else(|| format!("apiKeyEnv: what {name} holds cannot be a key"));
        }
        let Some(path) = &source.api_key_file else { return Ok(Self::None) };
        let text =
            secrets::file(path.as_ref()).map_err(|error| format!("apiKeyFile: failed to read {path}: {error}"))?;
        Secret::of_bytes(&text).ok_or_else(|| format!("apiKeyFile: what {path} holds cannot be a key"))?;
        Ok(Self::File(PathBuf::from(path)))
    }

    /// The key as it is now.
    pub(super) async fn read(&self) -> io::Result<Option<Secret>> {
        match self {
            Self::None => Ok(None),
            Self::Known(secret) => Ok(Some(secret.clone())),
            Self::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || secrets::file(&path)).await;
                let secret = Secret::of_bytes(&read.map_err(io::Error::other)??);
                secret.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no key"))
            }
        }
    }
}

impl Secret {
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= LONGEST && HeaderValue::from_str(text).is_ok();
        fits.then(|| Self(text.to_owned()))
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(bytes).ok()?)
    }

    /// The value of the header `Authorization`.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// A text without the key: providers repeat it to those who have it wrong.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        if self.0.len() < SHORTEST { text.to_owned() } else { text.replace(&self.0, "…") }
    }
}
