//! The tests of the engine, as one program: it is linked once, and its tests run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod catalogue;
mod embed;
mod engine_support;
mod generate;
mod generation_support;
mod gguf;
mod heads;
mod memory;
mod reach;
mod safetensors;
mod schema;
