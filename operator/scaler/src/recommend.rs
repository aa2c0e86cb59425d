//! What other settings would have cost a pool, judged by its own history. Changes nothing.

use serde::{Deserialize, Serialize};

use crate::{History, Settings};

/// Savings below this share are within what the next week makes of them.
const WORTH_SAYING: f64 = 0.05;
const CANDIDATES: [f64; 9] = [0.0, 12.0, 27.0, 60.0, 135.0, 300.0, 700.0, 1_500.0, 3_500.0];

/// Another value for a setting, and what it is expected to bring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recommendation {
    /// The field, as it is written.
    pub field: String,
    /// The value, in the field's unit.
    pub value: f64,
    /// Pod-seconds an hour that it would have saved.
    pub gain: f64,
    /// The same as a share of what idle pods and cold starts cost now.
    pub share: f64,
}

/// Recommendations for the settings, the most useful first; none before enough was seen.
///
/// `cold_start` is the mean time from a pod's creation to ready, in seconds. Only settings for which no cold start makes a task
/// late are judged by cost alone, so nothing is recommended where the target is shorter.
pub fn recommend(settings: &Settings, history: &History, cold_start: f64) -> Vec<Recommendation> {
    let Some(cooldown) = settings.cooldown_to_zero else {
        return Vec::new();
    };
    let Some(now) = history.idle.hourly_cost(cooldown, cold_start) else {
        return Vec::new();
    };
    let shortest = if settings.target.wait > cold_start { 0.0 } else { cooldown };
    // Where tasks gather before a pod is asked for, one that goes is missed less often than its gaps say.
    let gathers = history.idle.gathering(settings.target.wait) > cold_start;
    let longest = if gathers { cooldown } else { f64::INFINITY };
    let best = CANDIDATES
        .iter()
        .filter(|&&candidate| candidate >= shortest && candidate <= longest)
        .filter_map(|&candidate| Some((candidate, history.idle.hourly_cost(candidate, cold_start)?)))
        .min_by(|one, other| one.1.total_cmp(&other.1));
    best.filter(|&(_, cost)| cost < now * (1.0 - WORTH_SAYING))
        .map(|(value, cost)| Recommendation {
            field: "cooldownToZero".to_owned(),
            value,
            gain: now - cost,
            share: (now - cost) / now,
        })
        .into_iter()
        .collect()
}
