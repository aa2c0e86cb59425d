//! Of the commands against a gateway.

mod following;
mod scaling;
mod stats;
