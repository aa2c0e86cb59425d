//! What the built command does with real files, and what the parts of the data plane do on their own: one program, so that
//! the crate is compiled once for all of its tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

mod access;
mod bad_input;
mod batching;
mod cache;
mod cache_redis;
mod canaries;
mod clients;
mod distributed;
mod edge;
mod erasure;
mod gateway;
mod gateway_rpc;
mod generation;
mod joins;
mod knowledge;
mod metrics_access;
mod models;
mod openai;
mod output;
mod people;
mod pools;
mod priorities;
mod providers;
mod reach;
mod results;
mod resume;
mod retries;
mod rounds;
mod run;
mod scaling;
mod sources;
mod stages;
mod support;
mod token_review;
mod unit;

/// The gateway's gRPC interface, for clients.
mod proto {
    #![allow(clippy::all, missing_docs, unreachable_pub, dead_code, reason = "generated code")]
    #![allow(clippy::clone_on_ref_ptr, reason = "generated")]
    tonic::include_proto!("docket.gateway.v1");
}
