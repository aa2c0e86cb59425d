//! A thousand workers that pull from one pool at once, through the port that workers use.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use queue::{
    Message, Priority,
    jetstream::{self, JetStream},
};
use tokio::task::JoinSet;

use super::{Rounds, Settings};
use crate::broker::Broker;

/// Processes, as it were: connections of their own.
const STORES: usize = 20;
/// Slots of each.
const SLOTS: usize = 50;
const MESSAGES: usize = 5_000;
const POOL: &str = "thousand";
/// Longest wait of a pull.
const WAIT: Duration = Duration::from_secs(2);
/// Longest time of a round.
const LONGEST: Duration = Duration::from_secs(120);

pub(super) async fn run(settings: &Settings, folder: &Path, rounds: &mut Rounds) -> Result<()> {
    let mut broker = Broker::start(&settings.tools.nats, folder, 1, "sync_interval: always")?;
    broker.await_ready().await?;
    let mut stores = Vec::new();
    for number in 0..STORES {
        let mut settings = jetstream::Settings::new(broker.urls().join(","));
        settings.name = format!("worker-{number}");
        settings.payloads = "memory:".to_owned();
        stores.push(jetstream::open(settings).await.context("open the queue")?);
    }
    for round in 0..=settings.rounds {
        let rate = work(&stores, round).await?;
        if round > 0 {
            rounds.add("1,000 slots at one pool, each pulls 1", "Docket", "tasks/s", rate);
        }
    }
    Ok(())
}

/// Tasks a second that a thousand slots pull and acknowledge, one at a time each; each task comes to one slot.
async fn work(stores: &[JetStream], round: usize) -> Result<f64> {
    let messages = (0..MESSAGES).map(|number| Message {
        id: format!("{round}/{number}"),
        pool: POOL.to_owned(),
        priority: Priority::Normal,
        body: vec![b'x'; 200].into(),
    });
    let seen: Arc<Mutex<HashSet<String>>> = Arc::default();
    let mut slots = JoinSet::new();
    for store in stores {
        for _ in 0..SLOTS {
            let (queue, seen) = (Arc::clone(&store.ports.queue), Arc::clone(&seen));
            slots.spawn(async move {
                while seen.lock().unwrap_or_else(PoisonError::into_inner).len() < MESSAGES {
                    for delivery in queue.pull(POOL, 1, WAIT).await.context("pull")? {
                        queue.ack(&delivery.receipt).await.context("acknowledge")?;
                        let id = delivery.message.id;
                        if !seen.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
                            bail!("task {id} was worked twice");
                        }
                    }
                }
                Ok::<(), anyhow::Error>(())
            });
        }
    }
    // All of them wait before the first task comes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    stores[0].ports.queue.publish(messages.collect()).await.context("publish")?;
    let worked = async {
        while seen.lock().unwrap_or_else(PoisonError::into_inner).len() < MESSAGES {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begun.elapsed()
    };
    let took = tokio::time::timeout(LONGEST, worked).await.context("the tasks were not worked")?;
    while let Some(slot) = slots.join_next().await {
        slot.context("run a slot")??;
    }
    Ok(MESSAGES as f64 / took.as_secs_f64())
}
