//! The autoscaler at work: pools with `scaling` are watched, decided about each second, and brought to what was decided.

pub mod settings;
