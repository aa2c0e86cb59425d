//! Loading beside which a process still does what else it must: say how it stands, and end when it is asked to.

use tokio::runtime::Handle;

use crate::{Error, Result};

/// Runs what may block for long, a download of models for example, on a thread of its own. Who gives up waiting leaves
/// it behind: it ends with the process, which does not wait for it.
pub(super) async fn aside<T, Loading>(load: impl FnOnce() -> Loading + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    Loading: Future<Output = Result<T>>,
{
    let runtime = Handle::current();
    let loaded = tokio::task::spawn_blocking(move || runtime.block_on(load())).await;
    loaded.map_err(Error::system("load the models"))?
}
