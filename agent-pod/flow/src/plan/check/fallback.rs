//! Whether the fallbacks can be turned to: their pools are there and hold the models, their constants fit.

use std::collections::{BTreeMap, BTreeSet};

use crds::{AgentPoolSpec, Fallback, ModelTask, OutputSchema, PipelineSpec, Stage};
use serde_json::Value;

use super::{problem, reason};
use crate::plan::{Problem, models, names::unknown};

pub(super) fn check(spec: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>, problems: &mut Vec<Problem>) {
    let mut found = Vec::new();
    check_list(&spec.fallback, "spec.fallback", pools, &mut found);
    for (position, stage) in spec.stages.iter().enumerate() {
        let at = format!("spec.stages[{position}].fallback");
        match &stage.fallback {
            Some(own) => {
                check_list(own, &at, pools, &mut found);
                check_stage(spec, stage, own, &at, pools, &mut found);
            }
            None => check_stage(spec, stage, models::fallbacks(spec, stage), "spec.fallback", pools, &mut found),
        }
    }
    // A default of the pipeline that is wrong is wrong once, not for each stage that has it.
    let mut said = BTreeSet::new();
    problems.extend(found.into_iter().filter(|problem| said.insert(problem.field.clone())));
}

/// What does not depend on the stage.
fn check_list(list: &[Fallback], at: &str, pools: &BTreeMap<String, AgentPoolSpec>, problems: &mut Vec<Problem>) {
    for (place, fallback) in list.iter().enumerate() {
        if let Some(pool) = fallback.pool.as_ref().filter(|pool| !pools.contains_key(*pool)) {
            let message = unknown("there is no pool", pool, pools.keys().map(String::as_str));
            problems.push(problem(format!("{at}[{place}].pool"), reason::UNKNOWN_POOL, message));
        }
        if fallback.constant.is_some() && place + 1 < list.len() {
            let message = "a constant cannot fail, so the fallbacks after it would never be used; write it last";
            problems.push(problem(format!("{at}[{place}].constant"), reason::INVALID_FALLBACK, message));
        }
    }
}

fn check_stage(
    spec: &PipelineSpec,
    stage: &Stage,
    list: &[Fallback],
    at: &str,
    pools: &BTreeMap<String, AgentPoolSpec>,
    problems: &mut Vec<Problem>,
) {
    for (place, fallback) in list.iter().enumerate() {
        let at = format!("{at}[{place}]");
        if let Some(constant) = &fallback.constant {
            check_constant(stage, &Value::Object(constant.0.clone()), &at, problems);
            continue;
        }
        let used = models::used(spec, stage);
        if fallback.model.is_some() && !used.as_ref().is_some_and(|used| used.task == ModelTask::Generate) {
            let message =
                format!("stage \"{}\" neither generates nor extracts, so its model cannot be changed", stage.name);
            problems.push(problem(format!("{at}.model"), reason::WRONG_STAGE_KIND, message));
            continue;
        }
        let pool_name = fallback.pool.as_ref().unwrap_or(&stage.pool);
        let (Some(used), Some(pool)) = (used, pools.get(pool_name)) else { continue };
        let used = used.instead(fallback);
        if used.find(pool).is_some() {
            continue;
        }
        let field = if fallback.model.is_some() { "model" } else { "pool" };
        let task = used.task;
        let message = match used.name {
            None => format!("pool \"{pool_name}\" holds no model with task {task:?}"),
            Some(name) => {
                let fitting = pool.models.iter().filter(|model| model.task == task).map(|model| model.name.as_str());
                unknown(&format!("pool \"{pool_name}\" holds no {task:?} model"), name, fitting)
            }
        };
        let message = format!("{message}; stage \"{}\" needs it", stage.name);
        problems.push(problem(format!("{at}.{field}"), reason::UNKNOWN_MODEL, message));
    }
}

/// Later stages and whoever reads the results rely on the schema.
fn check_constant(stage: &Stage, constant: &Value, at: &str, problems: &mut Vec<Problem>) {
    let output = stage.generate.as_ref().and_then(|generate| generate.output.as_ref()).map(|output| &output.schema);
    let schema: Option<&OutputSchema> = output.or(stage.extract.as_ref().map(|extract| &extract.schema));
    if let Some(mismatch) = schema.and_then(|schema| schema.check(constant).err()) {
        let message = format!("does not match the output schema of stage \"{}\": {mismatch}", stage.name);
        problems.push(problem(format!("{at}.constant"), reason::INVALID_FALLBACK, message));
    }
}
