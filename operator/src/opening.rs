//! Things by name that take long to open, and may not open at all: each is opened once, on first use, and none waits for another
//! one. Knows not what they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Lock, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use queue::Error;
use tokio::{sync::Mutex, time::Instant};

/// So long all are told of an opening that failed, instead of trying it again one after the other.
const REMEMBERED: Duration = Duration::from_secs(3);

/// What is open, by name.
pub struct Openings<T> {
    places: Lock<HashMap<String, Arc<Place<T>>>>,
}

/// Where one of them is once it is open.
struct Place<T> {
    open: OnceLock<Arc<T>>,
    /// Held by whoever opens it: why that failed, and when.
    failed: Mutex<Option<(Instant, Arc<Error>)>>,
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { open: OnceLock::new(), failed: Mutex::default() }
    }
}

impl<T> Default for Openings<T> {
    fn default() -> Self {
        Self { places: Lock::default() }
    }
}

impl<T> Openings<T> {
    /// The thing, if it is open.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        self.places().get(name).and_then(|place| place.open.get().cloned())
    }

    /// The thing, which is opened if it is not yet. One opens it, and the others who want the same wait for that.
    pub async fn get_or_open<F>(&self, name: &str, open: impl FnOnce() -> F) -> Result<Arc<T>, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let place = Arc::clone(self.places().entry(name.to_owned()).or_default());
        if let Some(open) = place.open.get() {
            return Ok(Arc::clone(open));
        }
        let mut failed = place.failed.lock().await;
        if let Some(open) = place.open.get() {
            return Ok(Arc::clone(open));
        }
        if let Some((at, error)) = failed.as_ref()
            && at.elapsed() < REMEMBERED
        {
            return Err(told(error));
        }
        match open().await {
            Ok(opened) => Ok(Arc::clone(place.open.get_or_init(|| Arc::new(opened)))),
            Err(error) => {
                let error = Arc::new(error);
                *failed = Some((Instant::now(), Arc::clone(&error)));
                Err(told(&error))
            }
        }
    }

    /// Forgets the thing; whoever has it may use it on. What is being opened now is for those alone who wait for it.
    pub fn close(&self, name: &str) {
        self.places().remove(name);
    }

    /// Forgets all.
    pub fn close_all(&self) {
        self.places().clear();
    }

    fn places(&self) -> MutexGuard<'_, HashMap<String, Arc<Place<T>>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same failure, for one more who hears of it.
fn told(error: &Arc<Error>) -> Error {
    Error::Store { action: "open a connection to the broker", source: Box::new(Arc::clone(error)) }
}
