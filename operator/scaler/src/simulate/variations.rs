//! The decision with other constants, and what would have been chosen on other traces. Knows not how runs go.

use super::{outcome::Outcome, search};
use crate::Tuning;

/// A variation by name, and what it changes.
pub type Variation = (&'static str, fn(&mut Tuning));

/// What there is, and variations of it.
pub const ALL: [Variation; 14] = [
    ("as it is", |_| {}),
    ("patience × 0.5", |tuning| tuning.patience *= 0.5),
    ("patience × 2", |tuning| tuning.patience *= 2.0),
    ("aimed at the promise", |tuning| tuning.aim = 1.0),
    ("aimed at half of it", |tuning| tuning.aim = 0.5),
    ("least price × 0.25", |tuning| tuning.least_price *= 0.25),
    ("no credit", |tuning| tuning.credit = 0.0),
    ("credit × 2", |tuning| tuning.credit *= 2.0),
    ("starting price × 0.3", |tuning| tuning.starting = 0.3),
    ("starting price × 3", |tuning| tuning.starting = 3.0),
    ("keeping price × 0.25", |tuning| tuning.keeping = 0.25),
    ("keeping price × 3", |tuning| tuning.keeping = 3.0),
    ("no calm", |tuning| tuning.dearest_calm = 0.0),
    ("a cold start more for each return", |tuning| tuning.a_return = 1.0),
];

/// What the constants chosen on other traces come to on one.
#[derive(Clone, Debug, PartialEq)]
pub struct Elsewhere {
    /// The variation.
    pub name: &'static str,
    /// Its pod-seconds over those of what there is.
    pub cost: f64,
    /// Its late tasks less those of what there is, as shares.
    pub late: f64,
}

/// For each trace, the variation that is best on all others, chosen as rivals' settings are. Traces on which none attains what
/// is asked for choose nothing.
///
/// `runs[variation][trace]` are outcomes, in the order of [`ALL`]; `clairvoyant[trace]` the plans' pod-seconds.
pub fn chosen_elsewhere(runs: &[Vec<Outcome>], clairvoyant: &[f64], attainment: f64) -> Vec<Elsewhere> {
    let traces = clairvoyant.len();
    let is_attained = |trace: usize| runs.iter().any(|run| run[trace].slo_attainment >= attainment);
    let of = |held_out: usize| {
        let kept: Vec<usize> = (0..traces).filter(|&trace| trace == held_out || is_attained(trace)).collect();
        let runs_kept: Vec<Vec<Outcome>> =
            runs.iter().map(|run| kept.iter().map(|&trace| run[trace].clone()).collect()).collect();
        let plans: Vec<f64> = kept.iter().map(|&trace| clairvoyant[trace]).collect();
        let place = kept.iter().position(|&trace| trace == held_out).unwrap_or_default();
        let best = search::best(&runs_kept, &plans, place, attainment);
        let (there, other) = (&runs[0][held_out], &runs[best][held_out]);
        Elsewhere {
            name: ALL[best].0,
            cost: other.pod_seconds / there.pod_seconds,
            late: there.slo_attainment - other.slo_attainment,
        }
    };
    (0..traces).map(of).collect()
}
