//! One call of the Kubernetes API: `create` of a TokenReview. Not a client of Kubernetes.
//!
//! Our own token is read for each call, since the kubelet replaces it, and the certificates that vouch for the server are
//! looked at each time too. No error holds a token.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use reqwest::{Certificate, Client, StatusCode, Url, header, redirect::Policy};
use serde::Deserialize;
use serde_json::json;

use super::{ANSWER, verdict::Answer};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Largest answer: it repeats the token, and names the user's groups.
const LARGEST: usize = 256 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::serve) enum Error {
    /// Whoever deploys can fix it: the volume with our ServiceAccount's token is missing.
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// Whoever deploys can fix it.
    #[error("\"{}\" holds no certificates", path.display())]
    Certificates { path: PathBuf },
    /// Whoever deploys can fix it: the certificates are of a kind that is not known.
    #[error("failed to trust \"{}\"", path.display())]
    Trust { path: PathBuf, source: reqwest::Error },
    /// May pass.
    #[error("failed to reach the API server")]
    Reach(#[source] reqwest::Error),
    /// May pass.
    #[error("the API server did not answer in time")]
    Silent,
    /// Whoever deploys can fix 401 and 403: our ServiceAccount needs a binding that lets it create TokenReviews.
    #[error("the API server answered {status} (403: our ServiceAccount may not create tokenreviews)")]
    Refused { status: StatusCode },
    /// May pass.
    #[error("the API server's answer broke off")]
    BrokenOff(#[source] reqwest::Error),
    /// What answers is no API server of Kubernetes.
    #[error("the API server's answer is no TokenReview of at most {LARGEST} bytes")]
    Unreadable,
}

/// The server, and how it is reached now.
pub(super) struct ApiServer {
    url: Url,
    account: PathBuf,
    /// The client, and the digest of the certificates that it trusts.
    client: Mutex<(blake3::Hash, Client)>,
}

#[derive(Deserialize)]
struct TokenReview {
    status: Answer,
}

impl ApiServer {
    /// Reads our own files.
    pub(super) fn open(server: &Url, account: PathBuf) -> Result<Self, Error> {
        let mut url = server.clone();
        url.set_path(PATH);
        let read = |path: PathBuf| std::fs::read(&path).map_err(|source| Error::Read { path, source });
        read(account.join("token"))?;
        let certificates = read(account.join("ca.crt"))?;
        let client = client(&certificates, &account.join("ca.crt"))?;
        Ok(Self { url, account, client: Mutex::new((blake3::hash(&certificates), client)) })
    }

    /// What the server says of a token.
    pub(super) async fn review(&self, token: &str, audience: &str) -> Result<Answer, Error> {
        let own = self.read("token").await?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let request = self.client().await?.post(self.url.clone()).bearer_auth(String::from_utf8_lossy(&own).trim());
        let request = request.header(header::ACCEPT, "application/json").json(&review);
        let mut answer = request.send().await.map_err(|error| Error::Reach(error.without_url()))?;
        if answer.status() != StatusCode::CREATED {
            return Err(Error::Refused { status: answer.status() });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Error::BrokenOff(error.without_url()))? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(Error::Unreadable);
            }
            bytes.extend_from_slice(&chunk);
        }
        // The source would quote the answer, and the token with it.
        serde_json::from_slice::<TokenReview>(&bytes).map(|review| review.status).map_err(|_| Error::Unreadable)
    }

    async fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.account.join(name);
        tokio::fs::read(&path).await.map_err(|source| Error::Read { path, source })
    }

    /// A client that trusts the certificates as they are now.
    async fn client(&self) -> Result<Client, Error> {
        let certificates = self.read("ca.crt").await?;
        let digest = blake3::hash(&certificates);
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != digest {
            *known = (digest, client(&certificates, &self.account.join("ca.crt"))?);
        }
        Ok(known.1.clone())
    }
}

/// No proxy of the environment, no redirection, no certificate but these: tokens go nowhere else.
fn client(certificates: &[u8], path: &Path) -> Result<Client, Error> {
    let trusted = Certificate::from_pem_bundle(certificates).ok().filter(|trusted| !trusted.is_empty());
    let trusted = trusted.ok_or_else(|| Error::Certificates { path: path.to_owned() })?;
    let builder = Client::builder().https_only(true).no_proxy().redirect(Policy::none()).timeout(ANSWER);
    builder.tls_certs_only(trusted).build().map_err(|source| Error::Trust { path: path.to_owned(), source })
}
