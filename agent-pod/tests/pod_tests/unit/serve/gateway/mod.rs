//! The gateway.

mod credits;
mod estimate;
mod stats;
mod tally;
mod tokens;
