//! Whether each stage's work can be done: its pool, knowledge base, head, model, sources and output schema.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, Model, ModelTask, OutputSchema, PipelineSpec, Stage, StageCache};

use super::{problem, reason};
use crate::plan::{Problem, graph::Graph, models, names::unknown};

pub(super) fn check(
    spec: &PipelineSpec,
    pools: &BTreeMap<String, AgentPoolSpec>,
    graph: &Graph<'_>,
    problems: &mut Vec<Problem>,
) {
    for (position, stage) in spec.stages.iter().enumerate() {
        let at = format!("spec.stages[{position}]");
        if stage.work().is_none() {
            let message = "set exactly one of parse, embed, retrieve, generate, extract, classify, score.head, cite, \
                           transform, approve";
            problems.push(problem(&at, reason::INVALID_WORK, message));
        }
        check_references(spec, stage, &at, problems);
        check_sources(spec, stage, (graph, position), &at, problems);
        check_schema(stage, &at, problems);
        match pools.get(&stage.pool) {
            Some(pool) => {
                check_model(spec, stage, pool, &at, problems);
                check_cache(spec, stage, pool, &at, problems);
            }
            None => {
                let message = unknown("there is no pool", &stage.pool, pools.keys().map(String::as_str));
                problems.push(problem(format!("{at}.pool"), reason::UNKNOWN_POOL, message));
            }
        }
    }
    check_embedders(spec, pools, problems);
}

fn check_references(spec: &PipelineSpec, stage: &Stage, at: &str, problems: &mut Vec<Problem>) {
    if let Some((name, field)) = models::knowledge_name(stage)
        && models::knowledge(spec, name).is_none()
    {
        let known = spec.knowledge.iter().map(|knowledge| knowledge.name.as_str());
        let message = unknown("there is no knowledge", name, known);
        problems.push(problem(format!("{at}.{field}"), reason::UNKNOWN_KNOWLEDGE, message));
    }
    let Some((name, field)) = models::head_name(stage) else { return };
    let field = format!("{at}.{field}");
    let fits = |kind: crds::HeadKind| kind.classifies() == stage.classify.is_some();
    match models::head(spec, name) {
        Some(head) if fits(head.kind) => {}
        Some(head) => {
            let wanted =
                if stage.classify.is_some() { "classify needs Classifier" } else { "score needs Anomaly or Quality" };
            let message = format!("head \"{name}\" is of kind {:?}; {wanted}", head.kind);
            problems.push(problem(field, reason::WRONG_HEAD_KIND, message));
        }
        None => {
            let fitting = spec.heads.iter().filter(|head| fits(head.kind)).map(|head| head.name.as_str());
            problems.push(problem(field, reason::UNKNOWN_HEAD, unknown("there is no head", name, fitting)));
        }
    }
}

fn check_sources(
    spec: &PipelineSpec,
    stage: &Stage,
    (graph, position): (&Graph<'_>, usize),
    at: &str,
    problems: &mut Vec<Problem>,
) {
    for (place, name) in stage.cite.iter().flat_map(|cite| &cite.sources).enumerate() {
        let (reason, message) = match graph.position(name) {
            None => {
                let retrieving = spec.stages.iter().filter(|other| other.retrieve.is_some());
                let message = unknown("there is no stage", name, retrieving.map(|other| other.name.as_str()));
                (reason::UNKNOWN_STAGE, message)
            }
            Some(source) if spec.stages[source].retrieve.is_none() => {
                (reason::WRONG_STAGE_KIND, format!("stage \"{name}\" does not retrieve, so it has no chunks to cite"))
            }
            Some(source) if source == position || !graph.reachable_from(source).contains(&position) => {
                (reason::NOT_BEFORE, format!("stage \"{name}\" does not come before \"{}\"", stage.name))
            }
            Some(_) => continue,
        };
        problems.push(problem(format!("{at}.cite.sources[{place}]"), reason, message));
    }
}

/// Later stages name the parts of an answer, so an answer has parts: its schema describes an object.
fn check_schema(stage: &Stage, at: &str, problems: &mut Vec<Problem>) {
    let output = stage.generate.as_ref().and_then(|generate| generate.output.as_ref());
    let schemas = [
        (output.map(|output| &output.schema), "generate.output.schema"),
        (stage.extract.as_ref().map(|extract| &extract.schema), "extract.schema"),
    ];
    for (OutputSchema(schema), field) in schemas.into_iter().filter_map(|(schema, field)| Some((schema?, field))) {
        let describes_object = match schema.get("type") {
            Some(kind) => kind == "object",
            None => ["properties", "$ref", "anyOf", "oneOf", "allOf"].iter().any(|key| schema.contains_key(*key)),
        };
        if !describes_object {
            let message = "an output schema describes an object: it has `type: object` and `properties`";
            problems.push(problem(format!("{at}.{field}"), reason::INVALID_SCHEMA, message));
        }
    }
}

fn check_model(spec: &PipelineSpec, stage: &Stage, pool: &AgentPoolSpec, at: &str, problems: &mut Vec<Problem>) {
    let Some(used) = models::used(spec, stage) else { return };
    if used.find(pool).is_some() {
        return;
    }
    let (field, task, pool_name) = (format!("{at}.{}", used.field), used.task, &stage.pool);
    let whose = used.embedder_of.map(|of| format!(" (the embedder of {of})")).unwrap_or_default();
    let Some(name) = used.name else {
        let message = format!("pool \"{pool_name}\" holds no model with task {task:?}");
        problems.push(problem(field, reason::UNKNOWN_MODEL, message));
        return;
    };
    let (reason, message) = match pool.models.iter().find(|model| model.name == name) {
        Some(model) => {
            let message = format!(
                "model \"{name}\"{whose} of pool \"{pool_name}\" has task {:?}; needed is {task:?}",
                model.task
            );
            (reason::WRONG_MODEL_TASK, message)
        }
        None => {
            let fitting = pool.models.iter().filter(|model| model.task == task).map(|model| model.name.as_str());
            let message = unknown(&format!("pool \"{pool_name}\" holds no {task:?} model"), name, fitting);
            (reason::UNKNOWN_MODEL, format!("{message}{whose}"))
        }
    };
    problems.push(problem(field, reason, message));
}

/// A stage that nearly the same prompts may answer needs a model beside its own that compares them.
fn check_cache(spec: &PipelineSpec, stage: &Stage, pool: &AgentPoolSpec, at: &str, problems: &mut Vec<Problem>) {
    let field = format!("{at}.cache");
    if stage.cache == Some(StageCache::Semantic) && spec.cache.semantic.is_none() {
        let message = "Semantic needs `cache.semantic` of the pipeline, which says how near prompts must be";
        problems.push(problem(field, reason::INVALID_CACHE, message));
        return;
    }
    let Some(semantic) = models::semantic(spec, stage).filter(|semantic| models::comparing(semantic, pool).is_none())
    else {
        return;
    };
    let pool_name = &stage.pool;
    let missing = match &semantic.embedder {
        Some(name) => {
            let own = |model: &&Model| model.task == ModelTask::Embed && model.source.openai.is_none();
            let known = pool.models.iter().filter(own).map(|model| model.name.as_str());
            unknown(&format!("pool \"{pool_name}\" itself holds no Embed model"), name, known)
        }
        None => format!("pool \"{pool_name}\" itself holds no model with task Embed"),
    };
    let message = format!("{missing}, by which `cache.semantic` compares prompts; write `cache: Exact` to do without");
    problems.push(problem(field, reason::UNKNOWN_MODEL, message));
}

/// An embedder belongs to the whole pipeline: some pool holds it, and pools that hold it under one name mean one model,
/// else vectors that cannot be compared would lie in one table.
fn check_embedders(spec: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>, problems: &mut Vec<Problem>) {
    let knowledge = spec.knowledge.iter().enumerate().map(|(i, part)| (format!("knowledge[{i}]"), &part.embedder));
    let heads = spec.heads.iter().enumerate().map(|(i, part)| (format!("heads[{i}]"), &part.embedder));
    let used: Vec<(&String, &AgentPoolSpec)> = pools.iter().filter(|(name, _)| models::uses_pool(spec, name)).collect();
    for (part, embedder) in knowledge.chain(heads) {
        let field = format!("spec.{part}.embedder");
        let is_it = |model: &&Model| model.task == ModelTask::Embed && model.name == *embedder;
        let holders: Vec<(&String, &Model)> =
            used.iter().filter_map(|(name, pool)| Some((*name, pool.models.iter().find(is_it)?))).collect();
        let Some(((first, model), others)) = holders.split_first() else {
            let embedders =
                used.iter().flat_map(|(_, pool)| &pool.models).filter(|model| model.task == ModelTask::Embed);
            let known = embedders.map(|model| model.name.as_str());
            let message = unknown("no pool of the pipeline holds an Embed model", embedder, known);
            problems.push(problem(field, reason::UNKNOWN_MODEL, message));
            continue;
        };
        if let Some((other, _)) = others.iter().find(|(_, other)| other.source != model.source) {
            let message =
                format!("pools \"{first}\" and \"{other}\" hold different models under the name \"{embedder}\"");
            problems.push(problem(field, reason::MODELS_DIFFER, message));
        }
    }
}
