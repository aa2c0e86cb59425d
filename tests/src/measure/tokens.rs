//! Text while it is written, through the queue: when a client of the gateway gets the first piece and when the end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Rounds, Settings};
use crate::cluster::{Cluster, Layout};

/// Longest wait for one document.
const WAIT: Duration = Duration::from_secs(120);

const RESOURCES: &str = r#"apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models:
  - {name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 1024}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: campaign}
spec:
  cache: {levels: []}
  streaming: true
  stages:
  - name: draft
    pool: writers
    generate: {role: Writing, prompt: "{{ document.text }}", maxTokens: 96}
"#;

pub(super) async fn run(settings: &Settings, models: &Path, folder: &Path, rounds: &mut Rounds) -> Result<()> {
    let cluster = Cluster::start(Layout {
        resources: RESOURCES.to_owned(),
        crews: vec![("writers", 1)],
        lease: Duration::from_secs(30),
        environment: vec![("DOCKET_MODELS".to_owned(), models.display().to_string())],
        ..Layout::new(&settings.tools, folder)
    })
    .await?;
    for round in 0..=settings.rounds {
        let (first, last, pieces) = once(&cluster, round).await?;
        if round > 0 {
            let seconds = |time: Duration| time.as_secs_f64();
            rounds.add("96 tokens: submission to the first piece of text", "Docket", "s", seconds(first));
            rounds.add("96 tokens: submission to the end", "Docket", "s", seconds(last));
            rounds.add("96 tokens: pieces that came before the end", "Docket", "pieces", pieces as f64);
        }
    }
    Ok(())
}

/// When the first piece and the end came, and how many pieces there were.
async fn once(cluster: &Cluster, round: usize) -> Result<(Duration, Duration, usize)> {
    let client = cluster.client();
    let id = format!("draft-{round}");
    let begun = Instant::now();
    let text = format!("Write about the duties of a tenant, in several long sentences. Variant {round}.");
    client.post(&id, &text).await.context("submit")?.error_for_status().context("submit")?;
    let http = reqwest::Client::builder().timeout(WAIT).build().context("make an HTTP client")?;
    let mut events = http.get(format!("{}/events", client.address(&id))).send().await.context("follow a document")?;
    let (mut first, mut pieces, mut read) = (None, 0, String::new());
    while let Some(chunk) = events.chunk().await.context("follow a document")? {
        read += &String::from_utf8_lossy(&chunk);
        while let Some((event, rest)) = read.split_once("\n\n") {
            if event.starts_with("event: token") {
                first.get_or_insert_with(|| begun.elapsed());
                pieces += 1;
            } else if event.starts_with("event: end") {
                return Ok((first.context("no text came before the end")?, begun.elapsed(), pieces));
            }
            read = rest.to_owned();
        }
    }
    bail!("the events ended before the document")
}
