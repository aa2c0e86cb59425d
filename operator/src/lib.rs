//! Brings AgentPools and Pipelines to their desired state: the controllers behind `docket-operator`.
//!
//! It must not know how documents are worked: it makes the pods that do, and tells how they stand.

pub mod agent_pool;
pub mod announced;
pub mod apply;
pub mod args;
pub mod broker;
pub mod check;
pub mod claims;
pub mod client;
pub mod condition;
pub mod config;
pub mod context;
pub mod definitions;
pub mod difference;
pub mod events;
pub mod gathering;
pub mod health;
pub mod held;
pub mod keda;
pub mod kept;
pub mod lease;
pub mod log;
pub mod metrics;
pub mod metrics_token;
pub mod names;
pub mod namespace;
pub mod nats_keys;
pub mod network;
pub mod opening;
pub mod own_secrets;
pub mod pipeline;
pub mod pod_monitor;
pub mod pods;
pub mod prepare;
pub mod run;
pub mod scaling;
pub mod standing;
pub mod unreadable;
pub mod watching;

/// An error with everything that caused it, as one line. A cause that its effect has told already, as kube's errors do, is
/// not told again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}
