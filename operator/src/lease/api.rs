//! What an election needs of a cluster: one Lease, read and replaced whole.

use std::error::Error;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::PostParams};

/// Where the Lease lies. Each call is sent once: repeating is the election's business.
pub trait LeaseApi: Send + Sync {
    /// The Lease, if there is one.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, CallError>> + Send;
    /// Makes the Lease, which must not be there.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;
    /// Replaces the version of the Lease that `lease` names.
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, CallError>> + Send;
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Somebody else has written or removed the Lease since it was read. Nobody has to do anything.
    #[error("the Lease has changed since it was read")]
    Conflict,
    /// The API server has not done it. It is asked again after a while; where it is a matter of rights, the administrator
    /// can fix it.
    #[error("the API server refused")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// Whether it was done is not known. The Lease tells.
    #[error("the API server gave no clear answer")]
    Unclear(#[source] Box<dyn Error + Send + Sync>),
}

/// A Lease of a cluster.
pub struct KubeLease {
    api: Api<Lease>,
    name: String,
}

impl KubeLease {
    /// `client` must not repeat requests by itself: a renewal that comes late is worse than one that fails.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

impl LeaseApi for KubeLease {
    async fn get(&self) -> Result<Option<Lease>, CallError> {
        self.api.get_opt(&self.name).await.map_err(call_error)
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, CallError> {
        let mut lease = lease.clone();
        lease.metadata.name = Some(self.name.clone());
        self.api.create(&PostParams::default(), &lease).await.map_err(call_error)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        self.api.replace(&self.name, &PostParams::default(), lease).await.map_err(call_error)
    }
}

fn call_error(error: kube::Error) -> CallError {
    match &error {
        // Not found, when it is written: it was removed. A 404 without that reason comes from something in between.
        kube::Error::Api(status) if status.code == 409 || status.is_not_found() => CallError::Conflict,
        kube::Error::Api(status) if status.code < 500 || status.code == 503 => CallError::Refused(Box::new(error)),
        _ => CallError::Unclear(Box::new(error)),
    }
}
