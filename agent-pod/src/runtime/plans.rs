//! Plans by digest: a document keeps the plan that it started with, whatever the file says later.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use flow::Plan;
use queue::Records;
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
        let key = key(&plan.digest);
        let bytes = plan.encode();
        match self.records.create(&key, Bytes::from(bytes)).await {
            Ok(_) | Err(queue::Error::Conflict { .. }) => {}
            Err(error) => return Err(Error::system("write the plan")(error)),
        }
        let plan = Arc::new(plan);
        self.known.write().await.insert(plan.digest.clone(), Arc::clone(&plan));
        Ok(plan)
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

fn key(digest: &str) -> String {
    format!("plans/{digest}")
}
