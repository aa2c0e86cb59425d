//! Erasing from the folders of workers on other machines, by orders that lie among the records.
//!
//! ```text
//! folders/ID             a worker's folder, and when its worker was last seen
//! orders/ORDER           what is to be erased from all folders
//! confirmed/ORDER/ID     what a worker has erased from its folder
//! ```
//! A worker carries out all orders before it takes its first task, and then as they come: an event wakes it, and it looks every
//! few seconds, since events may be lost. An order lasts longer than a folder is remembered: one that comes back in time finds
//! it, and one that comes back later knows that it was forgotten and empties what can be made again.

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use queue::{Ports, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{Folder, Order, Place, PlaceReport, Traces};
use crate::{
    error::chain,
    runtime::{
        cache::{Selection, inventory},
        now,
        stop::Stop,
    },
};

const FOLDERS: &str = "folders/";
const ORDERS: &str = "orders/";
const CONFIRMED: &str = "confirmed/";
/// Name of the file by which a folder is known.
const IDENTITY: &str = "folder.id";

/// How often a worker looks for orders that no event told of.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before events are watched again that came to an end, and before a store is asked again that failed.
const LOST: Duration = Duration::from_secs(1);
/// How long a worker that begins asks a store again that fails: a broker that starts anew is no reason to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a worker says that its folder is still there.
const SEEN: Duration = Duration::from_secs(60);
/// A folder that was not seen for so long is taken for gone with its machine.
const FORGOTTEN_MILLIS: u64 = 86_400_000;
/// How long an order lasts that not all have confirmed.
const ORDER_MILLIS: u64 = 2 * FORGOTTEN_MILLIS;
/// Records that are read at once.
const PAGE: usize = 1_000;
/// What a worker does before its first task.
const ACTION: &str = "carry out what was erased meanwhile";

#[derive(Serialize, Deserialize)]
struct SeenFolder {
    worker: String,
    at: u64,
}

#[derive(Serialize, Deserialize)]
struct GivenOrder {
    at: u64,
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Confirmation {
    /// Of the order that was carried out: it may have been given anew since.
    at: u64,
    places: Vec<PlaceReport>,
}

/// The folders of all workers.
pub struct Workers {
    /// The store that they share.
    pub ports: Ports,
    /// How long they are waited for.
    pub wait: Duration,
}

/// A worker that carries out orders in its folder.
pub struct Follower {
    ports: Ports,
    folder: Folder,
    id: String,
    worker: String,
}

/// All records with this prefix that can be read as this.
async fn all<T: DeserializeOwned>(ports: &Ports, prefix: &str) -> Result<BTreeMap<String, T>> {
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = ports.records.scan(prefix, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        after = Some(last.clone());
        for (key, stored) in page {
            match serde_json::from_slice(&stored.bytes) {
                Ok(value) => drop(found.insert(key.strip_prefix(prefix).unwrap_or(&key).to_owned(), value)),
                Err(error) => tracing::error!(%key, %error, "a record of erasures cannot be read"),
            }
        }
    }
}

/// Writes a record, whatever lies there.
async fn put(ports: &Ports, key: &str, value: &impl Serialize) -> Result<()> {
    let bytes = Bytes::from(serde_json::to_vec(value).expect("plain structs can be written as JSON"));
    loop {
        let written = match ports.records.get(key).await? {
            None => ports.records.create(key, bytes.clone()).await,
            Some(found) => ports.records.update(key, found.revision, bytes.clone()).await,
        };
        match written {
            Err(queue::Error::Conflict { .. }) => {}
            written => return written.map(drop),
        }
    }
}

/// Asks the store until it answers, for so long.
async fn until_answered<'a, T>(until: Instant, ask: impl Fn() -> BoxFuture<'a, Result<T>>) -> crate::Result<T> {
    loop {
        match ask().await {
            Err(error @ queue::Error::Store { .. }) if Instant::now() < until => {
                tracing::warn!(error = %chain(&error), "what was erased meanwhile cannot be read yet; it is tried again");
                sleep(LOST).await;
            }
            answered => return answered.map_err(crate::Error::system(ACTION)),
        }
    }
}

#[async_trait]
impl Place for Workers {
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport> {
        let place = "workers";
        match self.give(traces).await {
            Ok(reports) => reports,
            Err(error) => vec![PlaceReport::failed(place, &error)],
        }
    }
}

impl Workers {
    async fn give(&self, traces: &Traces) -> Result<Vec<PlaceReport>> {
        let scope = serde_json::to_vec(&traces.scope).expect("a scope can be written as JSON");
        let name = blake3::hash(&scope).to_hex()[..32].to_owned();
        let given = GivenOrder { at: now(), order: Order::of(traces) };
        let key = format!("{ORDERS}{name}");
        put(&self.ports, &key, &given).await?;
        // It may be lost; workers look by themselves.
        let _ = self.ports.events.publish(&key, Bytes::new()).await;
        let (confirmed, missing) = self.await_all(&name, given.at).await?;
        let mut reports = Vec::new();
        for (worker, places) in confirmed {
            reports.extend(places.into_iter().map(|report| {
                let place = format!("worker {worker}: {}", report.place);
                PlaceReport { place, ..report }
            }));
        }
        if missing.is_empty() && reports.iter().all(|report| report.left.is_empty()) {
            self.withdraw(&name).await?;
        }
        reports.extend(missing.into_iter().map(|(worker, seen)| {
            let ago = crds::Span(Duration::from_secs(now().saturating_sub(seen) / 1_000));
            let left = format!(
                "has not confirmed (last seen {ago} ago); it erases before it works again, and is forgotten after a day"
            );
            PlaceReport { left: vec![left], ..PlaceReport::of(format!("worker {worker}")) }
        }));
        Ok(reports)
    }

    /// What workers confirmed, by their names, and those that have not, with when they were last seen.
    async fn await_all(
        &self,
        name: &str,
        given_at: u64,
    ) -> Result<(Vec<(String, Vec<PlaceReport>)>, Vec<(String, u64)>)> {
        let until = Instant::now() + self.wait;
        loop {
            let folders: BTreeMap<String, SeenFolder> = all(&self.ports, FOLDERS).await?;
            let prefix = format!("{CONFIRMED}{name}/");
            let mut confirmations: BTreeMap<String, Confirmation> = all(&self.ports, &prefix).await?;
            confirmations.retain(|_, confirmation| confirmation.at == given_at);
            let remembered = |folder: &SeenFolder| folder.at.saturating_add(FORGOTTEN_MILLIS) > now();
            let missing: Vec<(String, u64)> = folders
                .iter()
                .filter(|(id, folder)| !confirmations.contains_key(*id) && remembered(folder))
                .map(|(_, folder)| (folder.worker.clone(), folder.at))
                .collect();
            if missing.is_empty() || Instant::now() >= until {
                let worker = |id: &String| folders.get(id).map_or_else(|| id.clone(), |folder| folder.worker.clone());
                let confirmed = confirmations.into_iter().map(|(id, done)| (worker(&id), done.places)).collect();
                return Ok((confirmed, missing));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn withdraw(&self, name: &str) -> Result<()> {
        self.ports.records.delete(&format!("{ORDERS}{name}")).await?;
        for id in all::<Confirmation>(&self.ports, &format!("{CONFIRMED}{name}/")).await?.into_keys() {
            self.ports.records.delete(&format!("{CONFIRMED}{name}/{id}")).await?;
        }
        Ok(())
    }

    /// Forgets folders that were not seen for long, and orders that nobody who is remembered can have missed.
    pub async fn forget(&self) -> Result<()> {
        for (id, folder) in all::<SeenFolder>(&self.ports, FOLDERS).await? {
            if folder.at.saturating_add(FORGOTTEN_MILLIS) <= now() {
                self.ports.records.delete(&format!("{FOLDERS}{id}")).await?;
            }
        }
        for (name, given) in all::<GivenOrder>(&self.ports, ORDERS).await? {
            if given.at.saturating_add(ORDER_MILLIS) <= now() {
                self.withdraw(&name).await?;
            }
        }
        Ok(())
    }
}

impl Follower {
    /// Makes the folder known and carries out what was ordered while it was away. Fails where the store has failed for half a
    /// minute.
    pub async fn open(ports: Ports, folder: Folder, worker: &str) -> crate::Result<Self> {
        let (id, is_new) = identity(&folder.path)
            .map_err(crate::Error::system(format!("name the folder {}", folder.path.display())))?;
        let follower = Self { ports, folder, id, worker: worker.to_owned() };
        let (key, until) = (follower.key(), Instant::now() + PATIENCE);
        let known = until_answered(until, || follower.ports.records.get(&key)).await?;
        until_answered(until, || follower.seen().boxed()).await?;
        if known.is_none() && !is_new {
            tracing::warn!(folder = %follower.folder.path.display(), "the folder was away for long: what it kept of results is removed");
            follower.empty().map_err(crate::Error::system(ACTION))?;
        }
        until_answered(until, || follower.catch_up().boxed()).await?;
        Ok(follower)
    }

    fn key(&self) -> String {
        format!("{FOLDERS}{}", self.id)
    }

    async fn seen(&self) -> Result<()> {
        put(&self.ports, &self.key(), &SeenFolder { worker: self.worker.clone(), at: now() }).await
    }

    /// Removes what can be made again.
    fn empty(&self) -> std::io::Result<()> {
        inventory::clear_disk(&self.folder.path.join("cache"), &Selection::default())?;
        self.folder.services.iter().try_for_each(|services| services.clear_vectors().map(drop))
    }

    /// Carries out orders until the worker stops.
    pub async fn follow(&self, stop: &Stop) {
        let mut seen = Instant::now();
        let mut events: Option<mpsc::Receiver<(String, Bytes)>> = None;
        while !stop.is_cordoned() {
            if events.is_none() {
                events = self.ports.events.watch(ORDERS).await.ok();
            }
            if let Err(error) = self.catch_up().await {
                tracing::warn!(error = %chain(&error), "orders to erase could not be read or confirmed");
            }
            if seen.elapsed() >= SEEN {
                match self.seen().await {
                    Ok(()) => seen = Instant::now(),
                    Err(error) => tracing::warn!(error = %chain(&error), "the folder could not be made known"),
                }
            }
            let told = async {
                match events.as_mut() {
                    Some(events) => events.recv().await.is_some(),
                    None => std::future::pending().await,
                }
            };
            let lost = tokio::select! {
                () = stop.cordoned() => return,
                () = sleep(LOOK) => false,
                told = told => !told,
            };
            if lost {
                events = None;
                sleep(LOST).await;
            }
        }
    }

    async fn catch_up(&self) -> Result<()> {
        for (name, given) in all::<GivenOrder>(&self.ports, ORDERS).await? {
            let key = format!("{CONFIRMED}{name}/{}", self.id);
            let confirmed = self.ports.records.get(&key).await?;
            let confirmed = confirmed.and_then(|found| serde_json::from_slice::<Confirmation>(&found.bytes).ok());
            let done = |confirmed: &Confirmation| {
                confirmed.at == given.at && confirmed.places.iter().all(|place| place.left.is_empty())
            };
            if !confirmed.as_ref().is_some_and(done) {
                let places = self.folder.carry_out(&given.order).await;
                put(&self.ports, &key, &Confirmation { at: given.at, places }).await?;
            }
        }
        Ok(())
    }
}

/// The random name of a folder, and whether it is new.
fn identity(folder: &Path) -> std::io::Result<(String, bool)> {
    let path = folder.join(IDENTITY);
    match std::fs::read_to_string(&path) {
        Ok(id) if uuid::Uuid::try_parse(&id).is_ok() => Ok((id, false)),
        Ok(_) => Err(std::io::Error::other(format!("{} is damaged; remove it", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = uuid::Uuid::now_v7().simple().to_string();
            std::fs::write(&path, &id)?;
            Ok((id, true))
        }
        Err(error) => Err(error),
    }
}
