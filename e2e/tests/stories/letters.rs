//! From an applied file to results, through the gateway.

use anyhow::{Result, ensure};
use e2e::{Kind, condition, with_namespace};

use crate::documents::{all_ended_once, documents, letters};

#[tokio::test]
#[ignore = "needs cluster"]
async fn documents_go_from_submission_to_results() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let documents = documents("plain", 50);
        gateway.submit_all("letters", &documents).await?;
        all_ended_once(&gateway, &documents).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_document_that_is_submitted_twice_is_one_document() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let documents = documents("twice", 10);
        gateway.submit_all("letters", &documents).await?;
        gateway.submit_all("letters", &documents).await?;
        all_ended_once(&gateway, &documents).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn kubectl_shows_pools_and_pipelines_in_one_list() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        for (kind, name) in [(Kind::AgentPool, "clerks"), (Kind::Pipeline, "letters")] {
            cluster.wait(kind, name, condition("Ready", "True")).await?;
        }
        let listed = cluster.kubectl(&["get", "docket"], "").await?;
        ensure!(listed.contains("clerks") && listed.contains("letters"), "kubectl get docket printed:\n{listed}");
        Ok(())
    })
    .await
}
