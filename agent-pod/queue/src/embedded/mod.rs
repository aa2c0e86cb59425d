//! All five ports for one process, durable in one folder.
//!
//! ```text
//! state.redb        queue, records, timers, small payloads     payloads/ab/cdef…   large payloads, one file each
//! ```
//! Every change goes to one writer thread (`writer.rs`), which commits whatever waits in one transaction: one sync of the
//! disk serves many callers. A call that changes something returns when its change is durable. Reads go past the writer
//! and see every change that returned before them.
//!
//! A process that is killed loses nothing that returned. Leases end with the process; delivery counts do not.

mod failure;
mod leases;
mod payloads;
mod queue;
mod records;
mod schema;
mod state_file;
mod storage;
mod timers;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{failure::OpenState, state_file::StateFile, writer::Store};
use crate::{
    Error, Faults, LEASE, Ports, Result,
    clock::{Clock, SystemClock},
    events::LocalEvents,
    payloads::files::PayloadFiles,
};

const STATE_FILE: &str = "state.redb";
const PAYLOADS_FOLDER: &str = "payloads";

/// A folder of state that this process has for itself. The folder is free again when the last of the ports is dropped.
pub struct Embedded {
    /// The ports.
    pub ports: Ports,
    /// Where the state lies.
    pub folder: PathBuf,
}

/// Opens the state in `folder`, which is created if it does not exist.
///
/// Blocks for as long as the disk takes. Fails with [`Error::Store`] where another process has the folder open.
pub fn open(folder: &Path) -> Result<Embedded> {
    open_at(folder, Arc::new(SystemClock::default()), LEASE, Faults::default())
}

/// Opens the state with a clock, a length of leases and failures of the disk that a test chooses.
pub fn open_at(folder: &Path, clock: Arc<dyn Clock>, lease: Duration, faults: Faults) -> Result<Embedded> {
    let ports = open_ports(folder, clock, lease, faults)
        .map_err(|source| Error::Store { action: "open the state folder", source: Box::new(source) })?;
    Ok(Embedded { ports, folder: folder.to_owned() })
}

fn open_ports(
    folder: &Path,
    clock: Arc<dyn Clock>,
    lease: Duration,
    faults: Faults,
) -> std::result::Result<Ports, OpenState> {
    std::fs::create_dir_all(folder).map_err(|source| OpenState::create(folder, source))?;
    // The state file first: its lock is what keeps a second process from tidying up files that the first one writes.
    let state = StateFile::open(folder, faults)?;
    let payloads = folder.join(PAYLOADS_FOLDER);
    let files = PayloadFiles::open_alone(&payloads).map_err(|source| OpenState::open(&payloads, source))?;
    let store = Arc::new(Store::start(state)?);
    Ok(Ports {
        queue: Arc::new(queue::EmbeddedQueue::new(Arc::clone(&store), Arc::clone(&clock), lease)),
        records: Arc::new(records::EmbeddedRecords::new(Arc::clone(&store))),
        payloads: Arc::new(payloads::EmbeddedPayloads::new(Arc::clone(&store), files)),
        timers: Arc::new(timers::EmbeddedTimers::new(store, clock)),
        events: Arc::new(LocalEvents::default()),
    })
}
