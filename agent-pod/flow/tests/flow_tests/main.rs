//! The tests of the flow, as one program: it is linked once, and its tests run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod flow_stories;
mod flow_story;
mod flow_support;
mod flow_world;
mod plan;
mod properties;
mod size;
mod transition;
mod waits;
mod wire;
