//! What the laboratory of faults is made of, without a cluster.

#[path = "faults/call.rs"]
mod call;
#[path = "faults/reach.rs"]
mod reach;
#[path = "faults/rule.rs"]
mod rule;
#[path = "faults/schema.rs"]
mod schema;
#[path = "faults/sparing.rs"]
mod sparing;
#[path = "faults/state.rs"]
mod state;
