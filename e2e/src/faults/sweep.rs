//! What a sweep over all fields of both kinds changes, and which fields it leaves out. Pure: the operator's tests use it too.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::schema::{Field, another};

/// The objects of the sweep, from the root of the repository.
pub const MANIFEST: &str = "e2e/manifests/fields.yaml";

/// A field that no object of the cluster shows, or that the manifest does not have.
pub struct Exempt {
    /// The field, with all below it.
    pub path: &'static str,
    /// Why it is left out.
    pub why: &'static str,
    /// Where its effect is looked at instead: a file, from the root of the repository, and a test in it.
    pub tested: (&'static str, &'static str),
}

impl Exempt {
    /// Whether it is about this field.
    pub fn holds(&self, path: &str) -> bool {
        path.strip_prefix(self.path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']))
    }
}

/// Fields that no object of the cluster shows.
pub const SILENT: [Exempt; 2] = [
    Exempt {
        path: "deletionPolicy",
        why: "says what a deletion does, and is read then",
        tested: ("e2e/tests/stories/deletion.rs", "a_deleted_pipeline_drains_or_gives_up_as_it_says"),
    },
    Exempt {
        path: "device.fallback",
        why: "says what is built where no node has the device",
        tested: (
            "operator/tests/operator_tests/fallback.rs",
            "a_pool_falls_back_when_its_agents_have_waited_for_the_device_alone",
        ),
    },
];

/// Fields that the manifest does not have.
pub const ABSENT: [Exempt; 3] = [
    Exempt {
        path: "scaling",
        why: "steers decisions, not objects",
        tested: (
            "operator/tests/operator_tests/scaling_settings.rs",
            "each_field_of_the_schema_changes_what_is_decided_by",
        ),
    },
    Exempt {
        path: "results.postgres.passwordEnv",
        why: "stands for passwordFile, of which a pipeline has one",
        tested: (
            "agent-pod/tests/pod_tests/unit/results/postgres/server.rs",
            "a_password_from_a_variable_is_asked_for_by_its_name",
        ),
    },
    Exempt {
        path: "models[].source.openai.apiKeyFile",
        why: "stands for apiKeyEnv, of which a model has one",
        tested: (
            "agent-pod/tests/pod_tests/unit/runtime/providers/requests.rs",
            "a_key_in_a_file_is_read_for_each_request",
        ),
    },
];

/// Exemptions whose test is not there: nobody looks at these fields.
pub fn untested(repository: &Path) -> Vec<String> {
    let is_there = |(file, test): (&str, &str)| {
        let text = std::fs::read_to_string(repository.join(file)).unwrap_or_default();
        text.contains(&format!("fn {test}("))
    };
    let missing = SILENT.iter().chain(&ABSENT).filter(|exempt| !is_there(exempt.tested));
    missing.map(|exempt| format!("{}: there is no {} in {}", exempt.path, exempt.tested.1, exempt.tested.0)).collect()
}

/// A specification of the manifest with what some fields need to have another value: the manifest has as few models, heads,
/// knowledge bases and stages as its own fields need.
pub fn completed(spec: &Value) -> Value {
    let mut spec = spec.clone();
    let mut list = |name: &str| spec.get_mut(name).and_then(Value::as_array_mut).map(std::mem::take);
    let models = list("models").map(|mut models| {
        // First, because of each field the last place is changed.
        models.insert(0, json!({"name": "writer2", "task": "Generate", "source": {"file": "/models/writer2"}}));
        models
    });
    let heads = list("heads").map(|mut heads| {
        heads.push(json!({"name": "kinds2", "kind": "Classifier", "embedder": "embedder"}));
        heads.push(json!({"name": "usual2", "kind": "Anomaly", "embedder": "embedder"}));
        heads
    });
    let knowledge = list("knowledge").map(|mut knowledge| {
        knowledge.push(json!({"name": "notes2", "embedder": "embedder", "uri": "default"}));
        knowledge
    });
    let stages = list("stages").map(|mut stages| {
        stages.push(json!({"name": "find2", "pool": "clerks", "after": ["parse"],
            "retrieve": {"knowledge": "notes2", "query": "{{ document.text }}"}}));
        stages
    });
    for (name, items) in [("models", models), ("heads", heads), ("knowledge", knowledge), ("stages", stages)] {
        if let Some(items) = items {
            spec[name] = json!(items);
        }
    }
    spec
}

/// A completed specification of which one field has another value; a few others go with theirs.
pub fn changed(completed: &Value, field: &Field) -> Result<Value> {
    let mut changed = completed.clone();
    if !together(&field.path, &mut changed) {
        let pointer = field.pointer.as_deref().context("the object has the field")?;
        let place = changed.pointer_mut(pointer).with_context(|| format!("find {pointer}"))?;
        *place = another(place, &field.schema)?;
    }
    ensure!(changed != *completed, "the change changes nothing");
    Ok(changed)
}

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
        "template.priorityClassName" => set("/template/priorityClassName", json!("urgent2")),
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
        "stages[].embed.knowledge" => set("/stages/1/embed/knowledge", json!("notes2")),
        "stages[].retrieve.knowledge" => set("/stages/3/retrieve/knowledge", json!("notes2")),
        "stages[].pool" => set("/stages/10/pool", json!("others")),
        "stages[].fallback[].pool" => set("/stages/7/fallback/0/pool", json!("others")),
        "fallback[].pool" => set("/fallback/0/pool", json!("others")),
        "stages[].fallback[].model" => set("/stages/7/fallback/0/model", json!("writer2")),
        "fallback[].model" => set("/fallback/0/model", json!("writer2")),
        "stages[].embed.model" => set("/stages/2/embed/model", json!("filed")),
        "stages[].cite.model" => set("/stages/8/cite/model", json!("filed")),
        "stages[].cite.sources[]" => {
            set("/stages/8/cite/sources", json!(["find2"]));
            set("/stages/8/after", json!(["draft", "find2"]));
        }
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
        "quality.stage" => {
            set("/quality", json!({"stage": "unusual", "threshold": 0.5, "maxRounds": 1, "restartAt": "parse"}))
        }
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
