//! Settings of rivals to try, and the best of them on traces other than the one that is reported. Knows not how runs go.

use super::{outcome::Outcome, random::Random, rivals::Rival};

/// Settings to try: the published defaults first, then drawn from the candidates by the seed, none twice.
pub fn settings(rival: Rival, trials: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = Random::new(seed, 2_000 + rival as u64);
    let mut all = vec![rival.defaults()];
    // Small spaces are exhausted before there are enough; drawing goes on a while to find what is left.
    for _ in 0..trials * 8 {
        if all.len() >= trials.max(1) {
            break;
        }
        let drawn: Vec<f64> =
            rival.knobs().iter().map(|knob| knob.candidates[random.index(knob.candidates.len())]).collect();
        if !all.contains(&drawn) {
            all.push(drawn);
        }
    }
    all
}

/// The setting that is best on the training traces: of those that attain `attainment` on each, the one whose cost relative to
/// the clairvoyant plan is least on average; if there is none, the one that attains most where it attains least.
///
/// `runs[setting][trace]` are outcomes, `clairvoyant[trace]` the plans' pod-seconds, `held_out` the trace that is left out.
pub fn best(runs: &[Vec<Outcome>], clairvoyant: &[f64], held_out: usize, attainment: f64) -> usize {
    let judge = |of: &Vec<Outcome>| {
        let training = || of.iter().enumerate().filter(|(trace, _)| *trace != held_out);
        let least = training().map(|(_, run)| run.slo_attainment).fold(1.0, f64::min);
        let cost: f64 = training().map(|(trace, run)| run.pod_seconds / clairvoyant[trace]).sum();
        (least, cost)
    };
    let better = |one: (f64, f64), other: (f64, f64)| match (one.0 >= attainment, other.0 >= attainment) {
        (true, true) => one.1 < other.1,
        (false, false) => one.0 > other.0,
        (one, _) => one,
    };
    let mut best = (0, runs.first().map_or((0.0, f64::MAX), judge));
    for (index, run) in runs.iter().enumerate().skip(1) {
        let judged = judge(run);
        if better(judged, best.1) {
            best = (index, judged);
        }
    }
    best.0
}
