//! What the laboratory of faults is made of, without a cluster.

#[path = "faults/call.rs"]
mod call;
#[path = "faults/rule.rs"]
mod rule;
#[path = "faults/schema.rs"]
mod schema;
#[path = "faults/state.rs"]
mod state;
