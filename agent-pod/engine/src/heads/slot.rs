//! A place for the head in use: readers never wait, and see the old head or the new one, never a mixture.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Holds the newest head, once there is one.
#[derive(Debug)]
pub struct HeadSlot<Head> {
    current: ArcSwapOption<Head>,
}

impl<Head> HeadSlot<Head> {
    pub fn empty() -> Self {
        Self { current: ArcSwapOption::empty() }
    }

    pub fn current(&self) -> Option<Arc<Head>> {
        self.current.load_full()
    }

    /// Puts a head in use and returns the one before it. Who holds that one goes on with it.
    pub fn swap(&self, head: Arc<Head>) -> Option<Arc<Head>> {
        self.current.swap(Some(head))
    }
}
