//! Pipelines as they are written for a cluster, as stages to simulate. A manifest does not say how long stages take: each takes as
//! long as the trace says, on a pool of its own.

use serde::Deserialize;

use super::chain::Described;

/// What is looked at of any resource; all else is for others.
#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    stages: Vec<Stage>,
}

#[derive(Deserialize)]
struct Stage {
    name: String,
    #[serde(default)]
    after: Vec<String>,
}

/// The stages of each resource of kind Pipeline in the text, each stage after those that it waits for.
///
/// # Errors
/// Says where the text is no YAML.
pub(super) fn pipelines(text: &str) -> Result<Vec<Vec<Described>>, serde_saphyr::Error> {
    let resources: Vec<Resource> = serde_saphyr::from_multiple(text)?;
    let pipelines = resources.into_iter().filter(|resource| resource.kind == "Pipeline");
    Ok(pipelines.map(|pipeline| in_order(pipeline.spec.map_or(Vec::new(), |spec| spec.stages))).collect())
}

/// Stages may be written in any order. Those that wait for each other, or for none that is there, come last and are refused as
/// such.
fn in_order(mut left: Vec<Stage>) -> Vec<Described> {
    let mut stages: Vec<Described> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let there = |name: &String| stages.iter().any(|stage| stage.name == *name);
        let next = left.iter().position(|stage| stage.after.iter().all(there)).unwrap_or(0);
        let Stage { name, after } = left.remove(next);
        stages.push(Described { name, after, seconds: 0.0, times: 1.0, variation: 0.0, probability: 1.0 });
    }
    stages
}
