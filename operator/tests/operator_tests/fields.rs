//! Each field of a Pipeline, by the schema, reaches the plan that agents work by: through the file that the gateway is given,
//! the compiler, and the form in which a plan lies at the broker.

use std::{collections::BTreeMap, path::Path};

use crate::{
    schema::{fields, of_specification},
    sweep::{ABSENT, MANIFEST, SILENT, changed, completed, untested},
};
use crds::{AgentPoolSpec, PipelineSpec, definitions, file};
use flow::Plan;
use operator::namespace::{pipeline_file, pool_file};
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The manifest that has every field: its pools and its pipeline.
fn manifest() -> (BTreeMap<String, AgentPoolSpec>, PipelineSpec) {
    let read = file::read(&[Path::new(ROOT).join(MANIFEST)]).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let pools = read.pools.into_iter().map(|pool| {
        let spec = completed(&json!(pool.resource.spec));
        (pool.name().to_owned(), serde_json::from_value(spec).expect("a pool"))
    });
    let pools = pools.collect();
    (pools, read.pipelines.into_iter().next().expect("a pipeline").resource.spec)
}

/// The plan that an agent reads, from what the gateway is given.
fn plan(spec: &Value, pools: &BTreeMap<String, AgentPoolSpec>) -> Result<Plan, String> {
    let spec = serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
    let files = pools.iter().map(|(name, pool)| pool_file(name, pool)).chain([pipeline_file("everything", &spec)]);
    let mut read = file::Resources::default();
    for (name, text) in files {
        let parsed = file::parse(&name, &text).map_err(|errors| format!("{errors:?}"))?;
        read.pools.extend(parsed.pools);
        read.pipelines.extend(parsed.pipelines);
    }
    let served = &read.pipelines.first().ok_or("the file holds a pipeline")?.resource.spec;
    let pools = read.pools.iter().map(|pool| (pool.name().to_owned(), pool.resource.spec.clone())).collect();
    let plan = flow::compile("everything", 1, served, &pools).map_err(|problems| format!("{problems:?}"))?;
    Plan::decode(&plan.encode()).map_err(|error| error.to_string())
}

#[test]
fn each_field_of_a_pipeline_that_works_is_another_one_in_the_plan_that_agents_read() {
    let (pools, spec) = manifest();
    let spec = completed(&json!(spec));
    let before = plan(&spec, &pools).expect("the manifest is a plan");
    let definition = json!(definitions()[1]);
    let mut wrong = Vec::new();
    for field in fields(of_specification(&definition), &spec) {
        if ABSENT.iter().chain(&SILENT).any(|exempt| exempt.holds(&field.path)) {
            continue;
        }
        let outcome = changed(&spec, &field).map_err(|error| format!("{error:#}")).and_then(|changed| {
            let after = plan(&changed, &pools)?;
            let meant: PipelineSpec = serde_json::from_value(changed).map_err(|error| error.to_string())?;
            match after.spec == meant && after.spec != before.spec && after.digest != before.digest {
                true => Ok(()),
                false => Err("the plan does not say what was written".to_owned()),
            }
        });
        wrong.extend(outcome.err().map(|problem| format!("{}: {problem}", field.path)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn fields_that_the_sweep_leaves_out_are_looked_at_by_tests_that_exist() {
    assert_eq!(untested(Path::new(ROOT)), Vec::<String>::new());
}
