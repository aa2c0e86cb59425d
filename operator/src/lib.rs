//! Brings AgentPools and Pipelines to their desired state: the controllers behind `docket-operator`.
//!
//! It must not know how documents are worked: it makes the pods that do, and tells how they stand.

pub mod agent_pool;
pub mod apply;
pub mod broker;
pub mod condition;
pub mod config;
pub mod context;
pub mod events;
pub mod metrics;
pub mod names;
pub mod namespace;
pub mod network;
pub mod pipeline;
pub mod pods;
pub mod watching;

/// An error with everything that caused it, as one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
