//! Docket's API types, group `docket.dev`, version `v1alpha1`: what a person writes and the cluster stores.
//!
//! The types carry their own documentation (it becomes `kubectl explain`) and their own rules (CEL in the schema), so that
//! a file checked on a laptop and an object sent to an API server get the same answer. This crate must not know how a
//! pipeline is compiled or run, nor hold a Kubernetes client.
#![deny(missing_docs)]

mod agent_pool;
mod duration;
pub mod file;
mod pipeline;
mod stage;

pub use agent_pool::*;
pub use duration::*;
pub use pipeline::*;
pub use stage::*;
