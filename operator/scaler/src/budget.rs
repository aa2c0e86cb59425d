//! Shares a budget of devices among pools. Knows nothing of what the pools do.

use serde::{Deserialize, Serialize};

/// What a pool wants of a shared budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The pool.
    pub pool: String,
    /// More important pools are served first.
    pub priority: i32,
    /// Devices that one replica takes; 0 for a pool that takes none.
    pub devices: u32,
    /// Replicas that are at work or starting, which keep their devices whatever happens.
    pub held: u32,
    /// Replicas that the pool's decision asks for.
    pub wanted: u32,
    /// Seconds of waiting that the pool's tasks would lose altogether with all that it wants.
    pub benefit: f64,
}

/// What a pool gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The pool.
    pub pool: String,
    /// Replicas that it may have.
    pub replicas: u32,
}

/// Shares `devices` among claims: first what is held, then by priority, and among equals one replica at a time to whom the
/// next one helps most.
///
/// Each further replica of a pool helps less: the n-th of k that are missing is worth the n-th part of the first. Grants are in
/// the order of the claims. They exceed the budget only where what is held already does.
pub fn share(devices: u32, claims: &[Claim]) -> Vec<Grant> {
    let mut granted: Vec<u32> = claims.iter().map(|claim| claim.held).collect();
    let held: u64 = claims.iter().zip(&granted).map(|(claim, held)| u64::from(claim.devices) * u64::from(*held)).sum();
    let mut left = u64::from(devices).saturating_sub(held);
    loop {
        let next = claims
            .iter()
            .enumerate()
            .filter(|(index, claim)| granted[*index] < claim.wanted && u64::from(claim.devices) <= left)
            .max_by(|(a, one), (b, other)| {
                let worth = |index: usize, claim: &Claim| marginal(claim, granted[index]);
                one.priority.cmp(&other.priority).then(worth(*a, one).total_cmp(&worth(*b, other))).then(b.cmp(a))
            });
        let Some((index, claim)) = next else { break };
        if claim.devices == 0 {
            granted[index] = claim.wanted;
        } else {
            granted[index] += 1;
            left -= u64::from(claim.devices);
        }
    }
    claims.iter().zip(granted).map(|(claim, replicas)| Grant { pool: claim.pool.clone(), replicas }).collect()
}

fn marginal(claim: &Claim, granted: u32) -> f64 {
    let missing = f64::from(claim.wanted.saturating_sub(claim.held).max(1));
    let nth = f64::from(granted.saturating_sub(claim.held) + 1);
    let benefit = if claim.benefit.is_finite() { claim.benefit.max(0.0) } else { 0.0 };
    benefit / missing / nth / f64::from(claim.devices.max(1))
}
