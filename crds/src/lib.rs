//! Docket's API types, group `docket.dev`, version `v1alpha1`: what a person writes and the cluster stores.
//!
//! The types carry their own documentation (it becomes `kubectl explain`) and their own rules (CEL in the schema), so that
//! a file checked on a laptop and an object sent to an API server get the same answer. This crate must not know how a
//! pipeline is compiled or run, nor hold a Kubernetes client.
#![deny(missing_docs)]
#![allow(unreachable_pub, reason = "the derive KubeSchema copies each type into a function")]

mod affinity;
mod agent_pool;
mod answer;
mod definition;
mod deployment;
mod duration;
mod effective;
pub mod file;
mod pipeline;
mod provider;
mod resilience;
mod results;
mod scaling;
mod stage;
mod status;
mod work;

pub use affinity::*;
pub use agent_pool::*;
pub use answer::Mismatch;
pub use definition::*;
pub use deployment::*;
pub use duration::*;
pub use effective::*;
pub use pipeline::*;
pub use provider::*;
pub use resilience::*;
pub use results::*;
pub use scaling::*;
pub use stage::*;
pub use status::*;
pub use work::*;

/// For types of settings that [`file::settings`] reads.
pub use schemars;
