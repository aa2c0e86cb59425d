//! Copies of credentials that an operator of before has left in a namespace.

use anyhow::Result;
use serde_json::json;

use crate::{Cluster, Kind};

/// The copy of the credentials of a store of payloads.
const PAYLOADS: &str = "docket-payloads";

impl Cluster {
    /// Leaves one behind, as an operator does whose next version is not told of a store any more.
    pub async fn leave_copy(&self) -> Result<()> {
        let labels = json!({"app.kubernetes.io/managed-by": "docket-operator"});
        let metadata = json!({"name": PAYLOADS, "labels": labels});
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})).await
    }

    /// Waits until it is gone.
    pub async fn copy_is_gone(&self) -> Result<()> {
        self.wait_gone(Kind::Secret, PAYLOADS).await
    }
}
