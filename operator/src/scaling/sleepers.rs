//! Pools that sleep, each with somebody who listens for the first task that comes. Knows not how one listens.

use std::collections::BTreeMap;

use tokio::task::{AbortHandle, JoinSet};

use super::seen::Pool;

/// Who listens. All end when it is dropped.
#[derive(Default)]
pub struct Sleepers {
    listening: JoinSet<Pool>,
    pools: BTreeMap<Pool, AbortHandle>,
}

impl Sleepers {
    /// Waits for something to come for a pool, by `listen`, unless that is done already.
    pub fn wait_for<F>(&mut self, pool: Pool, listen: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.pools.contains_key(&pool) {
            return;
        }
        let (listening, woken) = (listen(), pool.clone());
        let handle = self.listening.spawn(async move {
            listening.await;
            woken
        });
        self.pools.insert(pool, handle);
    }

    /// Ends the wait for those pools of a namespace that are not looked at any more: nothing may ever come for them, and who
    /// listens keeps the namespace's connection open.
    pub fn only(&mut self, namespace: &str, is_looked_at: impl Fn(&str) -> bool) {
        let gone = self.pools.extract_if(.., |(of, pool), _| of == namespace && !is_looked_at(pool));
        gone.for_each(|(_, listening)| listening.abort());
    }

    /// The next pool that has got something.
    pub async fn next(&mut self) -> Pool {
        while let Some(ended) = self.listening.join_next_with_id().await {
            let Ok((id, pool)) = ended else { continue };
            // It may have been given up in its last moment, and begun anew.
            if self.pools.get(&pool).is_some_and(|listening| listening.id() == id) {
                self.pools.remove(&pool);
                return pool;
            }
        }
        std::future::pending().await
    }
}
