//! The processes of a cluster: gateways and workers.

mod config;
mod cpu;
mod gateway;
mod inference;
mod reviews;
mod status;
