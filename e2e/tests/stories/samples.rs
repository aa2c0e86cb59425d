//! Every published sample is applied as it stands, each in a namespace of its own: its pipeline is accepted, its pools say how they
//! stand. The image of these stories has no models, and one node is not what all samples want, so that not all become ready.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Expectation, Kind, PATIENCE, condition, condition_of, connect, installed, wait, with_namespace_only,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{ResourceExt, api::ListParams};

/// Samples that are applied at once, on a small node.
const AT_ONCE: usize = 2;

#[tokio::test]
#[ignore = "needs cluster"]
async fn every_published_sample_is_applied_and_says_how_it_stands() -> Result<()> {
    installed(&connect().await?).await?;
    let folder = fs::canonicalize("../config/samples").context("find the samples")?;
    let files = fs::read_dir(&folder).context("list the samples")?.flatten().map(|entry| entry.path());
    let samples: Vec<PathBuf> = files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).collect();
    ensure!(!samples.is_empty(), "there is no sample in {}", folder.display());
    let told = samples.iter().map(|sample| async move {
        let told = with_namespace_only(async |cluster| stands(cluster, sample).await).await;
        told.with_context(|| format!("the sample {}", sample.display()))
    });
    stream::iter(told).buffer_unordered(AT_ONCE).try_collect().await
}

/// Applies a sample, waits until all of it says how it stands, and deletes it.
async fn stands(cluster: &Cluster, sample: &Path) -> Result<()> {
    cluster.would_take(sample).await.context("what it says is not all known")?;
    let file = sample.display().to_string();
    cluster.kubectl(&["apply", "--filename", &file], "").await?;
    let applied = Instant::now();
    for pool in cluster.all(Kind::AgentPool).list(&ListParams::default()).await.context("list the pools")? {
        let pool = wait(&cluster.all(Kind::AgentPool), &pool.name_any(), &says_how_it_stands(), PATIENCE).await?;
        let pool = pool.context("a pool has gone")?;
        for kind in ["Ready", "Schedulable", "ModelsLoaded"] {
            ensure!(condition_of(&pool, kind).is_some(), "the pool has no condition {kind}: {:#}", pool.data["status"]);
        }
    }
    let pipelines = cluster.all(Kind::Pipeline).list(&ListParams::default()).await.context("list the pipelines")?;
    ensure!(!pipelines.items.is_empty(), "it has no pipeline");
    for pipeline in pipelines {
        let accepted = condition("Accepted", "True").and(says_how_it_stands());
        wait(&cluster.all(Kind::Pipeline), &pipeline.name_any(), &accepted, PATIENCE).await?;
    }
    let name = sample.file_name().unwrap_or_default().display();
    eprintln!("{name} said how it stands after {:.1} s", applied.elapsed().as_secs_f64());
    cluster.kubectl(&["delete", "--filename", &file, "--timeout", "120s"], "").await.map(drop)
}

/// The status is of the present generation, and so are all its conditions, of which each says why.
fn says_how_it_stands() -> Expectation {
    Expectation::new("a status with conditions of the present generation", |object| {
        object.is_some_and(|object| {
            let status = &object.data["status"];
            let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            status["observedGeneration"].as_i64() == object.metadata.generation
                && !conditions.is_empty()
                && conditions.iter().all(|condition| {
                    condition["observedGeneration"].as_i64() == object.metadata.generation
                        && condition["message"].as_str().is_some_and(|message| !message.is_empty())
                })
        })
    })
}
