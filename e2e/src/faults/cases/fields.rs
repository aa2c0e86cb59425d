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
        reach,
        report::Findings,
        schema::{Field, fields, of_specification},
        state::{self, State},
        sweep::{ABSENT, Exempt, MANIFEST, SILENT, changed, completed, untested},
    },
};

pub const CASE: Case = Case {
    id: "CP-24",
    fault: "each field of both kinds, by their schemas, is changed to another valid value, and back",
    scaled: "valid changes and their removal; invalid values are the API server's to refuse, which other tests look at",
    run: |world| run(world).boxed_local(),
};

/// Longest wait for an effect, and for its end: a rollout of a gateway among it.
const LONGEST: Duration = Duration::from_secs(30);
/// Of so many fields the short form has one.
const SHORT: usize = 6;
/// Of fields that are known to have none it is looked for so long.
const SETTLED: Duration = Duration::from_secs(4);

struct Swept {
    path: String,
    /// Where the effect was seen, none where nowhere.
    effect: Option<String>,
    wrong: Option<String>,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let objects = objects().await?;
    let of = SILENT.len() + ABSENT.len();
    findings.none("fields that are left out without a test elsewhere", of, &untested(&command::repository()));
    for (kind, plural) in [(Kind::AgentPool, "agentpools"), (Kind::Pipeline, "pipelines")] {
        let spec = &objects.iter().find(|(of, ..)| *of == kind).context("the manifest has both kinds")?.2;
        let all = fields(&schema(plural).await?, spec);
        let (there, absent): (Vec<Field>, Vec<Field>) = all.iter().cloned().partition(|field| field.pointer.is_some());
        let absent: Vec<String> = absent
            .into_iter()
            .map(|field| field.path)
            .filter(|path| !ABSENT.iter().any(|exempt| exempt.holds(path)))
            .collect();
        findings.none(&format!("fields of {plural} that the sweep does not have"), all.len(), &absent);
        let there: Vec<Field> = there.into_iter().step_by(if world.short { SHORT } else { 1 }).collect();
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

fn is_silent(path: &str) -> bool {
    SILENT.iter().any(|exempt| exempt.holds(path))
}

fn tell(findings: &mut Findings, plural: &str, swept: Vec<Swept>) {
    let none: Vec<String> = swept
        .iter()
        .filter(|swept| swept.effect.is_none() && swept.wrong.is_none() && !is_silent(&swept.path))
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
    findings.figure(&format!("effects of {plural}, by what they reach"), places.join(", "));
    let told = |exempt: &Exempt| format!("{} ({}; {})", exempt.path, exempt.why, exempt.tested.1);
    let of_kind = SILENT.iter().filter(|exempt| swept.iter().any(|swept| exempt.holds(&swept.path)));
    let unseen: Vec<String> = of_kind.map(told).collect();
    if !unseen.is_empty() {
        findings.figure("not seen in objects", unseen.join(", "));
    }
}

/// The schema of a kind's specification, as the API server has it.
async fn schema(plural: &str) -> Result<Value> {
    let get = ["kubectl", "get", "crd", &format!("{plural}.docket.dev"), "--output", "json"];
    let text = command::run(&get, "").await?.or_fail("read the definitions")?;
    let definition: Value = serde_json::from_str(&text).context("read the definitions")?;
    Ok(of_specification(&definition).clone())
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
        read.push((kind, name, completed(&object["spec"])));
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
    priorities().await?;
    for (kind, name, spec) in objects {
        write(world, &namespace, *kind, name, spec).await?;
    }
    quiet(&operator).await?;
    let (_, name, spec) = objects.iter().find(|(of, ..)| *of == kind).context("the manifest has both kinds")?;
    let base = seen(world, &namespace).await?;
    let mut swept = Vec::new();
    for field in fields {
        let (effect, wrong) = match one(world, &namespace, kind, name, spec, &base, &field).await {
            Ok(effect) => (effect, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        swept.push(Swept { path: field.path, effect, wrong });
    }
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(swept)
}

/// Pods of a class that the cluster does not have are refused.
async fn priorities() -> Result<()> {
    let classes = ["urgent", "urgent2"].map(|name| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 10})
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": classes}).to_string();
    let apply = ["kubectl", "apply", "--server-side", "--filename", "-"];
    command::run(&apply, &list).await?.or_fail("make classes of priority").map(drop)
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
    let changed = changed(spec, field)?;
    let observed = write(world, namespace, kind, name, &changed).await.context("the change is refused")?;
    pass(world, namespace, kind, name, &observed).await?;
    let (mut effect, mut last) = (None, base.clone());
    // That there is no effect is known when a rollout would be over.
    let _ = until("an effect", if is_silent(&field.path) { SETTLED } else { LONGEST }, async || {
        last = seen(world, namespace).await?;
        effect = reach::effect(base, &last);
        Ok(effect.is_some())
    })
    .await;
    let misread = reach::misread(kind, name, base, &last, &changed);
    write(world, namespace, kind, name, spec).await.context("the way back is refused")?;
    let mut left = Vec::new();
    until("the end of the effect", LONGEST, async || {
        left = state::difference(base, &seen(world, namespace).await?);
        Ok(left.is_empty())
    })
    .await
    .with_context(|| left.first().cloned().unwrap_or_default())?;
    misread.map(|()| effect)
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
    reach::note_files(&world.lab.client, namespace, &mut state).await?;
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
