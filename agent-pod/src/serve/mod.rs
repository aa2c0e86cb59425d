//! The processes of the distributed data plane: `docket worker` and `docket gateway`.
//!
//! Both read a configuration, open the ports of a store, start their parts and stop in order: nothing new is taken, what is
//! in hand is finished within the grace period, the rest is handed back.

pub(crate) mod config;
mod gateway;
mod health;
mod inference;
mod listen;
mod parts;
mod status;
mod worker;

pub(crate) use gateway::gateway;
pub(crate) use worker::worker;
