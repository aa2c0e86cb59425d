//! Results on their way into sinks.

mod batcher;
mod postgres;
mod row;
