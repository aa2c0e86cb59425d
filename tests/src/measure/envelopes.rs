//! What travels: tasks and records as protobuf, and the same as JSON. Bytes, coding, and messages a second into the broker.

use std::{hint::black_box, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::{
    self,
    stream::{Config, StorageType},
};
use flow::{Completion, DocumentRecord, Spent, StageState, StageStatus, Submission, Task, Traces};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Rounds, Settings};
use crate::broker::{self, Broker};

/// Envelopes that are coded in a round.
const CODED: usize = 20_000;
/// Envelopes that are published in a round.
const PUBLISHED: usize = 2_000;
/// Publishes under way, as the queue has them.
const UNDER_WAY: usize = 256;
const PROTOBUF: &str = "protobuf (Docket)";
const JSON: &str = "JSON";

pub(super) async fn run(settings: &Settings, folder: &Path, rounds: &mut Rounds) -> Result<()> {
    let mut server = Broker::start(&settings.tools.nats, folder, 1, "sync_interval: always")?;
    server.await_ready().await?;
    let context = jetstream::new(broker::connect(&server.urls().join(",")).await?);
    let config = Config {
        name: "envelopes".to_owned(),
        subjects: vec!["envelopes.>".to_owned()],
        storage: StorageType::File,
        max_messages: 1_000,
        ..Config::default()
    };
    context.create_stream(config).await.context("make a stream")?;
    let (task, record) = (task(), record());
    let forms = [
        ("task", PROTOBUF, task.encode()),
        ("task", JSON, serde_json::to_vec(&task)?),
        ("record of 5 stages", PROTOBUF, record.encode()),
        ("record of 5 stages", JSON, serde_json::to_vec(&record)?),
    ];
    for round in 0..=settings.rounds {
        let mut coded = vec![
            ("task", PROTOBUF, rate(|| black_box(Task::decode(&black_box(&task).encode())).is_ok())),
            ("task", JSON, rate(|| through_json::<Task>(black_box(&task)))),
            ("record of 5 stages", PROTOBUF, rate(|| DocumentRecord::decode(&black_box(&record).encode()).is_ok())),
            ("record of 5 stages", JSON, rate(|| through_json::<DocumentRecord>(black_box(&record)))),
        ];
        for (what, arm, bytes) in &forms {
            let published = publish(&context, bytes).await?;
            if round > 0 {
                rounds.add(&format!("{what}: size"), arm, "bytes", bytes.len() as f64);
                rounds.add(&format!("{what}: published, synced"), arm, "messages/s", published);
            }
        }
        for (what, arm, rate) in coded.drain(..).filter(|_| round > 0) {
            rounds.add(&format!("{what}: encoded and decoded"), arm, "a second, one core", rate);
        }
    }
    Ok(())
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> bool {
    serde_json::to_vec(value).is_ok_and(|bytes| serde_json::from_slice::<T>(black_box(&bytes)).is_ok())
}

fn rate(mut once: impl FnMut() -> bool) -> f64 {
    let begun = Instant::now();
    let done = (0..CODED).filter(|_| once()).count();
    done as f64 / begun.elapsed().as_secs_f64()
}

async fn publish(context: &jetstream::Context, bytes: &[u8]) -> Result<f64> {
    let begun = Instant::now();
    let publishes = (0..PUBLISHED).map(|_| async {
        context.publish("envelopes.one", bytes.to_vec().into()).await.context("publish")?.await.context("publish")
    });
    stream::iter(publishes)
        .buffer_unordered(UNDER_WAY)
        .map(|published| published.map(drop))
        .try_collect::<()>()
        .await?;
    Ok(PUBLISHED as f64 / begun.elapsed().as_secs_f64())
}

fn task() -> Task {
    Task {
        document: "contracts/2026/lease-0042.pdf".to_owned(),
        pipeline: "contract-review".to_owned(),
        plan: "5c".repeat(32),
        stage: "validate".to_owned(),
        pool: "checkers".to_owned(),
        round: 1,
        epoch: 0,
        attempt: 1,
        priority: crds::Priority::Normal,
        deadline: None,
        bytes: Some(184_320),
    }
}

fn record() -> DocumentRecord {
    let done = |digest: &str| StageState {
        round: 0,
        attempt: 1,
        unreported: 0,
        waiting_since: None,
        spent: Spent::default(),
        status: StageStatus::Done(Completion {
            output: digest.repeat(32),
            seconds: 0.8125,
            prompt_tokens: 412,
            completion_tokens: 96,
            worker: "writers-7d9c5b6f4-x2x7k".to_owned(),
            model: Some("small".to_owned()),
            ..Completion::default()
        }),
        fallen_back: None,
    };
    let stages = [("research", "1a"), ("draft", "2b"), ("review", "3c"), ("validate", "4d"), ("citations", "5e")];
    DocumentRecord {
        submission: Submission {
            document: "contracts/2026/lease-0042.pdf".to_owned(),
            tenant: "team-a".to_owned(),
            source: "contracts/2026/lease-0042.pdf".to_owned(),
            payload: "7f".repeat(32),
            metadata: None,
            priority: crds::Priority::Normal,
            deadline: None,
            bytes: Some(184_320),
        },
        pipeline: "contract-review".to_owned(),
        plan: "5c".repeat(32),
        generation: 3,
        epoch: 0,
        round: 0,
        submitted_at: 1_764_000_000_000,
        started_at: 1_764_000_000_000,
        changed_at: 1_764_000_004_250,
        suspended: false,
        stages: stages.iter().map(|(stage, digest)| ((*stage).to_owned(), done(digest))).collect(),
        degraded: Vec::new(),
        quality: Some(0.86),
        previous: std::collections::BTreeMap::new(),
        outdated: Traces::default(),
        written_off: Spent::default(),
        end: None,
    }
}
