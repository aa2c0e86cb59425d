//! The tests of the operator, as one program: it is linked once, and its tests run side by side.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod absent;
mod announced;
mod api_server;
mod authorities;
mod changed_secrets;
mod cluster;
mod counts;
mod credentials;
mod difference;
mod election;
mod events;
mod fallback;
mod fields;
mod gateway;
mod gather;
mod gathering;
mod guarded;
mod health_checks;
mod keda;
mod keda_pools;
mod lease;
mod lease_http;
mod leaving;
mod leaving_pipeline;
mod leaving_pool;
mod metrics;
mod namespace;
mod namespace_refused;
#[allow(unused_macros, reason = "the tests of the queue use it")]
#[path = "../../../agent-pod/queue/tests/support/nats.rs"]
mod nats;
mod opening;
mod orphans;
mod pipeline_pools;
mod pod_monitors;
mod pods_pages;
mod pool_objects;
mod process;
mod quantity;
mod remade;
mod room;
mod scaling_ahead;
mod scaling_chain;
mod scaling_devices;
mod scaling_feed;
mod scaling_foreseen;
mod scaling_keeping;
mod scaling_loop;
mod scaling_memory;
mod scaling_parts;
mod scaling_rounds;
mod scaling_settings;
mod scaling_side_by_side;
mod scaling_sleepers;
mod scaling_steps;
mod scaling_undisturbed;
#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../../../e2e/src/faults/schema.rs"]
mod schema;
mod settings;
mod spending;
mod status;
mod status_writes;
mod stores;
mod support;
#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../../../e2e/src/faults/sweep.rs"]
mod sweep;
mod tenures;
mod unkept;
mod unreadable;
