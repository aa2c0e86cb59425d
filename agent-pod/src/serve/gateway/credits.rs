//! Admission: how many documents a tenant may have in flight in a pipeline.
//!
//! The gateway remembers which documents it let in and forgets them when it hears of their end. Events may be lost and
//! there may be other gateways, so the sweep of the records puts the numbers right every half minute.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Weight of the newest interval in the mean time between ends.
const NEWEST: f64 = 0.2;
/// Longest time that a client is asked to stay away: within it the sweep has counted anew.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

type Account = (String, String);

/// Who has how many documents in flight.
pub struct Credits {
    limit: usize,
    accounts: Mutex<HashMap<Account, Open>>,
}

#[derive(Default)]
struct Open {
    documents: HashMap<String, Instant>,
    last_end: Option<Instant>,
    seconds_between_ends: Option<f64>,
}

/// All credits are spent; one may come free after this time, by how often documents ended so far.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent {
    pub retry_after: Duration,
    /// How many there are.
    pub in_flight: usize,
}

/// A credit that comes back when it is dropped without having been kept.
pub struct Reservation {
    credits: Arc<Credits>,
    account: Account,
    document: Option<String>,
}

impl Credits {
    /// So many documents may be in flight for each tenant of a pipeline.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit: limit as usize, accounts: Mutex::default() })
    }

    /// Takes a credit for a document; one that is in flight already needs none.
    pub fn reserve(self: &Arc<Self>, pipeline: &str, tenant: &str, document: &str) -> Result<Reservation, Spent> {
        let account = (pipeline.to_owned(), tenant.to_owned());
        let mut accounts = self.lock();
        let open = accounts.entry(account.clone()).or_default();
        let mut reservation = Reservation { credits: Arc::clone(self), account, document: None };
        if !open.documents.contains_key(document) {
            if open.documents.len() >= self.limit {
                let seconds = open.seconds_between_ends.unwrap_or(1.0);
                let retry_after = Duration::from_secs_f64(seconds.clamp(1.0, LONGEST_WAIT.as_secs_f64()).ceil());
                let in_flight = open.documents.len();
                drop(accounts);
                return Err(Spent { retry_after, in_flight });
            }
            open.documents.insert(document.to_owned(), Instant::now());
            reservation.document = Some(document.to_owned());
        }
        drop(accounts);
        Ok(reservation)
    }

    /// A document has ended.
    pub fn ended(&self, pipeline: &str, tenant: &str, document: &str) {
        let mut accounts = self.lock();
        let Some(open) = accounts.get_mut(&(pipeline.to_owned(), tenant.to_owned())) else { return };
        if open.documents.remove(document).is_some() {
            let now = Instant::now();
            if let Some(last) = open.last_end.replace(now) {
                let seconds = now.duration_since(last).as_secs_f64();
                let mean = open.seconds_between_ends.unwrap_or(seconds);
                open.seconds_between_ends = Some(mean + NEWEST * (seconds - mean));
            }
        }
    }

    /// A sweep that began at `began` found these documents of a pipeline unfinished, as (tenant, document). How many are in
    /// flight now.
    pub fn recount(&self, pipeline: &str, began: Instant, unfinished: HashSet<(String, String)>) -> usize {
        let mut accounts = self.lock();
        for ((_, tenant), open) in accounts.iter_mut().filter(|((name, _), _)| name == pipeline) {
            // What was let in while the sweep ran may have been behind it.
            open.documents
                .retain(|document, since| *since >= began || unfinished.contains(&(tenant.clone(), document.clone())));
        }
        for (tenant, document) in unfinished {
            accounts.entry((pipeline.to_owned(), tenant)).or_default().documents.entry(document).or_insert(began);
        }
        accounts.retain(|_, open| !open.documents.is_empty() || open.last_end.is_some_and(|end| end >= began));
        accounts.iter().filter(|((name, _), _)| name == pipeline).map(|(_, open)| open.documents.len()).sum()
    }

    /// How many documents of a pipeline are in flight: one tenant's, or all.
    pub fn open(&self, pipeline: &str, tenant: Option<&str>) -> usize {
        let accounts = self.lock();
        let meant = accounts
            .iter()
            .filter(|((name, owner), _)| name == pipeline && tenant.is_none_or(|tenant| tenant == owner));
        meant.map(|(_, open)| open.documents.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Account, Open>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The document was accepted: its end gives the credit back.
    pub fn keep(mut self) {
        self.document = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(document) = self.document.take() {
            let mut accounts = self.credits.lock();
            if let Some(open) = accounts.get_mut(&self.account) {
                open.documents.remove(&document);
            }
        }
    }
}
