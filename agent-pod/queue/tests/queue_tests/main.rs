//! The tests of the queue, as one program: it is linked once, and its tests run side by side. Those of the embedded store, of
//! which some start themselves again as another process, are another one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

#[macro_use]
#[path = "../support/nats.rs"]
mod nats;

mod access;
mod contract;
mod implementations;
mod jetstream;
mod leaving;
mod removing;
mod sample;
mod woken;
