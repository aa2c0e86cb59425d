//! The processes of the distributed data plane: `docket worker` and `docket gateway`.
//!
//! Both read a configuration, open the ports of a store, start their parts and stop in order: nothing new is taken, what is
//! in hand is finished within the grace period, the rest is handed back.

pub mod config;
pub mod cpu;
pub mod gateway;
mod health;
pub mod inference;
mod listen;
mod loading;
mod metrics_token;
mod parts;
pub mod reviews;
pub mod status;
mod worker;

pub(crate) use gateway::gateway;
pub(crate) use worker::worker;

use crate::{Error, Result, args::ServeArguments, runtime::faults};

/// Switches on the faults that were asked for, if any.
fn arm(arguments: &ServeArguments) -> Result<()> {
    let Some(text) = &arguments.unsafe_faults else { return Ok(()) };
    faults::arm(text).map_err(|problem| Error::usage(format!("--unsafe-faults: {problem}")))
}
