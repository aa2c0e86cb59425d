//! Plans by digest: a document keeps the plan that it started with, whatever the file says later.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use flow::Plan;
use queue::{Condemned, Records};
use tokio::sync::RwLock;

use crate::{Error, Result};

/// Stored and compiled plans.
pub struct Plans {
    records: Arc<dyn Records>,
    known: RwLock<BTreeMap<String, Arc<Plan>>>,
}

impl Plans {
    /// The plans of a store.
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records, known: RwLock::default() }
    }

    /// Keeps a plan for the documents that start with it.
    pub async fn put(&self, plan: Plan) -> Result<Arc<Plan>> {
        let plan = Arc::new(plan);
        self.hold(&plan).await?;
        self.known.write().await.insert(plan.digest.clone(), Arc::clone(&plan));
        Ok(plan)
    }

    /// Sees to it that a plan is there for documents to come, although none may have named it for a while. Who takes documents
    /// does so more often than plans are swept.
    pub async fn hold(&self, plan: &Plan) -> Result<()> {
        let key = key(&plan.digest);
        let held = async {
            Condemned::new(Arc::clone(&self.records)).keep(&key).await?;
            self.records.create(&key, Bytes::from(plan.encode())).await
        };
        match held.await {
            Ok(_) | Err(queue::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(Error::system("write the plan")(error)),
        }
    }

    /// The plan of this digest.
    pub async fn get(&self, digest: &str) -> Result<Arc<Plan>> {
        if let Some(plan) = self.known.read().await.get(digest) {
            return Ok(Arc::clone(plan));
        }
        let action = || format!("read the plan {digest}");
        let stored = self.records.get(&key(digest)).await.map_err(Error::system(action()))?;
        let stored = stored.ok_or_else(|| Error::system(action())("it is not in the state folder"))?;
        let plan = Plan::decode(&stored.bytes).map_err(Error::system(action()))?;
        let plan = Arc::new(plan);
        self.known.write().await.insert(digest.to_owned(), Arc::clone(&plan));
        Ok(plan)
    }
}

/// Begins the keys of plans.
pub const PLANS: &str = "plans/";

fn key(digest: &str) -> String {
    format!("{PLANS}{digest}")
}
