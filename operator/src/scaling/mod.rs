//! The autoscaler at work: pools with `scaling` are watched, decided about each second, and brought to what was decided.

pub mod settings;

/// The condition of a pool that says whether the autoscaler acts.
pub const CONDITION: &str = "ScalingActive";
