//! The schema of the API: documented, bounded, fresh on disk, and checked locally in every respect.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use crds::{AgentPoolSpec, Batching, Pipeline, Profile, Span, file};
use kube::core::cel::{ScopeContext, analyze_rule, apply_defaults, compile_schema};
use serde_json::{Value, json};

const EVERYTHING: &str = include_str!("../fixtures/everything.yaml");

/// The schemas of both kinds.
fn schemas() -> [Value; 2] {
    crds::definitions().map(|definition| {
        let schema = definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        serde_json::to_value(schema.expect("it has a schema")).expect("plain data")
    })
}

/// Calls `visit` for each schema below and with its path, lists as `[]`.
fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(child, &format!("{path}.{name}"), visit);
    }
    if let Some(items) = schema.get("items") {
        walk(items, &format!("{path}[]"), visit);
    }
}

fn all(mut visit: impl FnMut(&str, &Value)) {
    for schema in schemas() {
        walk(&schema["properties"]["spec"], "spec", &mut visit);
    }
}

#[test]
fn the_committed_definitions_are_fresh() {
    let folder = Path::new("../config/crd");
    let mut written = BTreeSet::new();
    for definition in crds::definitions() {
        let (name, text) = crds::manifest(&definition);
        let committed = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(committed == text, "config/crd/{name} is stale; run `cargo run -p crds`");
        assert_eq!(text, crds::manifest(&definition).1, "the text is the same each time");
        written.insert(name);
    }
    let mut there: BTreeSet<_> = fs::read_dir(folder)
        .expect("config/crd is there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(there.remove("kustomization.yaml"), "it lists the definitions for kustomize");
    assert_eq!(there, written);
    assert_eq!(there.iter().collect::<Vec<_>>(), ["agentpools.docket.dev.yaml", "pipelines.docket.dev.yaml"]);
}

#[test]
fn the_committed_text_says_what_the_definition_says() {
    for definition in crds::definitions() {
        let (_, text) = crds::manifest(&definition);
        let read: Value = serde_saphyr::from_str(&text).expect("it is YAML");
        let definition = serde_json::to_value(&definition).expect("plain data");
        assert_eq!(with_floats(read), with_floats(definition));
    }
}

/// `1` and `1.0` are the same bound.
fn with_floats(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => return json!(number.as_f64()),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = with_floats(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = with_floats(field.take())),
        _ => {}
    }
    value
}

#[test]
fn the_kinds_have_their_names() {
    let names = crds::definitions().map(|definition| {
        let names = definition.spec.names;
        (names.kind, names.plural, names.short_names.unwrap_or_default(), names.categories.unwrap_or_default())
    });
    let expected = [("AgentPool", "agentpools", "agp"), ("Pipeline", "pipelines", "dpl")];
    assert_eq!(
        names,
        expected.map(|(kind, plural, short)| (kind.into(), plural.into(), vec![short.into()], vec!["docket".into()]))
    );
}

#[test]
fn every_field_is_documented() {
    all(|path, schema| {
        // An item's words are those of its list.
        let described = schema["description"].as_str().is_some_and(|text| text.len() > 3);
        assert!(described || path.ends_with("[]"), "{path} has no description");
    });
}

#[test]
fn every_field_and_every_choice_is_in_the_manual() {
    let manual = fs::read_to_string("../docs/pipeline.md").expect("the manual");
    let words: BTreeSet<&str> = manual.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).collect();
    all(|path, schema| {
        let field = path.rsplit('.').next().unwrap_or(path).trim_end_matches("[]");
        assert!(words.contains(field), "docs/pipeline.md does not name {path}");
        for choice in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(words.contains(choice), "docs/pipeline.md does not name {choice} of {path}");
        }
    });
}

#[test]
fn what_a_field_says_of_its_default_reaches_the_schema() {
    let mut said = BTreeSet::new();
    all(|path, schema| {
        if schema["description"].as_str().is_some_and(|text| text.contains("Default: ")) {
            said.insert(path.to_owned());
        }
    });
    for field in ["models[].dtype", "concurrency", "stages[].cache", "stages[].join", "stages[].parse.maxBytes"] {
        assert!(said.contains(&format!("spec.{field}")), "{field}: {said:#?}");
    }
}

#[test]
fn every_list_text_and_number_is_bounded() {
    all(|path, schema| match schema["type"].as_str() {
        Some("string") => assert!(schema["maxLength"].is_u64() || schema["enum"].is_array(), "{path}: {schema}"),
        Some("array") => assert!(schema["maxItems"].is_u64(), "{path}: {schema}"),
        Some("integer" | "number") => {
            assert!(schema["minimum"].is_number() && schema["maximum"].is_number(), "{path}: {schema}");
        }
        Some("boolean") => {}
        Some("object") => {
            if let Some(values) = schema.get("additionalProperties") {
                assert!(schema["maxProperties"].is_u64() && values["maxLength"].is_u64(), "{path}: {schema}");
            }
        }
        other => panic!("{path} has the type {other:?}"),
    });
}

#[test]
fn the_schema_says_nothing_that_reading_a_file_does_not_check() {
    let checked = [
        "type",
        "description",
        "default",
        "enum",
        "required",
        "properties",
        "items",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "maxProperties",
        "additionalProperties",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    all(|path, schema| {
        for (keyword, value) in schema.as_object().expect("a schema is a map") {
            // A float's width is no condition on what is written.
            let known = checked.contains(&keyword.as_str()) || (keyword == "format" && value == "double");
            assert!(known, "{path}: {keyword}: {value}");
        }
    });
}

#[test]
fn rules_use_only_what_every_cel_has_and_cost_little() {
    let mut rules = BTreeSet::new();
    all(|path, schema| {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let text = rule["rule"].as_str().expect("a rule has a text");
            assert!(rule["message"].is_string(), "{path}: {text}");
            let warnings = analyze_rule(text, &compile_schema(schema), ScopeContext::CrdValidation);
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
            let foreign: String = text.replace("has(", "").replace("self.", "");
            let plain = |c: char| c.is_ascii_alphanumeric() || "' .()?:+*!&|=<>/-".contains(c);
            assert!(foreign.chars().all(plain) && !foreign.contains(".("), "{path}: {text}");
            assert!(!text.contains('\n'), "{path}: {text}");
            if let Some(field) = rule["fieldPath"].as_str() {
                let pointer = field.replace('.', "/properties/");
                assert!(
                    schema.pointer(&pointer).is_some(),
                    "{path}: the API server refuses {field}, which does not exist"
                );
            }
            rules.insert(text.to_owned());
        }
    });
    // Each of them is broken by a test in crds_file.
    assert_eq!(rules.len(), 25, "{rules:#?}");
}

#[test]
fn keys_of_lists_are_required() {
    all(|path, schema| {
        if schema["x-kubernetes-list-type"] == "map" {
            let required = schema["items"]["required"].as_array().expect("items have required fields");
            let keys = schema["x-kubernetes-list-map-keys"].as_array().expect("a list-map has keys");
            assert!(keys.iter().all(|key| required.contains(key)), "{path}");
        }
    });
}

/// The resources of the fixture as JSON, pool first; the last one writes what cannot stand beside another field.
fn everything() -> [Value; 3] {
    let resources = file::parse("everything.yaml", EVERYTHING).unwrap_or_else(|errors| panic!("{errors:#?}"));
    [
        serde_json::to_value(&resources.pools[0].resource).expect("plain data"),
        serde_json::to_value(&resources.pipelines[0].resource).expect("plain data"),
        serde_json::to_value(&resources.pipelines[1].resource).expect("plain data"),
    ]
}

/// The first place of each schema path in an object: path of the schema, path in the object.
fn written(schema: &Value, value: &Value, path: &str, concrete: &str, found: &mut Vec<(String, String, Value)>) {
    if !found.iter().any(|(known, ..)| known == path) {
        found.push((path.to_owned(), concrete.to_owned(), schema.clone()));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            written(child, value, &format!("{path}.{name}"), &format!("{concrete}.{name}"), found);
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        written(&schema["items"], item, &format!("{path}[]"), &format!("{concrete}[{index}]"), found);
    }
}

/// All fields of each object of the fixture with the object.
fn fields() -> Vec<(Value, Vec<(String, String, Value)>)> {
    let [pool, pipeline] = schemas();
    let each = [pool, pipeline.clone(), pipeline].into_iter().zip(everything());
    each.map(|(schema, object)| {
        let mut found = Vec::new();
        written(&schema["properties"]["spec"], &object["spec"], "spec", "spec", &mut found);
        (object, found)
    })
    .collect()
}

#[test]
fn the_fixture_writes_every_field() {
    let written: BTreeSet<_> = fields().into_iter().flat_map(|(_, found)| found).map(|(path, ..)| path).collect();
    let mut known = BTreeSet::new();
    all(|path, _| {
        known.insert(path.to_owned());
    });
    assert_eq!(known.difference(&written).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(known.len() > 100, "{}", known.len());
}

#[test]
fn every_field_is_written_again_as_it_was_read() {
    for object in everything() {
        let text = serde_saphyr::to_string(&object).expect("plain data");
        let again = file::parse("again.yaml", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let again = match again.pools.first() {
            Some(pool) => serde_json::to_value(&pool.resource),
            None => serde_json::to_value(&again.pipelines[0].resource),
        };
        assert_eq!(again.expect("plain data"), object);
    }
    // What was written is still there: nothing is lost on the way in.
    let mut documents = EVERYTHING.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
    for object in everything() {
        contains(&object, &documents.next().expect("a document for each"), "");
    }
}

fn contains(object: &Value, part: &Value, path: &str) {
    match part {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, part)| contains(&object[name], part, &format!("{path}.{name}")))
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(index, part)| contains(&object[index], part, &format!("{path}[{index}]")));
        }
        scalar => assert_eq!(object, scalar, "{path}"),
    }
}

/// Values that a schema forbids, with what the message says.
fn forbidden(schema: &Value, value: &Value) -> Vec<(Value, &'static str)> {
    let mut wrong = vec![match schema["type"].as_str() {
        Some("string") => (json!(5), "must be text"),
        Some("boolean") => (json!("true"), "must be true or false"),
        Some("object") => (json!([]), "must be a map of fields"),
        Some("array") => (json!({}), "must be a list"),
        Some("integer") => (json!(20.5), "must be a whole number"),
        _ => (json!("5"), "must be a number"),
    }];
    if let (Some(least), Some(most)) = (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        let whole = |number: f64| if schema["type"] == "integer" { json!(number as i64) } else { json!(number) };
        wrong.push((whole(least - 1.0), "the least that is allowed"));
        wrong.push((whole(most + 1.0), "the most that is allowed"));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        wrong.push((json!("a".repeat(most as usize + 1)), "characters long, at most"));
    }
    if let Some(least @ 1..) = schema["minLength"].as_u64() {
        wrong.push((json!(""), "must not be empty"));
        if least > 1 {
            wrong.push((json!("a".repeat(least as usize - 1)), "characters long, at least"));
        }
    }
    if schema["pattern"].is_string() {
        let length = schema["minLength"].as_u64().unwrap_or(1).max(1);
        wrong.push((json!("?".repeat(length as usize)), "\"?"));
    }
    if schema["enum"].is_array() {
        wrong.push((json!("Nonsense"), "is not one of"));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        wrong.push((json!(vec![value[0].clone(); most as usize + 1]), "items, at most"));
    }
    if schema["minItems"].as_u64().is_some_and(|least| least > 0) {
        wrong.push((json!([]), "items, at least"));
    }
    wrong
}

fn pointer(path: &str) -> String {
    format!("/{}", path.replace(['.', '['], "/").replace(']', ""))
}

#[test]
fn every_type_and_bound_of_every_field_is_checked() {
    let mut count = 0;
    for (object, found) in fields() {
        for (path, concrete, schema) in found {
            let value = object.pointer(&pointer(&concrete)).expect("the field is written");
            for (wrong, message) in forbidden(&schema, value) {
                let mut changed = object.clone();
                *changed.pointer_mut(&pointer(&concrete)).expect("the field is written") = wrong.clone();
                let text = serde_json::to_string(&changed).expect("plain data");
                let errors = file::parse("f", &text).err().unwrap_or_default();
                let said = errors.iter().any(|error| error.field == concrete && error.message.contains(message));
                assert!(said, "{path}: {message:?} is not said of {wrong}: {errors:#?}");
                count += 1;
            }
        }
    }
    assert!(count > 250, "{count}");
}

#[test]
fn every_required_field_is_missed() {
    for (object, found) in fields() {
        for (_, concrete, schema) in found {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let mut changed = object.clone();
                let around = changed.pointer_mut(&pointer(&concrete)).and_then(Value::as_object_mut).expect("a map");
                around.remove(name);
                let text = serde_json::to_string(&changed).expect("plain data");
                let errors = file::parse("f", &text).err().unwrap_or_default();
                let field = format!("{concrete}.{name}");
                let said = errors.iter().any(|error| error.field == field && error.message == "is missing");
                assert!(said, "{field}: {errors:#?}");
            }
        }
    }
}

#[test]
fn defaults_of_the_schema_are_right_and_those_of_the_types() {
    let minimal = json!({
        "apiVersion": "docket.dev/v1alpha1", "kind": "Pipeline", "metadata": {"name": "p"},
        "spec": {
            "knowledge": [{"name": "k", "embedder": "e"}],
            "quality": {"stage": "a", "threshold": 0.5, "restartAt": "a"},
            "stages": [
                {"name": "a", "pool": "p", "generate": {"prompt": "x"}, "join": {}, "retry": {"backoff": {}}},
                {"name": "b", "pool": "p", "retrieve": {"knowledge": "k", "query": "q"}},
                {"name": "c", "pool": "p", "extract": {"schema": {}}},
                {"name": "d", "pool": "p", "cite": {"text": "t"}},
                {"name": "e", "pool": "p", "transform": {"template": "t"}},
                {"name": "f", "pool": "p", "approve": {}},
            ],
            "results": {"table": {}},
        },
    });
    let [_, schema] = schemas();
    let parse = |object: &Value| -> Pipeline {
        let text = serde_json::to_string(object).expect("plain data");
        let resources = file::parse("f", &text).unwrap_or_else(|errors| panic!("{errors:#?}"));
        resources.pipelines[0].resource.clone()
    };
    let defaulted = apply_defaults(&schema, &minimal);
    assert_ne!(defaulted, minimal);
    assert_eq!(parse(&defaulted), parse(&minimal), "the API server and the types fill in the same");
}

#[test]
fn a_profile_decides_what_is_not_written() {
    let effective = |profile| {
        let spec = AgentPoolSpec { profile, ..empty_pool() };
        let effective = spec.effective();
        (effective.concurrency, effective.max_batch, effective.max_wait, effective.token_budget)
    };
    assert_eq!(effective(Profile::Balanced), (8, 32, Duration::ZERO, None));
    assert_eq!(effective(Profile::HighThroughput), (16, 64, Duration::ZERO, None));
    assert_eq!(effective(Profile::LowMemory), (2, 8, Duration::ZERO, None));
}

#[test]
fn each_field_that_is_written_overrides_its_default_alone() {
    for profile in [Profile::Balanced, Profile::HighThroughput, Profile::LowMemory] {
        let pool = AgentPoolSpec { profile, ..empty_pool() };
        let defaults = pool.effective();
        let concurrency = AgentPoolSpec { concurrency: Some(3), ..pool.clone() }.effective();
        assert_eq!(concurrency, crds::EffectivePool { concurrency: 3, ..defaults });
        let batching = |batching| AgentPoolSpec { batching, ..pool.clone() }.effective();
        let none = Batching::default();
        let max_batch = batching(Batching { max_batch: Some(5), ..none.clone() });
        assert_eq!(max_batch, crds::EffectivePool { max_batch: 5, ..defaults });
        let wait = Duration::from_millis(7);
        let max_wait = batching(Batching { max_wait: Some(Span(wait)), ..none.clone() });
        assert_eq!(max_wait, crds::EffectivePool { max_wait: wait, ..defaults });
        let budget = batching(Batching { token_budget: Some(99), ..none });
        assert_eq!(budget, crds::EffectivePool { token_budget: Some(99), ..defaults });
    }
}

fn empty_pool() -> AgentPoolSpec {
    serde_json::from_value(json!({})).expect("no field of a pool is required")
}
