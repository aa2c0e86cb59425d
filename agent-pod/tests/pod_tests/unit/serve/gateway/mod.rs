//! The gateway.

mod credits;
mod estimate;
mod retaining;
mod stats;
mod tally;
mod tokens;
