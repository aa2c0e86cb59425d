//! Differential fault tests of the operator's controllers.
//!
//! A real operator process works on a real API server with its controllers; pods are those of fake nodes. Between the two lies
//! a proxy on which things go wrong by plan. The oracle is a run without faults: whatever went wrong, the end must be the
//! same, and each object made and removed as often.
//!
//! ```text
//! steps of a user ──► API server ◄── proxy (a fault at the i-th write) ◄── operator ──► broker
//!                         └── state at the end = state of the reference?
//! ```

mod broker;
pub mod call;
pub mod cases;
mod http;
pub mod lab;
mod process;
pub mod programs;
mod proxy;
pub mod reach;
pub mod report;
pub mod rule;
pub mod schema;
pub mod sparing;
pub mod state;
pub mod sweep;
mod trial;
mod upstream;
mod workload;

pub use broker::Broker;
pub use call::{Call, Done};
pub use lab::{Lab, Operator, Start};
pub use process::Process;
pub use proxy::{Proxy, Watches};
pub use rule::{Fault, Rule};
pub use workload::{Step, Workload};
