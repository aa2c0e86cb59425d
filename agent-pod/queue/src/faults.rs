//! Failures on demand, so that tests see what happens when the store refuses a write.

use std::{
    io,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Counts writes of a store and fails those that a test names. The default fails none. Clones share the count.
///
/// In memory a write is one call of a port that changes something; in the embedded store it is one write, growth or sync
/// of the state file.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    writes: u64,
    failing: Range<u64>,
}

impl Faults {
    /// Fails the `nth` write from now; 1 is the next one.
    pub fn fail_write(&self, nth: u64) {
        self.with(|state| {
            let failing = state.writes + nth;
            state.failing = failing..failing + 1;
        });
    }

    /// Fails the `nth` write from now and all that follow, until [`Faults::heal`].
    pub fn fail_writes_from(&self, nth: u64) {
        self.with(|state| state.failing = state.writes + nth..u64::MAX);
    }

    /// Fails nothing from now on.
    pub fn heal(&self) {
        self.with(|state| state.failing = 0..0);
    }

    /// How many writes were tried so far.
    pub fn writes(&self) -> u64 {
        self.with(|state| state.writes)
    }

    /// Counts a write, before it is done.
    pub(crate) fn count_write(&self) -> io::Result<()> {
        self.with(|state| {
            state.writes += 1;
            if state.failing.contains(&state.writes) {
                return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left (injected)"));
            }
            Ok(())
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
