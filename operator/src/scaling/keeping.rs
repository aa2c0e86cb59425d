//! When what was learned of a pool is kept. Pure.

/// What was learned is kept this often, in seconds, while the pool is awake.
const EVERY: f64 = 10.0;

/// When it was kept last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeping {
    /// In seconds since 1970.
    kept_at: f64,
    slept: bool,
}

impl Keeping {
    /// Whether it is to be kept now: at each change, when the pool falls asleep or wakes, and every few seconds while it is awake.
    /// While it sleeps nothing is learned that is worth a write.
    pub fn is_due(&mut self, changed: bool, sleeps: bool, now: f64) -> bool {
        let slept = std::mem::replace(&mut self.slept, sleeps);
        let is_due = changed || sleeps != slept || !sleeps && now - self.kept_at >= EVERY;
        if is_due {
            self.kept_at = now;
        }
        is_due
    }
}
