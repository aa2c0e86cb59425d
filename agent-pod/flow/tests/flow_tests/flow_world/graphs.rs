//! Random pipelines that compile.

use flow::Plan;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::flow_support::plan;

/// What makes one stage; numbers are taken modulo what is possible at its place.
#[derive(Clone, Debug)]
struct Seed {
    after: u8,
    mode: u8,
    quorum: u8,
    timeout: u8,
    optional: bool,
    attempts: u8,
    /// Which policy an approval has; most stages are none.
    approve: u8,
    fallbacks: u8,
}

fn seed() -> impl Strategy<Value = Seed> {
    let fallbacks = prop_oneof![2 => Just(0_u8), 1 => 1..8_u8];
    let ways = (0..12_u8, fallbacks);
    let numbers = (any::<u8>(), 0..3_u8, any::<u8>(), 0..6_u8, prop::bool::weighted(0.3), 1..=3_u8, ways);
    numbers.prop_map(|(after, mode, quorum, timeout, optional, attempts, (approve, fallbacks))| Seed {
        after,
        mode,
        quorum,
        timeout,
        optional,
        attempts,
        approve,
        fallbacks,
    })
}

/// Up to seven stages, each after some of those before it.
pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let stages = prop::collection::vec(seed(), 1..=7);
    let quality = prop::option::of((any::<u8>(), any::<u8>(), 0..=2_u32));
    let switches = (prop::bool::weighted(0.7), prop::bool::weighted(0.1), prop::bool::weighted(0.3), any::<bool>());
    // Each attempt takes eleven tokens.
    let budget = prop::option::weighted(0.2, 20..200_u64);
    (stages, quality, switches, budget).prop_map(|(seeds, quality, (parallel, suspend, deadline, results), budget)| {
        let mut stages: Vec<Value> = seeds.iter().enumerate().map(|(place, seed)| stage(place, seed)).collect();
        let mut written = json!({"parallel": parallel, "suspend": suspend});
        if deadline {
            written["deadline"] = json!("10m");
        }
        if results {
            written["results"] = json!({"table": {}});
        }
        if let Some(tokens) = budget {
            written["budget"] = json!({"tokens": tokens, "cost": 1});
        }
        if let Some((scoring, restart, rounds)) = quality {
            let scoring = usize::from(scoring) % stages.len();
            stages[scoring]["score"] = json!({"path": "score"});
            // A person gives no score.
            if stages[scoring].as_object_mut().is_some_and(|stage| stage.remove("approve").is_some()) {
                stages[scoring]["transform"] = json!({"template": "x"});
            }
            let before = ancestors(&stages, scoring);
            let restart = &before[usize::from(restart) % before.len()];
            written["quality"] =
                json!({"stage": name(scoring), "threshold": 0.5, "maxRounds": rounds, "restartAt": restart});
        }
        written["stages"] = json!(stages);
        plan(written)
    })
}

fn name(place: usize) -> String {
    format!("s{place}")
}

fn stage(place: usize, seed: &Seed) -> Value {
    let after: Vec<String> = (0..place).filter(|&before| seed.after >> before & 1 == 1).map(name).collect();
    let mut stage = json!({
        "name": name(place), "pool": "readers", "after": after, "optional": seed.optional,
        "retry": {"maxAttempts": seed.attempts},
    });
    match ["Reject", "Approve", "DeadLetter"].get(usize::from(seed.approve)) {
        Some(policy) => stage["approve"] = json!({"timeout": "20s", "onTimeout": policy}),
        None if seed.approve == 3 => stage["approve"] = json!({}),
        None => {
            stage["transform"] = json!({"template": "x"});
            let ways = [json!({"pool": "writers"}), json!({"pool": "readers"}), json!({"constant": {"score": 0}})];
            let chosen: Vec<&Value> =
                (0..3).filter(|way| seed.fallbacks >> way & 1 == 1).map(|way| &ways[way]).collect();
            if !chosen.is_empty() {
                stage["fallback"] = json!(chosen);
            }
        }
    }
    if after.len() >= 2 {
        let mode = ["All", "Any", "Quorum"][usize::from(seed.mode)];
        let mut join = json!({"mode": mode});
        if seed.mode == 2 {
            join["quorum"] = json!(1 + usize::from(seed.quorum) % after.len());
        }
        if let Some(policy) = ["Fail", "Partial", "DeadLetter"].get(usize::from(seed.timeout)) {
            join["timeout"] = json!("30s");
            join["onTimeout"] = json!(policy);
        }
        stage["join"] = join;
    }
    stage
}

/// A stage and all before it.
fn ancestors(stages: &[Value], place: usize) -> Vec<String> {
    let mut found = vec![name(place)];
    for earlier in (0..=place).rev() {
        if found.contains(&name(earlier)) {
            let after = stages[earlier]["after"].as_array().into_iter().flatten();
            found.extend(after.filter_map(|before| before.as_str().map(str::to_owned)));
        }
    }
    found
}
