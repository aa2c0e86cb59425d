//! The API server that says whose a ServiceAccount's token is: what a pod knows of it, and what the file says otherwise.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crds::{
    Span,
    file::Located,
    schemars::{self, JsonSchema},
};
use reqwest::Url;
use serde::Deserialize;

use super::resolve::resolved;
use crate::{Result, commands::validate, serve::reviews::ReviewSettings};

/// Where pods find the token of their ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Longest time for which an answer may count: who was shut out has to be, within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Whose tokens of Kubernetes ServiceAccounts are let in.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Kubernetes {
    /// What a token must have been made for.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
    /// The namespace whose ServiceAccounts are let in. Default: that of the pod.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// `https://host:port` of the API server. Default: that of the pod's cluster.
    pub server: Option<String>,
    /// Folder with `token` of a ServiceAccount that may create TokenReviews, and with `ca.crt`, which vouches for the API
    /// server. Both are read again when they change.
    pub account: PathBuf,
    /// Longest time for which the API server's answer about a token counts, at most 60 s.
    pub keep: Span,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            audience: "docket".to_owned(),
            namespace: None,
            server: None,
            account: PathBuf::from(ACCOUNT),
            // The API server itself remembers what it said for 10 s: both together stay below a minute.
            keep: Span(Duration::from_secs(45)),
        }
    }
}

/// `variable` reads the environment.
pub(super) fn reviews<T>(
    file: &Located<T>,
    written: Option<&Kubernetes>,
    base: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<ReviewSettings>> {
    let Some(written) = written else { return Ok(None) };
    let wrong = |field: &str, message: &str| validate::usage(vec![file.error(field, message)]);
    let account = resolved(base, &written.account);
    let namespace = match &written.namespace {
        Some(namespace) => namespace.clone(),
        None => {
            let read = std::fs::read_to_string(account.join("namespace")).ok();
            let read = read.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            read.ok_or_else(|| wrong("kubernetes.namespace", "is needed: the account's folder does not name it"))?
        }
    };
    let server = written.server.clone().or_else(|| own_cluster(variable)).ok_or_else(|| {
        wrong("kubernetes.server", "is needed outside a pod: KUBERNETES_SERVICE_HOST and _PORT are not set")
    })?;
    let server = Url::parse(&server).ok().filter(|url| url.scheme() == "https" && url.has_host());
    let server = server.ok_or_else(|| wrong("kubernetes.server", "is no API server; write https://host:port"))?;
    if written.keep.0.is_zero() || written.keep.0 > LONGEST {
        return Err(wrong("kubernetes.keep", "must be longer than 0 and at most 60s"));
    }
    Ok(Some(ReviewSettings { audience: written.audience.clone(), namespace, server, account, keep: written.keep.0 }))
}

/// The API server of the cluster that a pod runs in.
pub fn own_cluster(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    Some(if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") })
}
