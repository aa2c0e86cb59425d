//! Reading files of resources: what is wrong is said with file, line and field, all of it at once.

use std::{collections::BTreeSet, path::Path};

use crate::support::{PIPELINE, POOL, check, only, shown};
use crds::file::{self, Resources};
use serde_json::Value;

const EVERYTHING: &str = include_str!("../fixtures/everything.yaml");

#[test]
fn a_right_file_is_read_whole() {
    let Resources { pools, pipelines } = file::parse("all.yaml", EVERYTHING).expect("the file is right");
    assert_eq!((pools.len(), pipelines.len()), (1, 2));
    assert_eq!((pools[0].name(), pools[0].document, pools[0].file.as_str()), ("readers", 0, "all.yaml"));
    assert_eq!((pipelines[0].name(), pipelines[0].document), ("review", 1));
    assert_eq!(pipelines[0].spec.stages.len(), 11);
}

#[test]
fn every_published_sample_is_right() {
    let folder = Path::new("../config/samples");
    let mut count = 0;
    for entry in folder.read_dir().expect("the samples are there") {
        let sample = entry.expect("an entry").path();
        if sample.extension().is_some_and(|extension| extension == "yaml") {
            let found = file::read(&[sample]).unwrap_or_else(|errors| panic!("{:#?}", shown(&errors)));
            count += found.pipelines.len();
        }
    }
    assert!(count > 0, "no sample holds a pipeline");
}

#[test]
fn every_rule_that_is_broken_is_reported_at_its_field() {
    let one_of = "set exactly one of parse, embed";
    check(PIPELINE, "- name: label\n", "- ▲name: label\n    parse: {}\n", "spec.stages[2]", one_of);
    check(
        PIPELINE,
        "  - name: label\n    pool: readers\n    timeout: 30s\n    classify: {head: licence}\n",
        "  - ▲name: label\n    pool: readers\n",
        "spec.stages[2]",
        one_of,
    );
    check(
        PIPELINE,
        "    classify: {head: licence}",
        "    score: {path: ▲a}\n    classify: {head: licence}",
        "spec.stages[2].score.path",
        "this stage has neither",
    );
    check(PIPELINE, "score: {path: score}", "score: ▲{}", "spec.stages[1].score", "set exactly one of head, path");
    check(
        PIPELINE,
        "{mode: All}",
        "{mode: All, quorum: ▲2}",
        "spec.stages[1].join.quorum",
        "quorum is set exactly when mode is Quorum",
    );
    check(
        PIPELINE,
        "{mode: All}",
        "▲{mode: Quorum}",
        "spec.stages[1].join.quorum",
        "quorum is set exactly when mode is Quorum",
    );
    check(
        PIPELINE,
        "{model: minilm}",
        "▲{model: minilm, knowledge: statutes}",
        "spec.stages[3].embed",
        "set exactly one of model, knowledge",
    );
    check(
        PIPELINE,
        "embedder: minilm\n    chunking",
        "embedder: minilm\n    uri: ▲s3://bucket/statutes\n    chunking",
        "spec.knowledge[0].uri",
        "no address can be used",
    );
    check(PIPELINE, "overlap: 16", "overlap: ▲65", "spec.knowledge[0].chunking.overlap", "at most half");
    check(PIPELINE, "timeout: 30s", "cache: ▲Semantic", "spec.stages[2].cache", "only generate and extract");
    check(
        PIPELINE,
        "spec:\n",
        "spec:\n  results: ▲{anomalyThreshold: 0.5}\n",
        "spec.results",
        "set at least one of table, postgres",
    );
    check(
        PIPELINE,
        "spec:\n",
        "spec:\n  results: {postgres: ▲{url: 'postgres://u@db/r', passwordEnv: A, passwordFile: b}}\n",
        "spec.results.postgres",
        "set at most one of passwordEnv, passwordFile",
    );
    check(
        PIPELINE,
        "spec:\n",
        "spec:\n  results: {table: {uri: ▲s3://bucket/results}}\n",
        "spec.results.table.uri",
        "no address can be used",
    );
    check(
        POOL,
        "{catalog: minilm}",
        "▲{catalog: minilm, file: /m}",
        "spec.models[0].source",
        "set exactly one of catalog, file, http",
    );
    check(POOL, "{catalog: minilm}", "▲{}", "spec.models[0].source", "set exactly one of catalog, file, http");
}

#[test]
fn bounds_and_thresholds_of_scaling_that_contradict_each_other_are_reported_at_their_field() {
    let wrong = |scaling: &str, field: &str, message: &str| {
        let pool = format!("{POOL}  scaling: {scaling}\n");
        check(POOL, POOL, &pool, &format!("spec.scaling.{field}"), message);
    };
    wrong("{minReplicas: ▲5, maxReplicas: 4}", "minReplicas", "not be above maxReplicas");
    wrong("{maxReplicas: 4, queue: {upAt: 5, downAt: ▲5}}", "queue.downAt", "downAt must be below upAt");
    wrong("{maxReplicas: 4, queue: {cpu: {up: 0.2, down: ▲0.3}}}", "queue.cpu.down", "down must be below up");
    let window = |from: &str, to: &str, min: &str| {
        format!(
            "{{maxReplicas: 4, schedule: [{{days: [Sat], from: '{from}', to: {to}, minReplicas: {min}, maxReplicas: 2}}]}}"
        )
    };
    wrong(&window("08:00", "'18:00'", "▲3"), "schedule[0].minReplicas", "not be above maxReplicas");
    wrong(&window("08:00", "▲'08:00'", "1"), "schedule[0].to", "from 00:00 to 24:00");
    wrong(&window("08:00", "▲'24:30'", "1"), "schedule[0].to", "does not match");
    wrong("▲{minReplicas: 1}", "maxReplicas", "is missing");
}

#[test]
fn a_pool_for_cpus_asks_for_no_resource_of_gpus() {
    let pool = format!("{POOL}  device: {{resource: ▲nvidia.com/gpu}}\n");
    check(POOL, POOL, &pool, "spec.device.resource", "whose kind is Gpu");
    let pool = format!("{POOL}  device: {{fallback: ▲Cpu}}\n");
    check(POOL, POOL, &pool, "spec.device.fallback", "for pools whose kind is Gpu");
}

#[test]
fn what_is_the_clusters_own_or_an_option_is_reported_at_its_field() {
    let pool = format!("{POOL}  template: {{priorityClassName: ▲system-node-critical}}\n");
    check(POOL, POOL, &pool, "spec.template.priorityClassName", "are for the cluster itself");
    check(POOL, "{catalog: minilm}", "{catalog: ▲--models=/etc}", "spec.models[0].source.catalog", "");
}

#[test]
fn a_rule_about_labels_has_values_where_its_operator_compares_them() {
    let wrong = |rule: &str, path: &str| {
        let pool = format!("{POOL}  template: {{affinity: {{required: [{rule}]}}}}\n");
        check(POOL, POOL, &pool, path, "belong to the operators In and NotIn");
    };
    let path = "spec.template.affinity.required[0].values";
    wrong("{key: zone, operator: Exists, values: ▲[a]}", path);
    wrong("▲{key: zone, operator: In}", path);
    let pool = format!("{POOL}  device: {{kind: Gpu, memoryFraction: ▲0.01}}\n");
    check(POOL, POOL, &pool, "spec.device.memoryFraction", "0.05");
}

#[test]
fn a_map_has_no_more_fields_than_the_schema_allows() {
    let labels: String = (0..17).map(|number| format!("l{number}: a, ")).collect();
    let pool = format!("{POOL}  device: {{nodeSelector: ▲{{{labels}}}}}\n");
    check(POOL, POOL, &pool, "spec.device.nodeSelector", "holds 17 fields, at most 16 are allowed");
}

#[test]
fn rules_of_models_of_others_are_reported_at_their_fields() {
    let model = |fields: &str| format!("▲name: minilm\n    task: Embed\n    {fields}");
    let written = "name: minilm\n    task: Embed\n    source: {catalog: minilm}";
    let openai = "source: {openai: {baseUrl: 'https://models.example/v1', model: m, dimensions: 8}}";
    let held = "are for models that the agent holds itself";
    check(POOL, written, &model(&format!("{openai}\n    dtype: F32")), "spec.models[0]", held);
    check(POOL, written, &model(&format!("{openai}\n    contextTokens: 64")), "spec.models[0]", held);
    let without = openai.replace(", dimensions: 8", "");
    check(POOL, written, &model(&without), "spec.models[0]", "dimensions is set exactly when the task is Embed");
    let two_keys = "source: {openai: ▲{baseUrl: 'https://models.example/v1', model: m, dimensions: 8, apiKeyEnv: A, apiKeyFile: b}}";
    check(POOL, "source: {catalog: minilm}", two_keys, "spec.models[0].source.openai", "set at most one of apiKeyEnv");
    for address in
        ["ftp://models.example", "https://user:key@models.example/v1", "https://models.example/v1?key=a", "https://"]
    {
        let source = format!("source: {{openai: {{baseUrl: ▲'{address}', model: m, dimensions: 8}}}}");
        check(POOL, "source: {catalog: minilm}", &source, "spec.models[0].source.openai.baseUrl", "");
    }
}

#[test]
fn rules_of_fallbacks_and_budgets_are_reported_at_their_fields() {
    let one = "set either constant, or model, pool or both";
    for fallback in ["{}", "{model: m, constant: {a: 1}}", "{pool: p, constant: {a: 1}}"] {
        let written = format!("  fallback: [▲{fallback}]\n  stages:\n");
        check(PIPELINE, "  stages:\n", &written, "spec.fallback[0]", one);
        let written = format!("    timeout: 30s\n    fallback: [▲{fallback}]\n");
        check(PIPELINE, "    timeout: 30s\n", &written, "spec.stages[2].fallback[0]", one);
    }
    check(PIPELINE, "  stages:\n", "  budget: ▲{}\n  stages:\n", "spec.budget", "set tokens, cost or both");
}

#[test]
fn rules_see_the_defaults_of_fields_that_are_not_written() {
    check(
        PIPELINE,
        "{tokens: 128, overlap: 16}",
        "{overlap: ▲65}",
        "spec.knowledge[0].chunking.overlap",
        "at most half",
    );
    check(PIPELINE, "{mode: All}", "{quorum: ▲2}", "spec.stages[1].join.quorum", "mode is Quorum");
}

#[test]
fn an_unknown_field_is_an_error_with_the_nearest_known_one() {
    check(PIPELINE, "generate:", "▲genrate:", "spec.stages[1].genrate", "did you mean \"generate\"?");
    check(PIPELINE, "maxTokens", "▲max_tokens", "spec.stages[1].generate.max_tokens", "did you mean \"maxTokens\"?");
    check(PIPELINE, "maxTokens", "▲maxtokens", "spec.stages[1].generate.maxtokens", "did you mean \"maxTokens\"?");
    check(PIPELINE, "spec:", "▲status: {}\nspec:", "status", "unknown field");
    check(PIPELINE, "  name: review", "  name: review\n  ▲label: {}", "metadata.label", "did you mean \"labels\"?");
    check(
        PIPELINE,
        "{head: licence}",
        "{head: licence, ▲wholly-other: 1}",
        "spec.stages[2].classify.wholly-other",
        "known here: head",
    );
}

#[test]
fn a_misspelt_field_does_not_also_count_as_a_broken_rule() {
    let errors = file::parse("f", &PIPELINE.replace("classify:", "clasify:")).expect_err("it is wrong");
    assert_eq!(shown(&errors), ["f:25:5: spec.stages[2].clasify: unknown field; did you mean \"classify\"?"]);
}

#[test]
fn wrong_types_are_named() {
    check(
        PIPELINE,
        "maxTokens: 100",
        "maxTokens: ▲many",
        "spec.stages[1].generate.maxTokens",
        "must be a whole number, not the text \"many\"",
    );
    check(
        PIPELINE,
        "maxTokens: 100",
        "maxTokens: ▲1.5",
        "spec.stages[1].generate.maxTokens",
        "must be a whole number, not the number 1.5",
    );
    check(PIPELINE, "after: [research]", "after: ▲research", "spec.stages[1].after", "must be a list, not the text");
    check(PIPELINE, "prompt: Write.", "prompt: ▲12", "spec.stages[1].generate.prompt", "put it in quotes");
    check(PIPELINE, "{head: licence}", "▲[licence]", "spec.stages[2].classify", "must be a map of fields, not a list");
    check(PIPELINE, "[research]", "[▲null]", "spec.stages[1].after[0]", "must be text, not null");
    check(
        PIPELINE,
        "timeout: 30s",
        "optional: ▲\"yes\"",
        "spec.stages[2].optional",
        "must be true or false, not the text \"yes\"",
    );
}

#[test]
fn bounds_patterns_and_names_are_checked() {
    check(PIPELINE, "maxTokens: 100", "maxTokens: ▲0", "spec.stages[1].generate.maxTokens", "0 is less than 1");
    check(
        PIPELINE,
        "maxTokens: 100",
        "maxTokens: ▲32769",
        "spec.stages[1].generate.maxTokens",
        "32769 is more than 32768",
    );
    check(PIPELINE, "timeout: 30s", "timeout: ▲30", "spec.stages[2].timeout", "must be text");
    check(
        PIPELINE,
        "timeout: 30s",
        "timeout: ▲30 s",
        "spec.stages[2].timeout",
        "\"30 s\" is not a duration; write for example 250ms, 60s, 10m or 1h30m, or Adaptive",
    );
    check(PIPELINE, "name: draft", "name: ▲Draft_1", "spec.stages[1].name", "\"Draft_1\" is not a name");
    check(
        PIPELINE,
        "{mode: All}",
        "{mode: ▲Al}",
        "spec.stages[1].join.mode",
        "\"Al\" is not one of All, Any, Quorum; did you mean \"All\"?",
    );
    check(PIPELINE, "prompt: Write.", "prompt: ▲\"\"", "spec.stages[1].generate.prompt", "must not be empty");
}

#[test]
fn names_in_lists_are_unique() {
    check(
        PIPELINE,
        "name: draft",
        "name: ▲research",
        "spec.stages[1].name",
        "\"research\" occurs twice; first as spec.stages[0].name in line 11",
    );
    check(PIPELINE, "[research]", "[research, ▲research]", "spec.stages[1].after[1]", "\"research\" occurs twice");
}

#[test]
fn missing_fields_are_reported_at_the_field_around_them() {
    check(PIPELINE, "{head: licence}", "▲{}", "spec.stages[2].classify.head", "is missing");
    check(PIPELINE, "  - name: draft\n    pool: writers\n", "  - ▲name: draft\n", "spec.stages[1].pool", "is missing");
}

#[test]
fn metadata_needs_a_name_that_is_a_label() {
    check(PIPELINE, "metadata:\n  name: review\n", "metadata: ▲{}\n", "metadata.name", "is missing");
    check(PIPELINE, "name: review", "name: ▲Review", "metadata.name", "\"Review\" is not a name");
    check(PIPELINE, "name: review", "name: ▲a.b", "metadata.name", "is not a name");
    check(
        PIPELINE,
        "name: review",
        &format!("name: ▲{}", "a".repeat(64)),
        "metadata.name",
        "64 characters long, at most 63",
    );
}

#[test]
fn kind_and_version_must_be_known() {
    check(PIPELINE, "kind: Pipeline", "kind: ▲Pipelin", "kind", "did you mean \"Pipeline\"?");
    check(PIPELINE, "kind: Pipeline", "kind: ▲ConfigMap", "kind", "\"ConfigMap\" is not one of AgentPool, Pipeline");
    check(PIPELINE, "docket.dev/v1alpha1", "▲docket.dev/v1", "apiVersion", "write docket.dev/v1alpha1");
    check(PIPELINE, "apiVersion: docket.dev/v1alpha1\nkind: Pipeline", "▲kind: Pipeline", "apiVersion", "is missing");
    check(PIPELINE, "kind: Pipeline", "kind: ▲7", "kind", "must be text, not the number 7");
}

#[test]
fn null_counts_as_not_written() {
    let pipeline = PIPELINE.replace("timeout: 30s", "timeout: null").replace("{mode: All}", "~");
    let resources = file::parse("f", &pipeline).expect("it is right");
    assert!(
        resources.pipelines[0].spec.stages[1].join.is_none() && resources.pipelines[0].spec.stages[2].timeout.is_none()
    );
}

#[test]
fn keys_must_not_repeat() {
    check(
        PIPELINE,
        "      maxTokens: 100\n",
        "      maxTokens: 100\n      ▲maxTokens: 200\n",
        "spec.stages[1].generate.maxTokens",
        "is written twice; first in line 20",
    );
}

#[test]
fn all_errors_of_all_documents_are_reported_in_order() {
    let text = format!(
        "{}---\n{}---\n- not a resource\n",
        POOL.replace("Embed", "Embd"),
        PIPELINE
            .replace("genrate", "x")
            .replace("maxTokens: 100", "maxTokens: 0")
            .replace("overlap: 16", "overlap: 100")
            .replace("30s", "soon")
    );
    let errors = file::parse("many.yaml", &text).expect_err("it is wrong");
    assert_eq!(
        errors.iter().map(|error| (error.line, error.field.as_str())).collect::<Vec<_>>(),
        [
            (8, "spec.models[0].task"),
            (19, "spec.knowledge[0].chunking.overlap"),
            (30, "spec.stages[1].generate.maxTokens"),
            (34, "spec.stages[2].timeout"),
            (40, ""),
        ],
        "{:#?}",
        shown(&errors)
    );
    assert!(errors[4].message.contains("a resource is a map of fields, this is a list"));
}

#[test]
fn positions_are_those_of_fields_or_of_the_nearest_field_around() {
    let resources = file::parse("f", PIPELINE).expect("it is right");
    let pipeline = &resources.pipelines[0];
    for (field, place) in [
        ("", (1, 1)),
        ("metadata.name", (4, 9)),
        ("spec", (5, 1)),
        ("spec.stages", (10, 3)),
        ("spec.stages[1]", (14, 5)),
        ("spec.stages[1].after[0]", (16, 13)),
        ("spec.stages[1].after[9]", (16, 12)),
        ("spec.stages[1].generate", (18, 5)),
        ("spec.stages[1].generate.stop", (18, 5)),
        ("spec.stages[9].after[0]", (10, 3)),
        ("spec.quality.stage", (5, 1)),
    ] {
        assert_eq!(pipeline.position(field), place, "{field}");
    }
    let error = pipeline.error("spec.stages[1].after[0]", "\"drft\" is not a stage; did you mean \"draft\"?");
    assert_eq!(error.to_string(), "f:16:13: spec.stages[1].after[0]: \"drft\" is not a stage; did you mean \"draft\"?");
}

#[test]
fn keys_with_dots_have_positions_too() {
    let text = PIPELINE.replace("  name: review", "  name: review\n  annotations:\n    docket.dev/owner: legal");
    let resources = file::parse("f", &text).expect("it is right");
    assert_eq!(resources.pipelines[0].position("metadata.annotations[\"docket.dev/owner\"]"), (6, 23));
}

/// The paths of all maps of an object whose fields are known, `metadata` apart.
fn maps(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            // A JSON schema and a constant may hold anything.
            if path.ends_with(".schema") || path.ends_with(".constant") {
                return;
            }
            found.push(path.to_owned());
            for (name, value) in fields.iter().filter(|(name, _)| *name != "metadata") {
                maps(value, &format!("{path}.{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| maps(item, &format!("{path}[{index}]"), found));
        }
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    let pointer = path.replace(['.', '['], "/").replace(']', "");
    value.pointer_mut(&pointer).expect("the path exists")
}

#[test]
fn an_unknown_field_is_found_at_every_level() {
    let resources = file::parse("f", EVERYTHING).expect("the file is right");
    let mut objects = vec![serde_json::to_value(&resources.pools[0].resource).expect("plain data")];
    objects.push(serde_json::to_value(&resources.pipelines[0].resource).expect("plain data"));
    let mut levels = BTreeSet::new();
    for object in objects {
        let mut paths = Vec::new();
        maps(&object, "", &mut paths);
        // A map of labels has fields of any name.
        for path in paths.into_iter().filter(|path| !path.ends_with("nodeSelector")) {
            let mut wrong = object.clone();
            at(&mut wrong, &path)["nonsense"] = 1.into();
            let text = serde_json::to_string_pretty(&wrong).expect("plain data");
            let error = only(&text);
            let line = text.lines().position(|line| line.contains("nonsense")).expect("it is there") + 1;
            let field = format!("{path}.nonsense");
            assert_eq!((error.line, error.field.as_str()), (line, field.trim_start_matches('.')), "{error}");
            assert!(error.message.starts_with("unknown field"), "{error}");
            levels.insert(path.split(|c: char| c.is_ascii_digit()).collect::<String>());
        }
    }
    assert!(levels.len() > 30, "{levels:#?}");
}
