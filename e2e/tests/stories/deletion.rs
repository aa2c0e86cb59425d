//! What is deleted goes, with everything that was made for it, and nothing hangs.

use anyhow::{Result, ensure};
use e2e::{Kind, OWNED, condition, condition_saying, with_namespace};
use serde_json::json;

use crate::documents::{documents, letters};

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_deleted_pool_takes_all_its_objects_along() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        cluster.delete(Kind::Pipeline, "letters").await?;
        cluster.wait_gone(Kind::Pipeline, "letters").await?;
        cluster.delete(Kind::AgentPool, "clerks").await?;
        cluster.wait_gone(Kind::AgentPool, "clerks").await?;
        for kind in OWNED {
            for object in cluster.labelled(kind, "app.kubernetes.io/managed-by=docket-operator").await? {
                cluster.wait_gone(kind, &object.metadata.name.unwrap_or_default()).await?;
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_namespace_goes_with_documents_in_flight() -> Result<()> {
    with_namespace(async |cluster| {
        cluster.apply_file("e2e/manifests/held.yaml").await?;
        cluster.wait(Kind::Pipeline, "held", condition("Ready", "True")).await?;
        let gateway = cluster.gateway().await?;
        gateway.submit_all("held", &documents("left", 5)).await?;
        gateway.awaiting("held", 5).await?;
        cluster.delete_namespace().await?;
        let left = cluster.labelled(Kind::Pod, "app.kubernetes.io/name=docket").await?;
        ensure!(left.is_empty(), "{} pods outlive their namespace", left.len());
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_deleted_pipeline_drains_or_gives_up_as_it_says() -> Result<()> {
    with_namespace(async |cluster| {
        let held = async |prefix: &str, policy: &str| {
            cluster.apply_file("e2e/manifests/held.yaml").await?;
            cluster.patch(Kind::Pipeline, "held", json!({"spec": {"deletionPolicy": policy}})).await?;
            cluster.wait(Kind::Pipeline, "held", condition("Ready", "True")).await?;
            let (gateway, documents) = (cluster.gateway().await?, documents(prefix, 3));
            gateway.submit_all("held", &documents).await?;
            gateway.awaiting("held", documents.len()).await?;
            cluster.delete(Kind::Pipeline, "held").await?;
            anyhow::Ok((gateway, documents))
        };
        let (gateway, documents) = held("drained", "Drain").await?;
        let words = "3 documents are worked to their end";
        cluster.wait(Kind::Pipeline, "held", condition_saying("Ready", "False", words)).await?;
        for id in documents.keys() {
            gateway.approve("held", id).await?;
        }
        cluster.wait_gone(Kind::Pipeline, "held").await?;
        // Nobody approves these: they would wait for ever.
        held("given-up", "Cancel").await?;
        cluster.wait_gone(Kind::Pipeline, "held").await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_that_is_made_again_under_its_name_works() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        cluster.kubectl(&["delete", "--filename", "e2e/manifests/letters.yaml", "--timeout", "120s"], "").await?;
        let gateway = letters(cluster).await?;
        let documents = documents("again", 10);
        gateway.submit_all("letters", &documents).await?;
        crate::documents::all_ended_once(&gateway, &documents).await
    })
    .await
}
