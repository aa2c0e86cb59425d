//! What compiles, what does not and why, and what changes a digest.

use crate::flow_support::{plan, pools, spec, stage};
use flow::{Plan, Problem, compile};
use serde_json::{Value, json};

fn problems(written: Value) -> Vec<Problem> {
    compile("contracts", 1, &spec(written), &pools()).expect_err("the pipeline has problems")
}

/// The pipeline has exactly these problems: field, reason, a part of the message.
fn check(written: Value, expected: &[(&str, &str, &str)]) {
    let found = problems(written);
    let seen: Vec<(&str, &str)> = found.iter().map(|problem| (problem.field.as_str(), problem.reason)).collect();
    let wanted: Vec<(&str, &str)> = expected.iter().map(|(field, reason, _)| (*field, *reason)).collect();
    assert_eq!(seen, wanted, "{found:#?}");
    for (problem, (_, _, part)) in found.iter().zip(expected) {
        assert!(problem.message.contains(part), "\"{}\" says nothing of \"{part}\"", problem.message);
    }
}

fn stages(stages: &[Value]) -> Value {
    json!({"stages": stages})
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.stages().iter().map(|stage| stage.name.as_str()).collect()
}

/// The pipeline of the design, in small.
fn review_pipeline() -> Value {
    json!({
        "knowledge": [{"name": "statutes", "embedder": "minilm"}],
        "heads": [{"name": "validity", "kind": "Classifier", "embedder": "minilm"},
                  {"name": "oddness", "kind": "Anomaly", "embedder": "minilm"}],
        "stages": [
            {"name": "citations", "pool": "readers", "after": ["review", "validate"], "join": {"timeout": "60s"},
             "cite": {"text": "{{ stages.draft.output }}", "sources": ["research"]}},
            {"name": "research", "pool": "readers", "retrieve": {"knowledge": "statutes", "query": "x"}},
            {"name": "draft", "pool": "writers", "after": ["research"], "timeout": "1m", "generate": {"prompt": "x"}},
            {"name": "review", "pool": "writers", "after": ["draft"], "generate": {"prompt": "x"},
             "score": {"path": "score"}, "retry": {"maxAttempts": 5}},
            {"name": "validate", "pool": "readers", "after": ["draft"], "classify": {"head": "validity"}},
            {"name": "odd", "pool": "readers", "after": ["research"], "score": {"head": "oddness"}},
        ],
        "quality": {"stage": "review", "threshold": 0.8, "restartAt": "draft"},
        "deadline": "10m",
    })
}

#[test]
fn stages_come_in_an_order_that_respects_the_graph() {
    let plan = plan(review_pipeline());
    assert_eq!(names(&plan), ["research", "draft", "review", "validate", "citations", "odd"]);
    let draft = plan.stage("draft").expect("there is a draft");
    assert_eq!(draft.predecessors, ["research"]);
    assert_eq!(draft.successors, ["review", "validate"]);
    let repeated: Vec<&str> = plan.stages().iter().filter(|stage| stage.repeats).map(|s| s.name.as_str()).collect();
    assert_eq!(repeated, ["draft", "review", "validate", "citations"]);
}

#[test]
fn defaults_of_the_pipeline_reach_the_stages() {
    let plan = plan(review_pipeline());
    let of = |name: &str| plan.stage(name).map(|stage| (stage.retry.max_attempts, stage.timeout.as_secs()));
    assert_eq!(of("research"), Some((3, 300)));
    assert_eq!(of("draft"), Some((3, 60)));
    assert_eq!(of("review"), Some((5, 300)));
    assert_eq!(of("nowhere"), None);
}

#[test]
fn an_adaptive_time_out_holds_for_stages_that_set_none() {
    let mut written = review_pipeline();
    let of = |written: &Value, name: &str| {
        let plan = plan(written.clone());
        plan.stage(name).map(|stage| (stage.timeout.as_secs(), stage.adaptive))
    };
    assert_eq!(of(&written, "research"), Some((300, false)));
    written["stageTimeout"] = json!("Adaptive");
    assert_eq!(of(&written, "research"), Some((300, true)), "until enough is known");
    assert_eq!(of(&written, "draft"), Some((60, false)), "it sets its own");
    written["stageTimeout"] = json!("90s");
    written["stages"][2]["timeout"] = json!("Adaptive");
    assert_eq!((of(&written, "research"), of(&written, "draft")), (Some((90, false)), Some((300, true))));
}

#[test]
fn a_stage_finds_its_model_by_name_by_default_and_through_what_it_refers_to() {
    let plan = plan(review_pipeline());
    let model = |name: &str| plan.model(name).map(|model| model.name.as_str());
    for (stage, expected) in [
        ("research", Some("minilm")),
        ("draft", Some("small")),
        ("validate", Some("minilm")),
        ("odd", Some("minilm")),
        ("citations", Some("minilm")),
        ("nowhere", None),
    ] {
        assert_eq!(model(stage), expected, "{stage}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let written = stages(&[
        stage("a", &[], json!({"pool": "raeders"})),
        stage("b", &["aa", "b"], json!({"join": {"mode": "Quorum", "quorum": 3}})),
    ]);
    check(
        written,
        &[
            ("spec.stages[1].after[0]", "UnknownStage", "did you mean \"a\"?"),
            ("spec.stages[1].after[1]", "Cycle", "b -> b"),
            ("spec.stages[1].join.quorum", "ImpossibleJoin", "3 of 2"),
            ("spec.stages[0].pool", "UnknownPool", "did you mean \"readers\"?"),
        ],
    );
}

#[test]
fn results_are_a_stage_after_all_last_ones_whose_name_is_taken() {
    let mut written = review_pipeline();
    written["results"] = json!({"postgres": {"url": "postgres://docket@db/results"}});
    let plan = plan(written);
    assert_eq!(names(&plan).last(), Some(&"results"));
    let writing = plan.stage("results").expect("it is planned");
    assert_eq!(writing.predecessors, ["citations", "odd"]);
    let last: Vec<&str> =
        plan.stages().iter().filter(|stage| stage.is_last()).map(|stage| stage.name.as_str()).collect();
    assert_eq!(last, ["citations", "odd"]);
    assert_ne!(plan.digest, crate::flow_support::plan(review_pipeline()).digest);
    let taken = stages(&[stage("results", &[], json!({}))]);
    check(taken, &[("spec.stages[0].name", "ReservedName", "choose another one")]);
}

#[test]
fn a_cycle_is_shown() {
    let written = stages(&[
        stage("start", &[], json!({})),
        stage("a", &["start", "c"], json!({})),
        stage("b", &["a"], json!({})),
        stage("c", &["b"], json!({})),
        stage("end", &["c"], json!({})),
    ]);
    check(written, &[("spec.stages[1].after[1]", "Cycle", "a -> b -> c -> a")]);
}

#[test]
fn every_separate_cycle_is_shown() {
    let written = stages(&[
        stage("a", &["b"], json!({})),
        stage("b", &["a"], json!({})),
        stage("c", &["d"], json!({})),
        stage("d", &["c"], json!({})),
    ]);
    let cycles =
        [("spec.stages[0].after[0]", "Cycle", "a -> b -> a"), ("spec.stages[2].after[0]", "Cycle", "c -> d -> c")];
    check(written, &cycles);
}

#[test]
fn names_are_unique() {
    let written = json!({
        "knowledge": [{"name": "k", "embedder": "minilm"}, {"name": "k", "embedder": "minilm"}],
        "heads": [{"name": "h", "kind": "Quality", "embedder": "minilm"},
                  {"name": "h", "kind": "Quality", "embedder": "minilm"}],
        "stages": [stage("a", &[], json!({})), stage("a", &[], json!({})), stage("b", &["a", "a"], json!({}))],
    });
    let expected = [
        ("spec.stages[1].name", "DuplicateName", "spec.stages[0].name"),
        ("spec.knowledge[1].name", "DuplicateName", "k"),
        ("spec.heads[1].name", "DuplicateName", "h"),
        ("spec.stages[2].after[1]", "DuplicateName", "predecessor \"a\""),
    ];
    check(written, &expected);
}

#[test]
fn a_model_name_is_unique_in_its_pool() {
    let mut pools = pools();
    let models = &mut pools.get_mut("readers").expect("there are readers").models;
    models.push(models[0].clone());
    let found = compile("contracts", 1, &spec(stages(&[stage("a", &[], json!({}))])), &pools);
    let fields: Vec<String> = found.expect_err("a name is there twice").into_iter().map(|p| p.field).collect();
    assert_eq!(fields, ["pools.readers.spec.models[1].name"]);
}

#[test]
fn joins_that_cannot_work_are_refused() {
    let join = |after: &[&str], join: Value| {
        stages(&[stage("a", &[], json!({})), stage("b", &[], json!({})), stage("c", after, json!({"join": join}))])
    };
    check(join(&["a"], json!({})), &[("spec.stages[2].join", "ImpossibleJoin", "at least two")]);
    let quorum = |quorum: u32| json!({"mode": "Quorum", "quorum": quorum});
    check(join(&["a", "b"], quorum(3)), &[("spec.stages[2].join.quorum", "ImpossibleJoin", "3 of 2")]);
    check(join(&["a", "b"], quorum(0)), &[("spec.stages[2].join.quorum", "ImpossibleJoin", "at least 1")]);
    let none = json!({"mode": "Quorum"});
    check(join(&["a", "b"], none), &[("spec.stages[2].join.quorum", "ImpossibleJoin", "needs a quorum")]);
    plan(join(&["a", "b"], quorum(2)));
}

#[test]
fn a_quality_round_must_lead_to_its_judgement() {
    let quality = |stage_name: &str, restart: &str| {
        json!({
            "stages": [stage("a", &[], json!({})), stage("b", &["a"], json!({"score": {"path": "s"}})),
                       stage("c", &["b"], json!({}))],
            "quality": {"stage": stage_name, "threshold": 0.5, "restartAt": restart},
        })
    };
    check(quality("c", "a"), &[("spec.quality.stage", "NoScore", "\"c\" has no `score`")]);
    check(quality("b", "c"), &[("spec.quality.restartAt", "NotBefore", "never be judged")]);
    let unknown =
        [("spec.quality.stage", "UnknownStage", "there is a, b, c"), ("spec.quality.restartAt", "UnknownStage", "")];
    check(quality("review", "draft"), &unknown);
    plan(quality("b", "b"));
}

#[test]
fn dangling_references_name_what_was_meant() {
    let cases = [
        (
            json!({"name": "x", "pool": "readers", "retrieve": {"knowledge": "statute", "query": "q"}}),
            "retrieve.knowledge",
            "UnknownKnowledge",
            "did you mean \"statutes\"?",
        ),
        (
            json!({"name": "x", "pool": "readers", "embed": {"knowledge": "laws"}}),
            "embed.knowledge",
            "UnknownKnowledge",
            "there is statutes",
        ),
        (
            json!({"name": "x", "pool": "readers", "classify": {"head": "validty"}}),
            "classify.head",
            "UnknownHead",
            "did you mean \"validity\"?",
        ),
        (
            json!({"name": "x", "pool": "readers", "classify": {"head": "oddness"}}),
            "classify.head",
            "WrongHeadKind",
            "kind Anomaly; classify needs Classifier",
        ),
        (
            json!({"name": "x", "pool": "readers", "score": {"head": "validity"}}),
            "score.head",
            "WrongHeadKind",
            "kind Classifier; score needs Anomaly or Quality",
        ),
        (
            json!({"name": "x", "pool": "readers", "after": ["research"], "cite": {"text": "t", "sources": ["reserach"]}}),
            "cite.sources[0]",
            "UnknownStage",
            "did you mean \"research\"?",
        ),
        (
            json!({"name": "x", "pool": "readers", "after": ["draft"], "cite": {"text": "t", "sources": ["draft"]}}),
            "cite.sources[0]",
            "WrongStageKind",
            "does not retrieve",
        ),
        (
            json!({"name": "x", "pool": "readers", "cite": {"text": "t", "sources": ["research"]}}),
            "cite.sources[0]",
            "NotBefore",
            "does not come before",
        ),
    ];
    for (stage, field, reason, part) in cases {
        let mut written = review_pipeline();
        written["stages"].as_array_mut().expect("stages are a list").push(stage);
        check(written, &[(&format!("spec.stages[6].{field}"), reason, part)]);
    }
}

#[test]
fn a_pool_holds_the_models_that_its_stages_need() {
    let cases = [
        (
            json!({"name": "x", "pool": "readers", "generate": {"prompt": "p"}}),
            "generate.model",
            "UnknownModel",
            "pool \"readers\" holds no model with task Generate",
        ),
        (
            json!({"name": "x", "pool": "writers", "generate": {"prompt": "p", "model": "smal"}}),
            "generate.model",
            "UnknownModel",
            "did you mean \"small\"?",
        ),
        (
            json!({"name": "x", "pool": "readers", "embed": {"model": "minilm6"}}),
            "embed.model",
            "UnknownModel",
            "did you mean \"minilm\"?",
        ),
        (
            json!({"name": "x", "pool": "writers", "embed": {"model": "small"}}),
            "embed.model",
            "WrongModelTask",
            "has task Generate; needed is Embed",
        ),
        (
            json!({"name": "x", "pool": "writers", "retrieve": {"knowledge": "statutes", "query": "q"}}),
            "retrieve.knowledge",
            "UnknownModel",
            "the embedder of knowledge \"statutes\"",
        ),
        (
            json!({"name": "x", "pool": "writers", "classify": {"head": "validity"}}),
            "classify.head",
            "UnknownModel",
            "the embedder of head \"validity\"",
        ),
        (
            json!({"name": "x", "pool": "writers", "cite": {"text": "t"}}),
            "cite.model",
            "UnknownModel",
            "no model with task Embed",
        ),
    ];
    for (stage, field, reason, part) in cases {
        let mut written = review_pipeline();
        written["stages"].as_array_mut().expect("stages are a list").push(stage);
        check(written, &[(&format!("spec.stages[6].{field}"), reason, part)]);
    }
}

#[test]
fn some_pool_holds_the_embedder_of_a_knowledge_base_that_no_stage_uses() {
    let written = json!({"knowledge": [{"name": "k", "embedder": "minlm"}], "stages": [stage("a", &[], json!({}))]});
    check(written, &[("spec.knowledge[0].embedder", "UnknownModel", "did you mean \"minilm\"?")]);
}

#[test]
fn one_embedder_name_means_one_model_in_all_pools() {
    let mut pools = pools();
    let mut other = pools["readers"].clone();
    other.models[0].source.catalog = Some("another".to_owned());
    pools.insert("others".to_owned(), other);
    let written = json!({
        "knowledge": [{"name": "k", "embedder": "minilm"}],
        "stages": [{"name": "a", "pool": "readers", "embed": {"knowledge": "k"}},
                   {"name": "b", "pool": "others", "after": ["a"], "retrieve": {"knowledge": "k", "query": "q"}}],
    });
    let found = compile("contracts", 1, &spec(written), &pools).expect_err("the models differ");
    assert_eq!((found[0].field.as_str(), found[0].reason), ("spec.knowledge[0].embedder", "ModelsDiffer"));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_fallback_that_cannot_be_turned_to_is_named_with_its_field() {
    let schema = json!({"type": "object", "required": ["end"], "properties": {"end": {"type": "string"}}});
    let written = |own: Value, default: Value| {
        let extract =
            json!({"name": "a", "pool": "writers", "extract": {"schema": schema, "model": "small"}, "fallback": own});
        let generate = json!({"name": "b", "pool": "writers", "generate": {"prompt": "p"}});
        let more = json!({"name": "c", "pool": "writers", "generate": {"prompt": "p"}});
        json!({"stages": [extract, generate, more, stage("d", &[], json!({}))], "fallback": default})
    };
    let cases = [
        (json!({"pool": "writer"}), "pool", "UnknownPool", "there is no pool \"writer\"; did you mean \"writers\"?"),
        (
            json!({"model": "smal"}),
            "model",
            "UnknownModel",
            "holds no Generate model \"smal\"; did you mean \"small\"?",
        ),
        (json!({"pool": "readers"}), "pool", "UnknownModel", "pool \"readers\" holds no Generate model \"small\""),
        (json!({"pool": "readers", "model": "minilm"}), "model", "UnknownModel", "stage \"a\" needs it"),
        (
            json!({"constant": {}}),
            "constant",
            "InvalidFallback",
            "does not match the output schema of stage \"a\": it has no \"end\"",
        ),
    ];
    for (fallback, field, reason, part) in cases {
        let field = format!("spec.stages[0].fallback[0].{field}");
        check(written(json!([fallback]), json!([])), &[(&field, reason, part)]);
    }
    let late = json!([{"constant": {"end": "x"}}, {"model": "small"}]);
    check(written(late, json!([])), &[("spec.stages[0].fallback[0].constant", "InvalidFallback", "write it last")]);
    // Of the default of two stages once.
    let readers = json!([{"pool": "readers"}]);
    let none = "pool \"readers\" holds no model with task Generate; stage \"b\" needs it";
    check(written(json!([]), readers), &[("spec.fallback[0].pool", "UnknownModel", none)]);
    let transforms = stages(&[stage("a", &[], json!({"fallback": [{"model": "small"}]}))]);
    let message = "neither generates nor extracts";
    check(transforms, &[("spec.stages[0].fallback[0].model", "WrongStageKind", message)]);
}

#[test]
fn a_plan_knows_pool_and_model_of_each_fallback_and_keeps_the_pools() {
    let mut pools = pools();
    let mut spare = pools["writers"].clone();
    spare.models.push(serde_json::from_value(json!({
        "name": "large", "task": "Generate", "source": {"openai": {"baseUrl": "https://models.example/v1", "model": "l"}},
    })).expect("a model"));
    pools.insert("spare".to_owned(), spare);
    let written = json!({
        "stages": [{"name": "a", "pool": "writers", "generate": {"prompt": "p"}}, stage("b", &["a"], json!({}))],
        "fallback": [{"pool": "spare"}, {"pool": "spare", "model": "large"}, {"constant": {"text": "none"}}],
    });
    let plan = compile("contracts", 1, &spec(written.clone()), &pools).expect("the pipeline compiles");
    assert!(plan.pools.contains_key("spare"));
    let planned = plan.stage("a").expect("the stage");
    let at = |level| (planned.pool(level), plan.model_at("a", level).map(|model| model.name.as_str()));
    assert_eq!([at(0), at(1), at(2)], [("writers", Some("small")), ("spare", Some("small")), ("spare", Some("large"))]);
    assert_eq!([at(3), at(4)], [("writers", None), ("writers", Some("small"))]);
    assert_eq!(planned.fallback(2).map(crds::Fallback::label).as_deref(), Some("pool:spare"));
    assert!(plan.stage("b").expect("the stage").fallbacks.is_empty(), "the default is for what lets a model write");
    let digests: Vec<String> = (0..3).map(|level| plan.stage_digest_at("a", level)).collect();
    assert!(digests[0] == digests[1] && digests[0] != digests[2], "the digest follows the model");
    let mut off = written;
    off["stages"][0]["fallback"] = json!([]);
    let plan = compile("contracts", 1, &spec(off), &pools).expect("the pipeline compiles");
    assert!(plan.stage("a").expect("the stage").fallbacks.is_empty() && !plan.pools.contains_key("spare"));
}

#[test]
fn what_a_model_costs_and_how_it_is_reached_is_no_part_of_a_stages_digest() {
    let with = |source: Value, price: Value| {
        let model =
            json!({"name": "large", "task": "Generate", "source": {"openai": source}, "pricePer1kTokens": price});
        let pools = serde_json::from_value(json!({"writers": {"models": [model]}})).expect("pools");
        let written = stages(&[json!({"name": "a", "pool": "writers", "generate": {"prompt": "p"}})]);
        compile("contracts", 1, &spec(written), &pools).expect("the pipeline compiles").stage_digest("a")
    };
    let source = json!({"baseUrl": "https://models.example/v1", "model": "l"});
    let first = with(source.clone(), json!({"input": 1}));
    let mut reached = source.clone();
    reached["apiKeyEnv"] = json!("KEY");
    reached["timeout"] = json!("1s");
    reached["maxConcurrent"] = json!(3);
    assert_eq!(first, with(reached, json!({"input": 2, "output": 3})));
    for (field, other) in [("model", "m"), ("baseUrl", "https://models.example/v2")] {
        let mut changed = source.clone();
        changed[field] = json!(other);
        assert_ne!(first, with(changed, json!({"input": 1})));
    }
}

#[test]
fn impossible_values_are_refused() {
    let mut written = review_pipeline();
    written["deadline"] = json!("0s");
    check(written, &[("spec.deadline", "InvalidDeadline", "longer than 0")]);
    check(json!({"stages": []}), &[("spec.stages", "NoStages", "at least one")]);
    let two = json!({"parse": {}});
    check(stages(&[stage("a", &[], two)]), &[("spec.stages[0]", "InvalidWork", "exactly one")]);
    for schema in [json!({}), json!({"type": "array"}), json!({"type": ["object", "null"]})] {
        let extract = json!({"name": "a", "pool": "writers", "extract": {"schema": schema}});
        check(stages(&[extract]), &[("spec.stages[0].extract.schema", "InvalidSchema", "describes an object")]);
    }
    let generate =
        json!({"name": "a", "pool": "writers", "generate": {"prompt": "p", "output": {"schema": {"enum": [1]}}}});
    check(stages(&[generate]), &[("spec.stages[0].generate.output.schema", "InvalidSchema", "")]);
}

#[test]
fn the_digest_covers_name_specification_and_used_pools_but_not_the_generation() {
    let of = |name: &str, generation, written: Value, pools: &_| {
        compile(name, generation, &spec(written), pools).expect("the pipeline compiles").digest
    };
    let first = of("contracts", 1, review_pipeline(), &pools());
    assert_eq!(first.len(), 64);
    assert_eq!(first, of("contracts", 2, review_pipeline(), &pools()));
    assert_ne!(first, of("invoices", 1, review_pipeline(), &pools()));
    let mut changed = review_pipeline();
    changed["stages"][2]["generate"]["prompt"] = json!("y");
    assert_ne!(first, of("contracts", 1, changed, &pools()));
    let mut more = pools();
    more.insert("unused".to_owned(), more["readers"].clone());
    assert_eq!(first, of("contracts", 1, review_pipeline(), &more));
    let writers = more.get_mut("writers").expect("there are writers");
    writers.replicas = 9;
    writers.device.node_selector.insert("zone".to_owned(), "a".to_owned());
    writers.device.fallback = Some(crds::DeviceFallback::Cpu);
    writers.device.memory_fraction = Some(0.5);
    assert_eq!(first, of("contracts", 1, review_pipeline(), &more), "where the work is done is no part of it");
    let plan = compile("contracts", 1, &spec(review_pipeline()), &more).expect("the pipeline compiles");
    let again = Plan::decode(&plan.encode()).expect("it was a plan");
    for plan in [plan, again] {
        let device = &plan.pools["writers"].device;
        assert_eq!((device.memory_fraction, device.fallback.is_some()), (Some(0.5), true), "but goes with it");
    }
    let mut deleted_otherwise = review_pipeline();
    deleted_otherwise["deletionPolicy"] = json!("Cancel");
    assert_eq!(first, of("contracts", 1, deleted_otherwise, &more));
    more.get_mut("writers").expect("there are writers").concurrency = Some(1);
    assert_ne!(first, of("contracts", 1, review_pipeline(), &more));
}

#[test]
fn a_stage_digest_covers_the_work_and_what_it_refers_to_but_not_its_place() {
    let before = plan(review_pipeline());
    let differs = |change: &dyn Fn(&mut Value), pool: &dyn Fn(&mut Value)| -> Vec<String> {
        let (mut written, mut pools) = (review_pipeline(), json!(pools()));
        change(&mut written);
        pool(&mut pools);
        let pools = serde_json::from_value(pools).expect("the pools are well-formed");
        let after = compile("contracts", 1, &spec(written), &pools).expect("the pipeline compiles");
        let differ = |name: &&str| before.stage_digest(name) != after.stage_digest(name);
        names(&before).into_iter().filter(differ).map(str::to_owned).collect()
    };
    let same = |_: &mut Value| {};
    assert!(differs(&same, &same).is_empty());
    assert_eq!(differs(&|spec| spec["stages"][2]["generate"]["maxTokens"] = json!(7), &same), ["draft"]);
    assert_eq!(differs(&|spec| spec["stages"][3]["score"]["path"] = json!("total"), &same), ["review"]);
    assert_eq!(differs(&|spec| spec["knowledge"][0]["uri"] = json!("elsewhere"), &same), ["research"]);
    assert_eq!(differs(&|spec| spec["heads"][1]["kind"] = json!("Quality"), &same), ["odd"]);
    let embedder = |pools: &mut Value| pools["readers"]["models"][0]["dtype"] = json!("F16");
    assert_eq!(differs(&same, &embedder), ["research", "validate", "citations", "odd"]);
    let writer = |pools: &mut Value| pools["writers"]["models"][0]["source"] = json!({"file": "other.gguf"});
    assert_eq!(differs(&same, &writer), ["draft", "review"]);
    let place = |spec: &mut Value| {
        spec["stages"][5]["after"] = json!(["draft"]);
        spec["stages"][2]["retry"] = json!({"maxAttempts": 9});
        spec["stages"][2]["timeout"] = json!("9m");
        spec["stages"][4]["when"] = json!("document.metadata.check");
    };
    assert!(differs(&place, &same).is_empty());
}

#[test]
fn the_order_of_fields_in_an_output_schema_is_part_of_the_digest() {
    let with = |properties: &str| {
        let schema: Value = serde_json::from_str(&format!(r#"{{"type": "object", "properties": {properties}}}"#))
            .expect("the schema is JSON");
        plan(stages(&[json!({"name": "a", "pool": "writers", "extract": {"schema": schema}})])).stage_digest("a")
    };
    assert_ne!(with(r#"{"x": {}, "y": {}}"#), with(r#"{"y": {}, "x": {}}"#));
}

/// The pipeline of the design with a semantic cache, over writers that also hold an embedder.
fn nearly_equal(change: impl Fn(&mut Value), pool: impl Fn(&mut Value)) -> Result<Plan, Vec<Problem>> {
    let (mut written, mut pools) = (review_pipeline(), json!(pools()));
    written["cache"] = json!({"semantic": {"scope": ["jurisdiction"]}});
    let embed = |name: &str| json!({"name": name, "task": "Embed", "source": {"catalog": name}});
    pools["writers"]["models"] = json!([pools["writers"]["models"][0], embed("bge"), embed("minilm")]);
    change(&mut written);
    pool(&mut pools);
    let pools = serde_json::from_value(pools).expect("the pools are well-formed");
    compile("contracts", 1, &spec(written), &pools)
}

#[test]
fn nearly_equal_prompts_answer_the_stages_that_write_where_the_pipeline_asks_for_it() {
    let same = |_: &mut Value| {};
    let answered = |plan: &Plan| {
        let found = plan.stages().iter().filter_map(|stage| Some((stage, plan.semantic(&stage.name)?)));
        found.map(|(stage, (_, model))| format!("{} by {}", stage.name, model.name)).collect::<Vec<_>>()
    };
    let of = |change: &dyn Fn(&mut Value)| answered(&nearly_equal(change, same).expect("it compiles"));
    assert_eq!(of(&same), ["draft by bge", "review by bge"]);
    assert_eq!(
        of(&|spec| spec["cache"]["semantic"]["embedder"] = json!("minilm")),
        ["draft by minilm", "review by minilm"]
    );
    assert_eq!(of(&|spec| spec["stages"][2]["cache"] = json!("Exact")), ["review by bge"]);
    assert_eq!(of(&|spec| spec["stages"][3]["cache"] = json!("None")), ["draft by bge"]);
    assert_eq!(of(&|spec| spec["stages"][3]["cache"] = json!("Semantic")), ["draft by bge", "review by bge"]);
    assert!(of(&|spec| spec["cache"] = json!({})).is_empty(), "it is off where it is not written");
    assert!(plan(review_pipeline()).semantic("draft").is_none());
    let settings = nearly_equal(same, same).expect("it compiles").spec.cache.semantic.expect("it is written");
    let shown = (settings.similarity, settings.max_entries, settings.shadow, settings.ttl.to_string());
    assert_eq!(shown, (0.95, 1_000, 0.01, "1h".to_owned()));
}

#[test]
fn prompts_that_cannot_be_compared_are_a_problem_of_the_stage() {
    let check = |change: &dyn Fn(&mut Value), pool: &dyn Fn(&mut Value), expected: &[(&str, &str, &str)]| {
        let found = nearly_equal(change, pool).expect_err("it has problems");
        let seen: Vec<(&str, &str)> = found.iter().map(|problem| (problem.field.as_str(), problem.reason)).collect();
        let wanted: Vec<(&str, &str)> = expected.iter().map(|(field, reason, _)| (*field, *reason)).collect();
        assert_eq!(seen, wanted, "{found:#?}");
        assert!(found.iter().zip(expected).all(|(problem, (_, _, part))| problem.message.contains(part)), "{found:#?}");
    };
    let same = |_: &mut Value| {};
    let both = |reason, part| [("spec.stages[2].cache", reason, part), ("spec.stages[3].cache", reason, part)];
    let no_embedder = |pools: &mut Value| {
        pools["writers"]["models"].as_array_mut().expect("models").truncate(1);
    };
    check(&same, &no_embedder, &both("UnknownModel", "pool \"writers\" itself holds no model with task Embed"));
    let provided = |pools: &mut Value| {
        for model in 1..3 {
            let openai = json!({"baseUrl": "https://models.example/v1", "model": "m", "dimensions": 384});
            let source = json!({"openai": openai});
            pools["writers"]["models"][model] = json!({"name": format!("p{model}"), "task": "Embed", "source": source});
        }
    };
    check(&same, &provided, &both("UnknownModel", "pool \"writers\" itself holds no model with task Embed"));
    let misspelt = |spec: &mut Value| spec["cache"]["semantic"]["embedder"] = json!("minilms");
    check(&misspelt, &same, &both("UnknownModel", "did you mean \"minilm\"?"));
    let not_told = |spec: &mut Value| {
        spec["cache"] = json!({});
        spec["stages"][2]["cache"] = json!("Semantic");
    };
    check(&not_told, &same, &[("spec.stages[2].cache", "InvalidCache", "Semantic needs `cache.semantic`")]);
}
