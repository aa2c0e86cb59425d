//! Models of others.

mod client;
mod messages;
mod pieces;
mod requests;
mod sse;
