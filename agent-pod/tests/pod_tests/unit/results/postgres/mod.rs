//! PostgreSQL as a sink.

mod connection;
mod copy;
mod server;
