//! Who owns the number of a pool's agents, and how it passes from one owner to the next without a step. Pure.
//!
//! ```text
//! no scaling, Advise, External   spec.replicas of the pool
//! Apply                          the autoscaler, which writes the Deployment; spec.replicas is set aside
//! ```
//! A new owner begins with what there is: the autoscaler with the Deployment's number, and `replicas` with it as well, unless
//! somebody has written it since it was set aside (an HPA that was there before the mode changed, or a person).

use crds::{AgentPool, ScalingMode, ScalingStatus};

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// This one, of the spec.
    Fixed(u32),
    /// The autoscaler's: what is there stays, and a new Deployment begins with this.
    Scaled(u32),
    /// The spec's again, which is to become what there is first.
    Returned,
}

/// Whether the autoscaler owns the number.
pub fn is_scaled(pool: &AgentPool) -> bool {
    pool.spec.scaling.as_ref().is_some_and(|scaling| scaling.mode == ScalingMode::Apply)
}

/// Whose number it is now.
pub fn of(pool: &AgentPool) -> Replicas {
    if let Some(scaling) = pool.spec.scaling.as_ref().filter(|_| is_scaled(pool)) {
        return Replicas::Scaled(scaling.min_replicas);
    }
    let set_aside = set_aside(pool);
    if set_aside.is_some() && set_aside == Some(written(pool)) {
        return Replicas::Returned;
    }
    Replicas::Fixed(pool.spec.replicas)
}

/// What the status says of scaling after a pass.
pub fn status(pool: &AgentPool) -> Option<ScalingStatus> {
    let scaling = pool.spec.scaling.as_ref()?;
    let before = pool.status.as_ref().and_then(|status| status.scaling.clone()).unwrap_or_default();
    let replicas_set_aside = is_scaled(pool).then(|| set_aside(pool).unwrap_or_else(|| written(pool)));
    Some(ScalingStatus { mode: Some(scaling.mode), replicas_set_aside, ..before })
}

/// The same after a pass that failed: nobody has handed back what is to be, so the number that was set aside stays noted.
pub fn status_after_failure(pool: &AgentPool) -> Option<ScalingStatus> {
    match of(pool) {
        Replicas::Returned => pool.status.as_ref()?.scaling.clone(),
        Replicas::Fixed(_) | Replicas::Scaled(_) => status(pool),
    }
}

/// What `replicas` becomes when the autoscaler lets go of a Deployment with so many agents: that number, 0 too. To KEDA a pool that
/// sleeps is handed over asleep.
pub fn handed_back(there: Option<i32>, written: u32) -> u32 {
    there.and_then(|there| u32::try_from(there).ok()).unwrap_or(written)
}

fn set_aside(pool: &AgentPool) -> Option<i32> {
    pool.status.as_ref()?.scaling.as_ref()?.replicas_set_aside
}

fn written(pool: &AgentPool) -> i32 {
    i32::try_from(pool.spec.replicas).unwrap_or(i32::MAX)
}
