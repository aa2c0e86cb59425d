//! Things that are looked at again and again, each at its own pace: one that is slow keeps no other waiting. Knows not what they
//! are.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::Semaphore;

/// Things by name, of which some are being looked at.
pub struct Rounds<T, R> {
    idle: BTreeMap<String, T>,
    busy: BTreeSet<String>,
    looks: FuturesUnordered<BoxFuture<'static, (String, T, R)>>,
    at_once: Arc<Semaphore>,
}

impl<T: Default + Send + 'static, R: Send + 'static> Rounds<T, R> {
    /// Nothing yet; at most so many are looked at at once.
    pub fn new(at_once: usize) -> Self {
        Self {
            idle: BTreeMap::new(),
            busy: BTreeSet::new(),
            looks: FuturesUnordered::new(),
            at_once: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.idle.keys().chain(&self.busy)
    }

    /// One that is not being looked at.
    pub fn idle(&mut self, name: &str) -> Option<&mut T> {
        self.idle.get_mut(name)
    }

    /// Whether one is being looked at.
    pub fn is_busy(&self, name: &str) -> bool {
        self.busy.contains(name)
    }

    /// Begins to look at one, at a new one where there is none of this name. One that is being looked at is left alone.
    pub fn begin<F>(&mut self, name: String, look: impl FnOnce(T) -> F + Send + 'static)
    where
        F: Future<Output = (T, R)> + Send,
    {
        if !self.busy.insert(name.clone()) {
            return;
        }
        let thing = self.idle.remove(&name).unwrap_or_default();
        let at_once = Arc::clone(&self.at_once);
        let looked = async move {
            // Nobody closes it.
            let _permit = at_once.acquire_owned().await;
            let (thing, result) = look(thing).await;
            (name, thing, result)
        };
        self.looks.push(looked.boxed());
    }

    /// The next one that was looked at, and what came of it; to be kept, or gone.
    pub async fn next(&mut self) -> (String, T, R) {
        let Some(looked) = self.looks.next().await else { return pending().await };
        self.busy.remove(&looked.0);
        looked
    }

    /// Puts one back, to be looked at again.
    pub fn keep(&mut self, name: String, thing: T) {
        self.idle.insert(name, thing);
    }
}
