//! The promise of how many tasks start in time, once more are late than are aimed at. Knows not how it came to that.

/// What is to be done for a promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Broken {
    /// Share of tasks that may be late for want of a pod.
    pub(crate) allowed: f64,
    /// Pod-seconds that it may cost at most to have a task in time rather than late.
    pub(crate) price: f64,
}
