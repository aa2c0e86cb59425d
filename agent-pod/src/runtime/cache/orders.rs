//! What all processes that have a cache are told: to forget results, or to say what they have.
//!
//! ```text
//! records   caches/orders/ID        results to forget; a process that was away obeys when it comes back
//! events    caches/calls/ID         the same, and questions, for those that are there
//!           caches/answers/ID/…     what they say to it
//! ```
//!
//! An order concerns only what was made before it, so that obeying twice does no harm. Who gives one learns who has obeyed
//! at once; for the others the record stays.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use queue::{Ports, Records};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{Selection, StageCache, Statistics, inventory::Holding};
use crate::{
    error::chain,
    runtime::{now, stop::Stop, sweeper},
};

const ORDERS: &str = "caches/orders/";
const CALLS: &str = "caches/calls/";
const ANSWERS: &str = "caches/answers/";
/// Orders that are read at once.
const PAGE: usize = 500;
/// How often the records are looked through for orders whose event was lost.
const LOOK: Duration = Duration::from_secs(30);
/// Time in which a process that is there says that it has heard.
const HEARD: Duration = Duration::from_secs(1);
/// Longest wait for those that have heard to be done.
const DONE: Duration = Duration::from_secs(30);
/// How long an order stays for those that are away: longer than any result that is kept is worth keeping.
const STAYS: Duration = Duration::from_secs(30 * 86_400);
/// Pause after the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What processes are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Call {
    /// Forget what is meant.
    Forget(Selection),
    /// Say what you have.
    Tell,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Which process.
    pub process: String,
    /// Whether it has done what it was told; at first it only says that it has heard.
    pub done: bool,
    /// In its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Holding>,
    /// In its folder; of an order, what was removed from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Holding>,
    /// What it has done so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<serde_json::Value>,
    /// What it could not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tells all processes to forget what is meant of what was made until now; gives the answers of those that are there.
pub async fn forget(ports: &Ports, selection: &Selection) -> Result<Vec<Answer>, queue::Error> {
    let at = now().saturating_add(1);
    let made_before = Some(selection.made_before.map_or(at, |limit| limit.min(at)));
    let selection = selection.clone().made_before(made_before);
    remove_old(ports.records.as_ref()).await?;
    let id = uuid::Uuid::now_v7().simple().to_string();
    let order = Bytes::from(json(&selection));
    ports.records.create(&format!("{ORDERS}{id}"), order).await?;
    call(ports, &id, &Call::Forget(selection)).await
}

/// Asks all processes what they have.
pub async fn tell(ports: &Ports) -> Result<Vec<Answer>, queue::Error> {
    call(ports, &uuid::Uuid::now_v7().simple().to_string(), &Call::Tell).await
}

async fn call(ports: &Ports, id: &str, call: &Call) -> Result<Vec<Answer>, queue::Error> {
    let mut answers = ports.events.watch(&format!("{ANSWERS}{id}/")).await?;
    ports.events.publish(&format!("{CALLS}{id}"), Bytes::from(json(call))).await?;
    let begun = Instant::now();
    let mut by_process: BTreeMap<String, Answer> = BTreeMap::new();
    loop {
        let until = if by_process.values().all(|answer| answer.done) { begun + HEARD } else { begun + DONE };
        let Ok(Some((_, body))) = timeout_at(until, answers.recv()).await else { break };
        if let Ok(answer) = serde_json::from_slice::<Answer>(&body) {
            by_process.insert(answer.process.clone(), answer);
        }
    }
    Ok(by_process.into_values().collect())
}

/// Obeys what was ordered while this process was away, before it uses its cache; gives the orders that it has obeyed.
pub async fn catch_up(cache: &StageCache, records: &dyn Records) -> HashSet<String> {
    let mut obeyed = HashSet::new();
    if let Err(error) = obey_new(cache, records, &mut obeyed).await {
        tracing::warn!(error = %chain(&error), "orders to caches could not be read; they are read again");
    }
    obeyed
}

async fn obey_new(cache: &StageCache, records: &dyn Records, obeyed: &mut HashSet<String>) -> Result<(), queue::Error> {
    let mut there = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = records.scan(ORDERS, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (key, order) in page {
            if !obeyed.contains(&key) {
                match serde_json::from_slice::<Selection>(&order.bytes) {
                    Ok(selection) => drop(removed(cache, &selection).await),
                    Err(error) => tracing::warn!(%error, key, "an order to forget results cannot be read"),
                }
            }
            there.insert(key);
        }
    }
    // Those that are gone need not be remembered.
    *obeyed = there;
    Ok(())
}

/// Listens to what is told until the process stops. `name`: who answers.
pub async fn listen(cache: &StageCache, ports: &Ports, name: &str, (mut obeyed, stop): (HashSet<String>, Stop)) {
    while !stop.is_cordoned() {
        let mut calls = match ports.events.watch(CALLS).await {
            Ok(calls) => calls,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "what is told to caches is not heard");
                if !sweeper::rest(AFTER_FAILURE, &stop).await {
                    return;
                }
                continue;
            }
        };
        loop {
            let call = tokio::select! {
                () = stop.cordoned() => return,
                call = calls.recv() => call,
                () = tokio::time::sleep(LOOK) => {
                    // An event may be lost, the record is not.
                    if let Err(error) = obey_new(cache, ports.records.as_ref(), &mut obeyed).await {
                        tracing::debug!(error = %chain(&error), "orders to caches could not be read");
                    }
                    continue;
                }
            };
            let Some((subject, body)) = call else { break };
            let Some(id) = subject.strip_prefix(CALLS) else { continue };
            let Ok(call) = serde_json::from_slice::<Call>(&body) else { continue };
            answer(ports, id, &Answer::heard(name)).await;
            let done = obey(cache, name, &call).await;
            if matches!(call, Call::Forget(_)) && done.error.is_none() {
                obeyed.insert(format!("{ORDERS}{id}"));
            }
            answer(ports, id, &done).await;
        }
    }
}

async fn obey(cache: &StageCache, name: &str, call: &Call) -> Answer {
    let heard = Answer { done: true, ..Answer::heard(name) };
    let disk = match call {
        Call::Forget(selection) => removed(cache, selection).await,
        Call::Tell => cache.on_disk().await.map_err(|error| error.to_string()),
    };
    let (disk, error) = match disk {
        Ok(disk) => (Some(disk), None),
        Err(error) => (None, Some(error)),
    };
    match call {
        Call::Forget(_) => Answer { disk, error, ..heard },
        Call::Tell => {
            let statistics: Statistics = cache.statistics();
            let statistics = serde_json::to_value(statistics).ok();
            Answer { disk, error, memory: Some(cache.in_memory()), statistics, ..heard }
        }
    }
}

async fn removed(cache: &StageCache, selection: &Selection) -> Result<Holding, String> {
    cache.forget(selection).await.map_err(|error| {
        tracing::error!(%error, "kept results could not be removed from disk");
        error.to_string()
    })
}

/// Best effort: who asked hears of those that answer.
async fn answer(ports: &Ports, id: &str, answer: &Answer) {
    let subject = format!("{ANSWERS}{id}/answer");
    if let Err(error) = ports.events.publish(&subject, Bytes::from(json(answer))).await {
        tracing::debug!(error = %chain(&error), "an answer was not passed on");
    }
}

impl Answer {
    fn heard(name: &str) -> Self {
        Self { process: name.to_owned(), done: false, memory: None, disk: None, statistics: None, error: None }
    }
}

/// Removes orders that nobody can be away from any more.
async fn remove_old(records: &dyn Records) -> Result<(), queue::Error> {
    let stays = u64::try_from(STAYS.as_millis()).unwrap_or(u64::MAX);
    let oldest = now().saturating_sub(stays);
    for (key, _) in records.scan(ORDERS, None, PAGE).await? {
        let id = key.strip_prefix(ORDERS).and_then(|id| uuid::Uuid::parse_str(id).ok());
        let time = id.and_then(|id| id.get_timestamp()).map(|time| time.to_unix().0.saturating_mul(1_000));
        if time.is_none_or(|time| time < oldest) {
            records.delete(&key).await?;
        }
    }
    Ok(())
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("its fields are texts and numbers, which JSON can hold")
}
