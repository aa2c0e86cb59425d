//! Leader election by a Lease: who of several replicas writes to the cluster.
//!
//! Flow: a follower reads the Lease every `retry`. When it is free, or has not changed for the lease's duration by the
//! follower's own clock, the follower replaces it with itself as holder. The leader replaces it every `retry`.
//!
//! Guarantees: time is only ever measured by one process's monotonic clock, from the start of a request (leader) or from the
//! arrival of an answer (follower), so wrong wall clocks do no harm and clocks whose rates differ by up to
//! lease ÷ renew deadline (1.5) make no two leaders. Every write is a replacement that names the version it replaces. Each
//! tenure has an epoch that is greater than all before it.
//!
//! Assumptions: writers look at the leadership before each write, and a request that is on its way when the leadership ends
//! may still be applied: where that matters, writes carry a resourceVersion or the epoch. A machine that is suspended as a
//! whole stops its monotonic clock too; only the epoch and the versions help then.
//!
//! `state` decides and knows neither a clock nor a cluster; `elector` asks and writes; `leadership` is what the rest of the
//! process sees.

mod api;
mod elector;
mod identity;
mod leadership;
mod memory;
mod record;
mod state;
mod timing;

pub use api::{CallError, KubeLease, LeaseApi};
pub use elector::Elector;
pub use identity::Identity;
pub use leadership::{Ended, Leadership, NotLeading, while_leading};
pub use memory::MemoryLease;
pub use record::Record;
pub use state::{Election, Failure, Step};
pub use timing::{Timing, TimingError};
