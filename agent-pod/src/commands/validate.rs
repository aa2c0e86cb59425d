//! `docket validate`, and the plan that every command starts from.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use crds::file::{FileError, Located, Resources};
use flow::Plan;

use super::print;
use crate::{Error, Result, args::FileArguments, results::check_postgres, runtime::templates::Templates};

/// Checks files: schema, rules, graph, templates. Says what they hold.
pub(super) fn validate(arguments: &FileArguments) -> Result<ExitCode> {
    let resources = read(arguments)?;
    let mut problems = Vec::new();
    for pipeline in chosen(&resources, arguments)? {
        match compile(pipeline, &resources) {
            Ok(plan) => print(&format!(
                "pipeline {}: {} stages, {} pools, plan {}",
                plan.name,
                plan.stages().len(),
                plan.pools.len(),
                plan.digest.get(..12).unwrap_or_default()
            )),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(usage(problems)) }
}

/// The plan of the one pipeline that the arguments name.
pub(super) fn plan(arguments: &FileArguments) -> Result<Plan> {
    let resources = read(arguments)?;
    match chosen(&resources, arguments)?.as_slice() {
        [pipeline] => compile(pipeline, &resources).map_err(usage),
        several => {
            let names: Vec<&str> = several.iter().map(|pipeline| pipeline.name()).collect();
            Err(Error::usage(format!(
                "the files hold several pipelines ({}): name one with --pipeline",
                names.join(", ")
            )))
        }
    }
}

/// The plans of all pipelines of the files, by name; none where they hold no pipeline.
pub(crate) fn all_plans(files: &[PathBuf]) -> Result<BTreeMap<String, Plan>> {
    let resources = read_files(files)?;
    let mut plans = BTreeMap::new();
    let mut problems = Vec::new();
    for pipeline in &resources.pipelines {
        match compile(pipeline, &resources) {
            Ok(plan) => drop(plans.insert(plan.name.clone(), plan)),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(plans) } else { Err(usage(problems)) }
}

/// What files of resources hold.
pub(crate) fn read_files(files: &[PathBuf]) -> Result<Resources> {
    crds::file::read(files).map_err(usage)
}

fn read(arguments: &FileArguments) -> Result<Resources> {
    read_files(&arguments.files)
}

fn chosen<'a>(resources: &'a Resources, arguments: &FileArguments) -> Result<Vec<&'a Located<crds::Pipeline>>> {
    let all = &resources.pipelines;
    let chosen: Vec<_> = match &arguments.pipeline {
        Some(name) => all.iter().filter(|pipeline| pipeline.name() == name).collect(),
        None => all.iter().collect(),
    };
    if chosen.is_empty() {
        let names: Vec<&str> = all.iter().map(Located::name).collect();
        return Err(Error::usage(match &arguments.pipeline {
            Some(name) => format!("the files hold no pipeline \"{name}\"; they hold: {}", names.join(", ")),
            None => "the files hold no Pipeline".to_owned(),
        }));
    }
    Ok(chosen)
}

fn compile(pipeline: &Located<crds::Pipeline>, resources: &Resources) -> std::result::Result<Plan, Vec<FileError>> {
    let spec = &pipeline.resource.spec;
    let pools: BTreeMap<_, _> =
        resources.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
    let mut problems = templates(pipeline);
    match flow::compile(pipeline.name(), 1, spec, &pools) {
        Ok(plan) if problems.is_empty() => return Ok(plan),
        Ok(_) => {}
        Err(found) => {
            problems.extend(found.iter().map(|problem| pipeline.error(&problem.field, problem.message.clone())))
        }
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(problems)
}

/// Templates and conditions that cannot be compiled.
fn templates(pipeline: &Located<crds::Pipeline>) -> Vec<FileError> {
    let templates = Templates::default();
    let mut problems = Vec::new();
    for (index, stage) in pipeline.resource.spec.stages.iter().enumerate() {
        let fields = [
            ("retrieve.query", stage.retrieve.as_ref().map(|retrieve| &retrieve.query)),
            ("generate.system", stage.generate.as_ref().and_then(|generate| generate.system.as_ref())),
            ("generate.prompt", stage.generate.as_ref().map(|generate| &generate.prompt)),
            ("extract.system", stage.extract.as_ref().and_then(|extract| extract.system.as_ref())),
            ("extract.prompt", stage.extract.as_ref().and_then(|extract| extract.prompt.as_ref())),
            ("cite.text", stage.cite.as_ref().map(|cite| &cite.text)),
            ("transform.template", stage.transform.as_ref().map(|transform| &transform.template)),
            ("approve.reason", stage.approve.as_ref().and_then(|approve| approve.reason.as_ref())),
        ];
        for (field, template) in fields {
            if let Some(error) = template.and_then(|template| templates.check(template).err()) {
                problems.push(pipeline.error(&format!("spec.stages[{index}].{field}"), crate::error::chain(&error)));
            }
        }
        if let Some(error) = stage.when.as_ref().and_then(|when| templates.check_expression(when).err()) {
            problems.push(pipeline.error(&format!("spec.stages[{index}].when"), crate::error::chain(&error)));
        }
    }
    let results = pipeline.resource.spec.results.as_ref();
    let anomaly = results.and_then(|results| results.anomaly.as_ref());
    if let Some(error) = anomaly.and_then(|anomaly| templates.check_expression(anomaly).err()) {
        problems.push(pipeline.error("spec.results.anomaly", crate::error::chain(&error)));
    }
    if let Some(problem) =
        results.and_then(|results| results.postgres.as_ref()).and_then(|sink| check_postgres(sink).err())
    {
        let (field, message) = problem.split_once(": ").unwrap_or(("url", problem.as_str()));
        problems.push(pipeline.error(&format!("spec.results.postgres.{field}"), message));
    }
    problems
}

/// What is wrong in files, as the user's error.
pub(crate) fn usage(problems: Vec<FileError>) -> Error {
    Error::Usage(problems.iter().map(ToString::to_string).collect())
}
