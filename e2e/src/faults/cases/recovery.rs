//! CP-22: what cannot be, and then is put right.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams, ValidationDirective};
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
    scaled: "what a kubelet says of an image or a Secret that is not there is said by fake nodes. A device has no number: each agent has one",
    run: |world| run(world).boxed_local(),
};

/// Catalogue: told so soon, and healed so soon.
const TOLD: Duration = Duration::from_secs(30);
const HEALED: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(60);

/// Something that cannot be: of which object, how it is written, and words of the condition that must say so.
type Impossible = (&'static str, Kind, Value, &'static str);

fn impossible() -> Vec<Impossible> {
    impossible_pools().into_iter().chain(impossible_pipelines()).collect()
}

/// A pool as it should be, with these fields beside.
fn pool(more: Value) -> Value {
    let mut whole = json!({"replicas": 2, "concurrency": 4});
    whole.as_object_mut().into_iter().for_each(|whole| whole.extend(more.as_object().cloned().unwrap_or_default()));
    whole
}

fn impossible_pools() -> Vec<Impossible> {
    let template = |template: Value| pool(json!({"template": template}));
    let volume = |claim: &str| template(json!({"volumes": [{"name": "state", "claim": claim}]}));
    let requests = |requests: Value| template(json!({"resources": {"requests": requests}}));
    let here = json!([{"key": "no", "operator": "In", "values": ["node"]}]);
    let apart = json!({"affinity": {"apart": {"topologyKey": "kubernetes.io/hostname", "required": true}}});
    // More agents than there are fake nodes, by far.
    let crowd = json!({"replicas": 20, "concurrency": 4, "template": apart});
    let gpu = json!({"kind": "Gpu", "resource": "example.com/unheard-of"});
    let claimed = json!({"kind": "Gpu", "claims": [{"name": "link", "template": "none"}]});
    // What the fake nodes' kubelets say is written into a variable (e2e/cluster/files/kwok.yaml).
    let kubelet = |says: &str| template(json!({"env": [{"name": "FAKE_KUBELET_SAYS", "value": says}]}));
    let of_pool = |name, spec, words| (name, Kind::AgentPool, spec, words);
    vec![
        of_pool("no node has the label", pool(json!({"device": {"nodeSelector": {"no": "node"}}})), "NoNodeFits"),
        of_pool("no node is as the affinity asks", template(json!({"affinity": {"required": here}})), "NoNodeFits"),
        of_pool("more agents apart than there are nodes", crowd, "NoNodeFits"),
        of_pool("no node has the GPU", pool(json!({"device": gpu})), "NoNodeFits"),
        of_pool("no template of the claim", pool(json!({"device": claimed})), "DeviceUnclaimed"),
        of_pool("nearly a million processors", requests(json!({"cpu": "999999"})), "NoNodeFits"),
        of_pool("more memory than any node has", requests(json!({"memory": "900Ti"})), "NoNodeFits"),
        of_pool("no such claim", volume("none"), "ClaimMissing"),
        of_pool("a claim that is not for agents", volume(FOREIGN), "ClaimNotAllowed"),
        of_pool("no such priority", template(json!({"priorityClassName": "none"})), "PodsRefused"),
        of_pool("an image that no registry has", kubelet("ErrImagePull"), "ImageUnavailable"),
        of_pool("an image whose pull is put off", kubelet("ImagePullBackOff"), "ImageUnavailable"),
        of_pool("a Secret that is not there", kubelet("CreateContainerConfigError"), "ContainerRefused"),
        of_pool(
            "a request above its limit",
            template(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            "RequestAboveLimit",
        ),
        of_pool(
            "a variable of the operator",
            template(json!({"env": [{"name": "DOCKET_MODELS", "value": "x"}]})),
            "ReservedVariable",
        ),
    ]
}

fn impossible_pipelines() -> Vec<Impossible> {
    let works = |name: &str, pool: &str, after: Value, work: &str, how: Value| json!({"name": name, "pool": pool, "after": after, work: how});
    let plain = |name: &str, pool: &str, after: Value| works(name, pool, after, "transform", json!({"template": "x"}));
    let alone = |work: &str, how: Value| json!([works("read", "clerks", json!([]), work, how)]);
    let of_pipeline = |name, stages: Value, words| (name, Kind::Pipeline, json!({"stages": stages}), words);
    let circle = json!([plain("read", "clerks", json!(["write"])), plain("write", "clerks", json!(["read"]))]);
    vec![
        of_pipeline("no such pool", json!([plain("read", "nobody", json!([]))]), "UnknownPool"),
        of_pipeline("a circle", circle, "Cycle"),
        of_pipeline(
            "after a stage that is not there",
            json!([plain("read", "clerks", json!(["none"]))]),
            "UnknownStage",
        ),
        of_pipeline("no such model", alone("generate", json!({"model": "none", "prompt": "x"})), "UnknownModel"),
        of_pipeline("no such head", alone("classify", json!({"head": "none"})), "UnknownHead"),
        of_pipeline("no such knowledge", alone("embed", json!({"knowledge": "none"})), "UnknownKnowledge"),
    ]
}

/// Numbers that nobody can mean, which the API server refuses with the field.
fn refused() -> Vec<(Value, &'static str)> {
    let scaled = |bounds: Value| pool(json!({"scaling": bounds}));
    vec![
        (pool(json!({"replicas": 1_000_000})), "spec.replicas"),
        (scaled(json!({"maxReplicas": 1_000_000})), "spec.scaling.maxReplicas"),
        (scaled(json!({"minReplicas": 1_000_000, "maxReplicas": 1_000_000})), "spec.scaling.minReplicas"),
        (pool(json!({"device": {"kind": "Gpu", "resource": "unheard-of"}})), "spec.device.resource"),
        (pool(json!({"device": {"kind": "Gpu", "count": 1_000_000}})), "count"),
    ]
}

/// A claim of the namespace without the label that lets agents have it.
const FOREIGN: &str = "somebody-elses";

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let both = vec![workload::pool("clerks", 2), workload::pipeline("letters", &["read", "write"])];
    let never_bad = Workload { name: "never bad", before: vec![], steps: both, leaves_nothing: false };
    let references = crashes::references(world, std::slice::from_ref(&never_bad), &mut findings).await?;
    let reference = &references[0];
    let unnamed = unnamed(world).await?;
    findings.none("numbers that the API server takes, or refuses without the field", refused().len(), &unnamed);
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

/// Of what the API server is to refuse, what it does not, or not with the field's name.
async fn unnamed(world: &World<'_>) -> Result<Vec<String>> {
    let namespace = world.lab.namespace("refused").await?;
    let api = Kind::AgentPool.within(&world.lab.client, &namespace);
    let params = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("user")
    };
    let mut wrong = Vec::new();
    for (spec, field) in refused() {
        let object =
            json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "x"}, "spec": spec});
        match api.patch("x", &params, &Patch::Apply(&object)).await {
            Ok(_) => wrong.push(format!("{field} is taken")),
            Err(error) if !error.to_string().contains(field) => wrong.push(format!("{field}: {error}")),
            Err(_) => {}
        }
    }
    world.lab.release(&namespace).await?;
    Ok(wrong)
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
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": FOREIGN},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let claims = Kind::PersistentVolumeClaim.within(client, &namespace);
    claims.patch(FOREIGN, &PatchParams::apply("user"), &Patch::Apply(&claim)).await.context("make a claim")?;
    let good = [workload::pool("clerks", 2), workload::pipeline("letters", &["read", "write"])];
    let target = if *kind == Kind::AgentPool { "clerks" } else { "letters" };
    // A pipeline has its pool, so that only one thing is wrong.
    let before =
        if at_first { good.iter().take(usize::from(*kind == Kind::Pipeline)) } else { good.iter().take(good.len()) };
    for step in before {
        step.take(client, &namespace).await?;
        step.wait(client, &namespace).await?;
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
