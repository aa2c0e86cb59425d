//! Work that takes long to compute, away from the threads that serve everybody.

use std::{future, panic};

/// Does it on a thread that may block. The others are few, and extend leases and answer requests: whoever keeps them for
/// seconds has the tasks of the whole process taken for lost. What panics there panics here.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panicked) => panic::resume_unwind(panicked),
            // The runtime is being shut down: what waits here is about to be dropped.
            Err(_) => future::pending().await,
        },
    }
}
