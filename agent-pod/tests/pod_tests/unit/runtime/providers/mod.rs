//! Models of others.

mod client;
mod messages;
mod pieces;
mod reach;
mod requests;
mod sse;
