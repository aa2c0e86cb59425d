//! CP-22: what cannot be, and then is put right.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::{Case, World, crashes};
use crate::{
    Kind,
    faults::{
        Step, Workload,
        lab::until,
        report::{Findings, times},
        state, workload,
    },
};

pub const CASE: Case = Case {
    id: "CP-22",
    fault: "specifications that nobody can fulfil; then they are put right",
    scaled: "",
    run: |world| run(world).boxed_local(),
};

/// Catalogue: told so soon, and healed so soon.
const TOLD: Duration = Duration::from_secs(30);
const HEALED: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(60);

/// Something that cannot be: of which object, how it is written, and a word of the condition that must say so.
type Impossible = (&'static str, Kind, Value, &'static str);

fn impossible() -> Vec<Impossible> {
    let pool = |spec: Value| {
        let mut whole = json!({"replicas": 2, "concurrency": 4});
        whole.as_object_mut().into_iter().for_each(|whole| whole.extend(spec.as_object().cloned().unwrap_or_default()));
        whole
    };
    let gpu = json!({"kind": "Gpu", "resource": "example.com/unheard-of"});
    let stage = |name: &str, pool: &str, after: Value| json!({"name": name, "pool": pool, "after": after, "transform": {"template": "x"}});
    vec![
        (
            "no node has the label",
            Kind::AgentPool,
            pool(json!({"device": {"nodeSelector": {"no": "node"}}})),
            "NoNodeFits",
        ),
        ("no node has the GPU", Kind::AgentPool, pool(json!({"device": gpu})), "NoNodeFits"),
        (
            "more memory than any node has",
            Kind::AgentPool,
            pool(json!({"template": {"resources": {"requests": {"memory": "900Ti"}}}})),
            "NoNodeFits",
        ),
        (
            "no such claim",
            Kind::AgentPool,
            pool(json!({"template": {"volumes": [{"name": "state", "claim": "none"}]}})),
            "PersistentVolumeClaim",
        ),
        ("no such priority", Kind::AgentPool, pool(json!({"template": {"priorityClassName": "none"}})), "PodsRefused"),
        (
            "a request above its limit",
            Kind::AgentPool,
            pool(json!({"template": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}})),
            "limit",
        ),
        (
            "a variable of the operator",
            Kind::AgentPool,
            pool(json!({"template": {"env": [{"name": "DOCKET_MODELS", "value": "x"}]}})),
            "env",
        ),
        ("no such pool", Kind::Pipeline, json!({"stages": [stage("read", "nobody", json!([]))]}), "nobody"),
        (
            "a circle",
            Kind::Pipeline,
            json!({"stages": [stage("read", "clerks", json!(["write"])), stage("write", "clerks", json!(["read"]))]}),
            "",
        ),
        (
            "after a stage that is not there",
            Kind::Pipeline,
            json!({"stages": [stage("read", "clerks", json!(["none"]))]}),
            "none",
        ),
    ]
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let both = vec![workload::pool("clerks", 2), workload::pipeline("letters", &["read", "write"])];
    let never_bad = Workload { name: "never bad", before: vec![], steps: both, leaves_nothing: false };
    let references = crashes::references(world, std::slice::from_ref(&never_bad), &mut findings).await?;
    let reference = &references[0];
    let cases = impossible();
    let from_start = cases.iter().map(|case| (case, true));
    let trials: Vec<(String, Vec<String>, Duration, Duration)> =
        stream::iter(from_start.chain(cases.iter().map(|case| (case, false))))
            .map(async |(case, at_first)| trial(world, case, at_first, &reference.state).await.with_context(|| case.0))
            .buffer_unordered(world.at_once)
            .try_collect()
            .await?;
    let wrong: Vec<String> = trials
        .iter()
        .filter(|trial| !trial.1.is_empty())
        .map(|(name, wrong, ..)| format!("{name}: {}", wrong.join(", ")))
        .collect();
    findings.none("trials in which it was not told or not healed", trials.len(), &wrong);
    let of = |of: fn(&(String, Vec<String>, Duration, Duration)) -> Duration| trials.iter().map(of).collect::<Vec<_>>();
    findings.figure("until a condition says so", times(of(|trial| trial.2)));
    findings.figure("from the correction to the end of one that was never bad", times(of(|trial| trial.3)));
    Ok(findings)
}

async fn trial(
    world: &World<'_>,
    (name, kind, bad, word): &Impossible,
    at_first: bool,
    expected: &state::State,
) -> Result<(String, Vec<String>, Duration, Duration)> {
    let namespace = world.lab.namespace("impossible").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    let client = &world.lab.client;
    let good = [workload::pool("clerks", 2), workload::pipeline("letters", &["read", "write"])];
    let target = if *kind == Kind::AgentPool { "clerks" } else { "letters" };
    if !at_first {
        for step in &good {
            step.take(client, &namespace).await?;
            step.wait(client, &namespace).await?;
        }
    }
    Step::Apply(*kind, target, bad.clone()).take(client, &namespace).await?;
    let mut wrong = Vec::new();
    let api = kind.within(client, &namespace);
    let told = until("a condition says so", LONGEST, async || {
        let object = api.get(target).await.context("look at an object")?;
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.iter().any(|condition| {
            condition["status"] == "False"
                && condition["observedGeneration"].as_i64() == object.metadata.generation
                && condition["type"] != "Progressing"
                && condition.to_string().contains(word)
        }))
    });
    let told = told.await.unwrap_or(LONGEST);
    if told > TOLD {
        wrong.push(format!("not told after {:.0} s", told.as_secs_f64()));
    }
    for step in &good {
        step.take(client, &namespace).await?;
    }
    let mut last = Vec::new();
    let healed = until("the end of one that was never bad", LONGEST, async || {
        let state = state::read(client, &world.lab.broker, &namespace).await?;
        last = state::difference(expected, &state);
        Ok(last.is_empty())
    });
    let healed = healed.await.unwrap_or(LONGEST);
    if healed > HEALED {
        wrong.push(format!("not healed after {:.0} s", healed.as_secs_f64()));
        wrong.extend(last.into_iter().take(4));
    }
    drop(operator);
    world.lab.release(&namespace).await?;
    let when = if at_first { "from the start" } else { "later" };
    Ok((format!("{name}, {when}"), wrong, told, healed))
}
