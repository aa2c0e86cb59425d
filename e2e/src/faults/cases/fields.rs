//! CP-24: every field of both kinds is changed once, which must have an effect, and changed back, which must undo it.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{Case, World, manners::quiet};
use crate::{
    Kind, command,
    faults::{
        lab::until,
        report::Findings,
        schema::{Field, another, fields},
        state::{self, State},
    },
};

pub const CASE: Case = Case {
    id: "CP-24",
    fault: "each field of both kinds, by their schemas, is changed to another valid value, and back",
    scaled: "valid changes and their removal; invalid values are the API server's to refuse, which other tests look at",
    run: |world| run(world).boxed_local(),
};

const MANIFEST: &str = "e2e/manifests/fields.yaml";
/// Longest wait for an effect, and for its end.
const LONGEST: Duration = Duration::from_secs(20);

/// Fields that no object of the cluster shows, and why.
const SILENT: [(&str, &str); 2] = [
    ("deletionPolicy", "says what a deletion does, and is read then; CP-14 and the stories delete"),
    ("device.fallback", "says what is built where no node has the device; operator_fallback and a story look at that"),
];

/// Fields that the manifest does not have, with all below them, and why.
const ABSENT: [(&str, &str); 3] = [
    ("scaling", "steers decisions, not objects; each field of it has its effect in operator_scaling_settings"),
    ("results.postgres.passwordEnv", "stands for passwordFile, of which a pipeline has one"),
    ("models[].source.openai.apiKeyFile", "stands for apiKeyEnv, of which a model has one"),
];

/// Values that other fields depend on, and with what they go together.
fn together(path: &str, spec: &mut Value) -> bool {
    let mut set = |pointer: &str, value: Value| {
        if let Some(place) = spec.pointer_mut(pointer) {
            *place = value;
        }
    };
    match path {
        "device.kind" => {
            set("/device", json!({"kind": "Cpu"}));
        }
        // Its only word has no other.
        "device.fallback" => {
            if let Some(device) = spec.pointer_mut("/device").and_then(Value::as_object_mut) {
                device.remove("fallback");
            }
        }
        "models[].source.http.sha256" => set("/models/3/source/http/sha256", json!("1".repeat(64))),
        "models[].task" => set("/models/2/task", json!("Generate")),
        "models[].source.catalog" => set("/models/5/source/catalog", json!("gemma3-270m")),
        "template.resources.limits.cpu" => set("/template/resources/limits/cpu", json!("3")),
        "template.resources.requests.cpu" => set("/template/resources/requests/cpu", json!("500m")),
        "template.resources.limits.memory" => set("/template/resources/limits/memory", json!("3Gi")),
        "template.resources.requests.memory" => set("/template/resources/requests/memory", json!("512Mi")),
        "template.volumes[].claim" => set("/template/volumes/0/claim", json!("room2")),
        "template.priorityClassName" => set("/template/priorityClassName", json!("system-cluster-critical")),
        "cache.levels[]" => set("/cache/levels", json!(["Memory"])),
        "cache.semantic.embedder" => set("/cache/semantic/embedder", json!("filed")),
        "heads[].embedder" => set("/heads/1/embedder", json!("filed")),
        "heads[].name" => {
            set("/heads/1/name", json!("normal"));
            set("/stages/5/score/head", json!("normal"));
        }
        "heads[].kind" => set("/heads/2/kind", json!("Quality")),
        "knowledge[].embedder" => set("/knowledge/0/embedder", json!("filed")),
        "knowledge[].name" => {
            set("/knowledge/0/name", json!("papers"));
            set("/stages/1/embed/knowledge", json!("papers"));
            set("/stages/3/retrieve/knowledge", json!("papers"));
        }
        "stages[].embed.knowledge"
        | "stages[].retrieve.knowledge"
        | "stages[].pool"
        | "fallback[].pool"
        | "stages[].fallback[].pool" => {
            return false;
        }
        "stages[].fallback[].model" => set("/stages/7/fallback/0/model", json!("writer2")),
        "fallback[].model" => set("/fallback/0/model", json!("writer2")),
        "stages[].embed.model" => set("/stages/2/embed/model", json!("filed")),
        "stages[].cite.model" => set("/stages/8/cite/model", json!("filed")),
        "stages[].cite.sources[]" => set("/stages/8/cite/sources", json!(["find", "sort"])),
        "stages[].extract.model" => set("/stages/6/extract/model", json!("writer2")),
        "stages[].generate.model" => set("/stages/7/generate/model", json!("writer2")),
        "stages[].classify.head" => set("/stages/4/classify/head", json!("kinds2")),
        "stages[].score.head" => set("/stages/5/score/head", json!("usual2")),
        "stages[].score.path" => set("/stages/7/score/path", json!("text")),
        "stages[].after[]" => set("/stages/10/after", json!(["cited"])),
        "stages[].retrieve.steps[]" => set("/stages/3/retrieve/steps", json!(["FullText"])),
        "stages[].join.mode" => set("/stages/7/join", json!({"mode": "Any", "timeout": "1m", "onTimeout": "Partial"})),
        "stages[].join.quorum" => set("/stages/7/join/quorum", json!(3)),
        "stages[].when" => set("/stages/9/when", json!("stages.draft.score > 0.8")),
        "stages[].optional" => set("/stages/4/optional", json!(false)),
        "quality.stage" => return false,
        "quality.restartAt" => set("/quality/restartAt", json!("find")),
        "results.anomaly" => set("/results/anomaly", json!("stages.draft.score")),
        "results.postgres.url" => {
            set("/results/postgres/url", json!("postgres://docket@other.example.com:5432/results"))
        }
        "results.table.uri" => set("/results/table/uri", json!("/srv/results")),
        "knowledge[].uri" => set("/knowledge/0/uri", json!("/srv/notes")),
        _ => return false,
    }
    true
}

struct Swept {
    path: String,
    /// Where the effect was seen, none where nowhere.
    effect: Option<String>,
    wrong: Option<String>,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let objects = objects().await?;
    for (kind, plural) in [(Kind::AgentPool, "agentpools"), (Kind::Pipeline, "pipelines")] {
        let spec = &objects.iter().find(|(of, ..)| *of == kind).context("the manifest has both kinds")?.2;
        let all = fields(plural, spec).await?;
        let (there, absent): (Vec<Field>, Vec<Field>) = all.iter().cloned().partition(|field| field.pointer.is_some());
        let absent: Vec<String> = absent
            .into_iter()
            .map(|field| field.path)
            .filter(|path| !ABSENT.iter().any(|(known, _)| path == known || path.starts_with(&format!("{known}."))))
            .collect();
        findings.none(&format!("fields of {plural} that the sweep does not have"), all.len(), &absent);
        let lanes = world.at_once.min(there.len()).max(1);
        let parts: Vec<Vec<Field>> =
            (0..lanes).map(|lane| there.iter().skip(lane).step_by(lanes).cloned().collect()).collect();
        let swept: Vec<Vec<Swept>> = stream::iter(parts)
            .map(|fields| sweep(world, &objects, kind, fields))
            .buffer_unordered(lanes)
            .try_collect()
            .await?;
        tell(&mut findings, plural, swept.into_iter().flatten().collect());
    }
    Ok(findings)
}

fn tell(findings: &mut Findings, plural: &str, swept: Vec<Swept>) {
    let silent = |path: &str| SILENT.iter().any(|(known, _)| *known == path);
    let none: Vec<String> = swept
        .iter()
        .filter(|swept| swept.effect.is_none() && swept.wrong.is_none() && !silent(&swept.path))
        .map(|swept| swept.path.clone())
        .collect();
    let wrong: Vec<String> =
        swept.iter().filter_map(|swept| Some(format!("{}: {}", swept.path, swept.wrong.as_ref()?))).collect();
    findings.none(&format!("fields of {plural} without effect"), swept.len(), &none);
    findings.none(&format!("fields of {plural} that were refused, or whose change is not undone"), swept.len(), &wrong);
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for place in swept.iter().filter_map(|swept| swept.effect.as_deref()) {
        *places.entry(place).or_default() += 1;
    }
    let places: Vec<String> = places.iter().map(|(place, count)| format!("{place} {count}")).collect();
    findings.figure(&format!("effects of {plural}, by where they were seen first"), places.join(", "));
    let unseen: Vec<String> = SILENT.iter().map(|(path, why)| format!("{path} ({why})")).collect();
    if swept.iter().any(|swept| silent(&swept.path)) {
        findings.figure("not seen in objects", unseen.join(", "));
    }
}

/// Kind, name and specification of each object of the manifest.
async fn objects() -> Result<Vec<(Kind, String, Value)>> {
    let read = ["kubectl", "create", "--dry-run=client", "--output", "json", "--filename", MANIFEST];
    let text = command::run(&read, "").await?.or_fail("read the manifest")?;
    // One after the other, or a list.
    let mut objects = Vec::new();
    for read in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let read = read.context("read the manifest")?;
        match read["items"].as_array() {
            Some(items) => objects.extend(items.iter().cloned()),
            None => objects.push(read),
        }
    }
    let mut read = Vec::new();
    for object in objects {
        let kind = match object["kind"].as_str() {
            Some("AgentPool") => Kind::AgentPool,
            Some("Pipeline") => Kind::Pipeline,
            other => bail!("the manifest has a {other:?}"),
        };
        let name = object["metadata"]["name"].as_str().context("an object has a name")?.to_owned();
        read.push((kind, name, object["spec"].clone()));
    }
    Ok(read)
}

async fn sweep(
    world: &World<'_>,
    objects: &[(Kind, String, Value)],
    kind: Kind,
    fields: Vec<Field>,
) -> Result<Vec<Swept>> {
    let namespace = world.lab.namespace("fields").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    for claim in ["room", "room2"] {
        let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "labels": {"docket.dev/agents": "allowed"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let api = Kind::PersistentVolumeClaim.within(&world.lab.client, &namespace);
        api.patch(claim, &PatchParams::apply("user"), &Patch::Apply(&object)).await.context("make a claim")?;
    }
    for (kind, name, spec) in objects {
        write(world, &namespace, *kind, name, &with_second_writer(*kind, spec)).await?;
    }
    quiet(&operator).await?;
    let (_, name, spec) = objects.iter().find(|(of, ..)| *of == kind).context("the manifest has both kinds")?;
    let spec = with_second_writer(kind, spec);
    let base = seen(world, &namespace).await?;
    let mut swept = Vec::new();
    for field in fields {
        let (effect, wrong) = match one(world, &namespace, kind, name, &spec, &base, &field).await {
            Ok(effect) => (effect, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        swept.push(Swept { path: field.path, effect, wrong });
    }
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(swept)
}

/// Stages can name another model only where there is one; the manifest has as few as the fields need.
fn with_second_writer(kind: Kind, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(models) = spec.get_mut("models").and_then(Value::as_array_mut).filter(|_| kind == Kind::AgentPool) {
        models.insert(0, json!({"name": "writer2", "task": "Generate", "source": {"file": "/models/writer2"}}));
    }
    if let Some(heads) = spec.get_mut("heads").and_then(Value::as_array_mut).filter(|_| kind == Kind::Pipeline) {
        heads.push(json!({"name": "kinds2", "kind": "Classifier", "embedder": "embedder"}));
        heads.push(json!({"name": "usual2", "kind": "Anomaly", "embedder": "embedder"}));
    }
    spec
}

async fn one(
    world: &World<'_>,
    namespace: &str,
    kind: Kind,
    name: &str,
    spec: &Value,
    base: &State,
    field: &Field,
) -> Result<Option<String>> {
    let mut changed = spec.clone();
    if !together(&field.path, &mut changed) {
        let pointer = field.pointer.as_deref().context("the object has the field")?;
        // The manifest's places, moved by what was put before them.
        let pointer = match pointer.strip_prefix("/models/").and_then(|rest| rest.split_once('/')) {
            Some((index, rest)) => format!("/models/{}/{rest}", index.parse::<usize>()? + 1),
            None => pointer.to_owned(),
        };
        let place = changed.pointer_mut(&pointer).with_context(|| format!("find {pointer}"))?;
        *place = another(place, &field.schema)?;
    }
    if changed == *spec {
        bail!("the change changes nothing");
    }
    let observed = write(world, namespace, kind, name, &changed).await.context("the change is refused")?;
    pass(world, namespace, kind, name, &observed).await?;
    let mut effect = None;
    // That there is no effect is known when the pass is over and the gateway's files had time to follow.
    let _ = until("an effect", Duration::from_secs(4), async || {
        effect = state::difference(base, &seen(world, namespace).await?).first().map(|line| place_of(line));
        Ok(effect.is_some())
    })
    .await;
    write(world, namespace, kind, name, spec).await.context("the way back is refused")?;
    let mut left = Vec::new();
    until("the end of the effect", LONGEST, async || {
        left = state::difference(base, &seen(world, namespace).await?);
        Ok(left.is_empty())
    })
    .await
    .with_context(|| left.first().cloned().unwrap_or_default())?;
    Ok(effect)
}

/// Kind of the object in which a difference was seen.
fn place_of(line: &str) -> String {
    let object = line.split(['.', ':', ' ']).next().unwrap_or_default();
    let kind = object.split('/').next().unwrap_or_default();
    if line.contains(".status.") && matches!(kind, "AgentPool" | "Pipeline") {
        format!("{kind} status")
    } else {
        kind.to_owned()
    }
}

async fn write(world: &World<'_>, namespace: &str, kind: Kind, name: &str, spec: &Value) -> Result<DynamicObject> {
    let resource = kind.resource();
    let object =
        json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec});
    let api = kind.within(&world.lab.client, namespace);
    Ok(api.patch(name, &PatchParams::apply("user").force(), &Patch::Apply(&object)).await?)
}

/// Waits until the status is about what was written.
async fn pass(world: &World<'_>, namespace: &str, kind: Kind, name: &str, written: &DynamicObject) -> Result<()> {
    let api = kind.within(&world.lab.client, namespace);
    until("a pass over the object", LONGEST, async || {
        let object = api.get(name).await.context("look at the object")?;
        Ok(object.data["status"]["observedGeneration"].as_i64() >= written.metadata.generation)
    })
    .await
    .map(drop)
}

/// What there is, without what the user wrote and the number of the plan, which is about what he wrote.
async fn seen(world: &World<'_>, namespace: &str) -> Result<State> {
    let mut state = state::read(&world.lab.client, &world.lab.broker, namespace).await?;
    for (name, object) in &mut state {
        if name.starts_with("AgentPool/") || name.starts_with("Pipeline/") {
            object["spec"] = Value::Null;
            object["status"]["plan"] = Value::Null;
            // They appear by themselves, once half a minute was seen.
            for number in ["tokensPerMinute", "costPerMinute"] {
                object["status"][number] = Value::Null;
            }
            let conditions = object["status"]["conditions"].as_array_mut().into_iter().flatten();
            conditions
                .filter(|condition| condition["type"] == "Accepted" && condition["status"] == "True")
                .for_each(|condition| condition["message"] = Value::Null);
        }
    }
    Ok(state)
}
