//! Documents with ids, and the oracle about what became of them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::{Cluster, Gateway, Kind, condition};

/// So many documents; the id is in the text.
pub fn documents(prefix: &str, number: usize) -> BTreeMap<String, String> {
    (0..number)
        .map(|number| (format!("{prefix}-{number:04}"), format!("This is letter {number} of {prefix}.")))
        .collect()
}

/// Applies the small pipeline and waits until pool and pipeline are ready.
pub async fn letters(cluster: &Cluster) -> Result<Gateway> {
    cluster.apply_file("e2e/manifests/letters.yaml").await?;
    cluster.wait(Kind::AgentPool, "clerks", condition("Ready", "True")).await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    let gateway = cluster.gateway().await?;
    gateway.serves("letters", true).await?;
    Ok(gateway)
}

/// Submits documents while something happens.
pub async fn submit_while(
    gateway: &Gateway,
    documents: &BTreeMap<String, String>,
    happens: impl AsyncFnOnce() -> Result<()>,
) -> Result<()> {
    let (submitted, happened) = tokio::join!(gateway.submit_all("letters", documents), happens());
    happened?;
    submitted
}

/// Every document has ended, each once, each with its own text, and the gateway knows no others.
pub async fn all_ended_once(gateway: &Gateway, documents: &BTreeMap<String, String>) -> Result<()> {
    let ends = gateway.ends_of("letters", documents.keys()).await?;
    for (id, text) in documents {
        let ended = &ends[id];
        ensure!(ended.outcome == "succeeded", "document \"{id}\" ended as {}: {:#}", ended.outcome, ended.output);
        let (said_id, said_text) = (ended.output["id"].as_str(), ended.output["text"].as_str().map(str::trim_end));
        ensure!((said_id, said_text) == (Some(id), Some(text)), "document \"{id}\" ended with {:#}", ended.output);
    }
    let mut listed = gateway.list("letters").await?;
    listed.sort();
    let submitted: Vec<&String> = documents.keys().collect();
    ensure!(listed.iter().eq(submitted.iter().copied()), "the gateway lists {listed:?}");
    Ok(())
}
