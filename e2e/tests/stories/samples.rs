//! Every published sample is taken by the API server as it stands.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::with_namespace;

#[tokio::test]
#[ignore = "needs cluster"]
async fn every_published_sample_is_taken() -> Result<()> {
    with_namespace(async |cluster| {
        let folder = fs::canonicalize("../config/samples").context("find the samples")?;
        let files = fs::read_dir(&folder).context("list the samples")?.flatten().map(|entry| entry.path());
        let samples: Vec<PathBuf> =
            files.filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).collect();
        ensure!(!samples.is_empty(), "there is no sample in {}", folder.display());
        for sample in samples {
            let taken = cluster.would_take(&sample).await;
            taken.with_context(|| format!("the sample {}", sample.display()))?;
        }
        Ok(())
    })
    .await
}
