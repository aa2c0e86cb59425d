//! The pools that may do a pipeline's work: they look again when it changes, and have the time of its stages.

use kube::core::DeserializeGuard;
use operator::{agent_pool::pools_of, pipeline::pools::longest_attempt};
use serde_json::{Value, json};

fn stage(more: &Value) -> Value {
    let mut stage = json!({"name": "a", "pool": "readers", "transform": {"template": "x"}});
    crate::cluster::merge(&mut stage, more);
    stage
}

#[test]
fn all_pools_that_a_pipeline_names_look_again_when_it_changes() {
    let stages =
        [stage(&json!({"fallback": [{"pool": "reserve"}, {"pool": "readers"}]})), stage(&json!({"name": "b"}))];
    let pipeline = crate::support::pipeline(json!({"stages": stages, "fallback": [{"pool": "spare"}]}));
    let looks = pools_of(&DeserializeGuard(Ok(pipeline)));
    let names: Vec<&str> = looks.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["readers", "reserve", "spare"]);
    assert!(looks.iter().all(|pool| pool.namespace.as_deref() == Some("documents")));
}

#[test]
fn a_pool_that_a_stage_falls_back_to_has_the_stages_time() {
    let time = |stages: &[Value], pool: &str| {
        let spec = json!({"stages": stages, "stageTimeout": "90s", "fallback": [{"pool": "spare"}]});
        longest_attempt(&crate::support::pipeline(spec).spec, pool).map(|time| time.as_secs())
    };
    let long = stage(&json!({"timeout": "12m", "fallback": [{"pool": "reserve"}]}));
    let short = stage(&json!({"name": "b", "timeout": "5s"}));
    let stages = [long, short.clone()];
    assert_eq!(
        ["readers", "reserve", "spare", "nobody"].map(|pool| time(&stages, pool)),
        [Some(720), Some(720), None, None]
    );
    // The pipeline's fallbacks are for stages that let a model write, and that have none of their own.
    let writes = |more: &Value| {
        let mut stage = stage(&json!({"transform": null, "generate": {"prompt": "x"}}));
        crate::cluster::merge(&mut stage, more);
        time(&[stage, short.clone()], "spare")
    };
    assert_eq!(writes(&json!({"timeout": "20m"})), Some(1_200));
    assert_eq!(writes(&json!({})), Some(90));
    assert_eq!(writes(&json!({"timeout": "Adaptive"})), Some(flow::STAGE_TIMEOUT.as_secs()));
    assert_eq!(writes(&json!({"fallback": []})), None);
}
