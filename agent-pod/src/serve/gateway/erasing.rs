//! Erasure on behalf of clients: of a document, or of all of a tenant's.

use std::{sync::Arc, time::Duration};

use flow::DocumentRecord;
use queue::Ports;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    Store,
    api::{self, Api},
    refusal::Refusal,
    tokens::Caller,
};
use crate::{
    error::chain,
    runtime::{
        cache::RedisSettings,
        drivers::Drivers,
        erasure::{Eraser, Error, Folder, Place, Scope, SharedCache, WAIT, Workers},
        services::Services,
    },
};

/// Time for records that are being written to be seen. Between the storing of bytes and their record lie a few calls of the
/// store, milliseconds each.
const SETTLE: Duration = Duration::from_secs(2);

/// Where documents leave something beside the store: with a broker in the workers' folders and on the server that they share,
/// without in the gateway's own.
pub(super) fn places(
    store: &Store,
    services: Option<&Arc<Services>>,
    redis: Option<&RedisSettings>,
) -> Vec<Arc<dyn Place>> {
    match store {
        Store::Broker(store) => {
            // The server last: a worker may have given it what it had in its folder before it erased that.
            let mut places: Vec<Arc<dyn Place>> = vec![Arc::new(Workers { ports: store.ports.clone(), wait: WAIT })];
            places.extend(redis.map(|redis| Arc::new(SharedCache(redis.clone())) as Arc<dyn Place>));
            places
        }
        Store::Folder(state) => {
            let folder = services.map(|services| Folder::live(&state.folder, services));
            folder.into_iter().map(|folder| Arc::new(folder) as Arc<dyn Place>).collect()
        }
    }
}

/// What erases from the store and from these places.
pub fn eraser(drivers: &Drivers, ports: &Ports, places: Vec<Arc<dyn Place>>) -> Eraser {
    let (plans, metrics) = (Arc::clone(drivers.plans()), Arc::clone(drivers.metrics()));
    Eraser { ports: ports.clone(), plans, metrics, places, wait: WAIT, settle: SETTLE, turn: Mutex::default() }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        tracing::error!(error = %chain(&error), "an erasure did not begin");
        Self::Unavailable(chain(&error))
    }
}

impl Api {
    /// Erases a document; what was done, place by place.
    pub(super) async fn erase_document(
        self: &Arc<Self>,
        caller: &Caller,
        pipeline: &str,
        document: &str,
    ) -> Result<Value, Refusal> {
        // That it is the caller's, and that it is there.
        self.record(caller, pipeline, document).await?;
        let scope = Scope::Document { pipeline: Some(pipeline.to_owned()), document: document.to_owned() };
        self.erase(caller, scope).await
    }

    /// Erases all documents of a tenant, in the pipelines that the caller may use.
    pub(super) async fn erase_tenant(self: &Arc<Self>, caller: &Caller, tenant: &str) -> Result<Value, Refusal> {
        if let Some(own) = caller.tenant.as_ref().filter(|own| *own != tenant) {
            return Err(Refusal::Forbidden(format!("the token is of tenant \"{own}\", not \"{tenant}\"")));
        }
        if caller.pipelines.is_some() {
            let message = "the token is for some pipelines, and knowledge bases are shared: all of a tenant can be erased \
                           only with a token for all pipelines";
            return Err(Refusal::Forbidden(message.to_owned()));
        }
        self.erase(caller, Scope::Tenant { tenant: tenant.to_owned() }).await
    }

    /// In a task of its own: it goes on also where the client does not wait for it.
    async fn erase(self: &Arc<Self>, caller: &Caller, scope: Scope) -> Result<Value, Refusal> {
        let (api, caller) = (Arc::clone(self), caller.clone());
        let erasing = tokio::spawn(async move {
            tracing::info!(caller = %caller.name, ?scope, "an erasure begins");
            let allowed = |record: &DocumentRecord| api::may_see(&caller, record);
            let report = api.eraser.erase(scope, &allowed).await?;
            let (documents, complete) = (report.documents, report.complete);
            tracing::info!(caller = %caller.name, documents, complete, "an erasure ended");
            Ok::<_, Error>(report)
        });
        let report = erasing.await.map_err(|error| Refusal::Unavailable(format!("the erasure broke off: {error}")))?;
        Ok(json!(report?))
    }
}
