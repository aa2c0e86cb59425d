//! Everything that can be wrong with a pipeline and is too costly for a rule in the schema: names, cycles, joins, rounds.

mod fallback;
mod work;

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, JoinMode, PipelineSpec};

use super::{Problem, RESULTS_STAGE, graph::Graph, models, names::unknown};

/// The closed set of [`Problem::reason`].
mod reason {
    pub(super) const CYCLE: &str = "Cycle";
    pub(super) const DUPLICATE_NAME: &str = "DuplicateName";
    pub(super) const IMPOSSIBLE_JOIN: &str = "ImpossibleJoin";
    pub(super) const INVALID_CACHE: &str = "InvalidCache";
    pub(super) const INVALID_DEADLINE: &str = "InvalidDeadline";
    pub(super) const INVALID_FALLBACK: &str = "InvalidFallback";
    pub(super) const INVALID_SCHEMA: &str = "InvalidSchema";
    pub(super) const INVALID_WORK: &str = "InvalidWork";
    pub(super) const MODELS_DIFFER: &str = "ModelsDiffer";
    pub(super) const NO_STAGES: &str = "NoStages";
    pub(super) const NOT_BEFORE: &str = "NotBefore";
    pub(super) const NO_SCORE: &str = "NoScore";
    pub(super) const RESERVED_NAME: &str = "ReservedName";
    pub(super) const UNKNOWN_HEAD: &str = "UnknownHead";
    pub(super) const UNKNOWN_KNOWLEDGE: &str = "UnknownKnowledge";
    pub(super) const UNKNOWN_MODEL: &str = "UnknownModel";
    pub(super) const UNKNOWN_POOL: &str = "UnknownPool";
    pub(super) const UNKNOWN_STAGE: &str = "UnknownStage";
    pub(super) const WRONG_HEAD_KIND: &str = "WrongHeadKind";
    pub(super) const WRONG_MODEL_TASK: &str = "WrongModelTask";
    pub(super) const WRONG_STAGE_KIND: &str = "WrongStageKind";
}

/// All problems, in the order of the file's parts.
pub(super) fn problems(
    spec: &PipelineSpec,
    pools: &BTreeMap<String, AgentPoolSpec>,
    graph: &Graph<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if spec.stages.is_empty() {
        problems.push(problem("spec.stages", reason::NO_STAGES, "a pipeline has at least one stage"));
    }
    if spec.deadline.is_some_and(|deadline| deadline.0.is_zero()) {
        problems.push(problem("spec.deadline", reason::INVALID_DEADLINE, "a deadline is longer than 0"));
    }
    check_names(spec, pools, &mut problems);
    check_order(spec, graph, &mut problems);
    check_joins(spec, &mut problems);
    check_quality(spec, graph, &mut problems);
    work::check(spec, pools, graph, &mut problems);
    fallback::check(spec, pools, &mut problems);
    problems
}

fn problem(field: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Problem {
    Problem { field: field.into(), message: message.into(), reason }
}

fn check_names(spec: &PipelineSpec, pools: &BTreeMap<String, AgentPoolSpec>, problems: &mut Vec<Problem>) {
    let field = |list: &'static str| move |position| format!("spec.{list}[{position}].name");
    unique("stage", spec.stages.iter().map(|stage| stage.name.as_str()), field("stages"), problems);
    unique("knowledge", spec.knowledge.iter().map(|knowledge| knowledge.name.as_str()), field("knowledge"), problems);
    unique("head", spec.heads.iter().map(|head| head.name.as_str()), field("heads"), problems);
    for (name, pool) in pools.iter().filter(|(name, _)| models::uses_pool(spec, name)) {
        let models = pool.models.iter().map(|model| model.name.as_str());
        unique("model", models, |position| format!("pools.{name}.spec.models[{position}].name"), problems);
    }
    for (position, stage) in spec.stages.iter().enumerate() {
        if stage.name == RESULTS_STAGE {
            let message =
                format!("\"{RESULTS_STAGE}\" is the name of the stage that writes results; choose another one");
            problems.push(problem(format!("spec.stages[{position}].name"), reason::RESERVED_NAME, message));
        }
        let field = |place| format!("spec.stages[{position}].after[{place}]");
        unique("predecessor", stage.after.iter().map(String::as_str), field, problems);
    }
}

fn unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str>,
    field: impl Fn(usize) -> String,
    problems: &mut Vec<Problem>,
) {
    let mut first = BTreeMap::new();
    for (position, name) in names.enumerate() {
        let earlier = *first.entry(name).or_insert(position);
        if earlier != position {
            let message = format!("{what} \"{name}\" is there already, at {}", field(earlier));
            problems.push(problem(field(position), reason::DUPLICATE_NAME, message));
        }
    }
}

fn check_order(spec: &PipelineSpec, graph: &Graph<'_>, problems: &mut Vec<Problem>) {
    for (position, stage) in spec.stages.iter().enumerate() {
        for (place, name) in stage.after.iter().enumerate().filter(|(_, name)| graph.position(name).is_none()) {
            let message = unknown("there is no stage", name, graph.names().filter(|other| *other != stage.name));
            problems.push(problem(format!("spec.stages[{position}].after[{place}]"), reason::UNKNOWN_STAGE, message));
        }
    }
    for cycle in graph.order().cycles {
        let (Some(&first), Some(&last)) = (cycle.first(), cycle.last()) else { continue };
        let name = |position: usize| spec.stages[position].name.as_str();
        let closes = spec.stages[first].after.iter().position(|before| before == name(last)).unwrap_or(0);
        let shown: Vec<&str> = cycle.iter().chain([&first]).map(|&position| name(position)).collect();
        let message = format!("stages wait for each other: {}", shown.join(" -> "));
        problems.push(problem(format!("spec.stages[{first}].after[{closes}]"), reason::CYCLE, message));
    }
}

fn check_joins(spec: &PipelineSpec, problems: &mut Vec<Problem>) {
    for (position, stage) in spec.stages.iter().enumerate() {
        let Some(join) = &stage.join else { continue };
        let mut predecessors: Vec<&String> = stage.after.iter().collect();
        predecessors.sort();
        predecessors.dedup();
        let count = predecessors.len();
        let mut impossible =
            |field: String, message: String| problems.push(problem(field, reason::IMPOSSIBLE_JOIN, message));
        if count < 2 {
            let message = format!("a join needs at least two predecessors in `after`; there is {count}");
            impossible(format!("spec.stages[{position}].join"), message);
        }
        let field = format!("spec.stages[{position}].join.quorum");
        match (join.mode, join.quorum) {
            (JoinMode::Quorum, None) => impossible(field, "mode Quorum needs a quorum".to_owned()),
            (JoinMode::Quorum, Some(0)) => impossible(field, "a quorum is at least 1".to_owned()),
            (JoinMode::Quorum, Some(quorum)) if usize::try_from(quorum).is_ok_and(|quorum| quorum > count) => {
                impossible(field, format!("a quorum of {quorum} of {count} predecessors can never be reached"));
            }
            _ => {}
        }
    }
}

fn check_quality(spec: &PipelineSpec, graph: &Graph<'_>, problems: &mut Vec<Problem>) {
    let Some(quality) = &spec.quality else { return };
    let mut position_of = |field: &str, name: &str| {
        let position = graph.position(name);
        if position.is_none() {
            let message = unknown("there is no stage", name, graph.names());
            problems.push(problem(field, reason::UNKNOWN_STAGE, message));
        }
        position
    };
    let scoring = position_of("spec.quality.stage", &quality.stage);
    let restart = position_of("spec.quality.restartAt", &quality.restart_at);
    if let Some(scoring) = scoring
        && spec.stages[scoring].score.is_none()
    {
        let message = format!("stage \"{}\" has no `score`, so its quality cannot be judged", quality.stage);
        problems.push(problem("spec.quality.stage", reason::NO_SCORE, message));
    }
    if let (Some(scoring), Some(restart)) = (scoring, restart)
        && !graph.reachable_from(restart).contains(&scoring)
    {
        let message = format!(
            "stage \"{}\" does not come before \"{}\", so a round that starts there would never be judged",
            quality.restart_at, quality.stage
        );
        problems.push(problem("spec.quality.restartAt", reason::NOT_BEFORE, message));
    }
}
