//! A hop between two stages that do next to nothing, and documents through five of them.
//!
//! A hop is taken from the broker's clock: from one change of a document's record to the next. In between lie the publish of
//! the next task, its pull, the reading of the record and of the inputs, a template, the storing of its output (a synced
//! file), and the compare-and-set.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Rounds, Settings, raw::Raw};
use crate::{
    cluster::{Cluster, Layout},
    documents::{Document, READERS},
    load::Load,
};

const STAGES: usize = 5;
/// Documents of a round, one after another.
const ALONE: usize = 40;
/// Documents of a round, many at once.
const TOGETHER: usize = 400;
const AT_ONCE: usize = 32;
/// Messages of a round without Docket.
const RAW: usize = 200;
/// Longest wait for the documents of a round.
const WAIT: Duration = Duration::from_secs(120);

/// So many stages that each write a few bytes, in a row.
pub(super) fn resources(slots: u32) -> String {
    let mut text = format!(
        "apiVersion: docket.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: {READERS}}}\nspec: {{concurrency: {slots}}}\n---\n\
         apiVersion: docket.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: campaign}}\nspec:\n  cache: {{levels: []}}\n  stages:\n"
    );
    for stage in 0..STAGES {
        let after = if stage == 0 { String::new() } else { format!("after: [s{}], ", stage - 1) };
        text += &format!(
            "  - {{name: s{stage}, pool: {READERS}, {after}transform: {{template: '{stage} {{{{ document.id }}}}'}}}}\n"
        );
    }
    text
}

pub(super) async fn run(settings: &Settings, folder: &Path, rounds: &mut Rounds) -> Result<()> {
    let layout = Layout {
        resources: resources(16),
        crews: vec![(READERS, 2)],
        lease: Duration::from_secs(30),
        ..Layout::new(&settings.tools, folder)
    };
    let cluster = Cluster::start(layout).await?;
    let raw = Raw::open(&cluster.broker.urls().join(",")).await?;
    for round in 0..=settings.rounds {
        let measured = round > 0;
        let bare = raw.times(RAW).await?;
        let hops = alone(&cluster, round).await?;
        let rate = together(&cluster, round).await?;
        if measured {
            rounds.add_times("publish, pull, acknowledge", "JetStream alone", bare);
            rounds.add_times("a hop, one document at a time", "Docket", hops);
            rounds.add("documents through 5 stages, 32 at once", "Docket", "documents/s", rate);
        }
    }
    Ok(())
}

/// The times of all hops of documents that go one after another.
async fn alone(cluster: &Cluster, round: usize) -> Result<Vec<Duration>> {
    let kind = format!("alone{round}");
    let documents = (0..ALONE).map({
        let kind = kind.clone();
        move |number| Document::new(&kind, number)
    });
    for document in documents {
        let answer = cluster.client().post(&document.id, &document.text).await.context("submit")?;
        answer.error_for_status().context("submit")?;
        let begun = Instant::now();
        while !cluster.ledger().effects().has_ended(&document.id) {
            if begun.elapsed() > WAIT {
                bail!("{} did not end", document.id);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(cluster.ledger().effects().steps(&kind))
}

/// Documents a second.
async fn together(cluster: &Cluster, round: usize) -> Result<f64> {
    let kind = format!("together{round}");
    let documents = (0..TOGETHER).map(move |number| Document::new(&kind, number));
    let begun = Instant::now();
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::ZERO);
    while !(load.is_done() && load.open(cluster).is_empty()) {
        if begun.elapsed() > WAIT {
            bail!("{} documents did not end", load.open(cluster).len());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(TOGETHER as f64 / begun.elapsed().as_secs_f64())
}
