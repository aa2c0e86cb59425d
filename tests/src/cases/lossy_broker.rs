//! A control that must fail: a broker that confirms what it has not synced, and loses it.
//!
//! nats-server syncs every two minutes where `sync_interval: always` is not set. A power cut then takes what was confirmed
//! since the last time. Without a file system that drops what is not synced, that is done by hand: the server's folder is
//! copied, documents go on being accepted, the server is killed and started on the copy: what the disk would hold if the
//! last sync had been at the time of the copy. Nothing in the copy is younger than the setting allows to lose.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use super::{Case, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
    report::verdict_text,
};

/// How long documents are accepted after the copy; far less than two minutes.
const SINCE: Duration = Duration::from_secs(3);
const AT_ONCE: usize = 8;
/// Longest wait for the ends of those that are left.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const CASE: Case = Case {
    id: "CONTROL-SYNC",
    fault: "control that must lose documents: a broker with the default sync_interval, and a power cut",
    scaled: "the power cut is a start on a copy of the folder that is three seconds old",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut cluster = Cluster::start(Layout { broker_options: String::new(), ..world.layout() }).await?;
    let documents = (0..).map(|number| Document::new("document", number));
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::from_millis(10));
    load.next_accepted(SINCE * 10).await;
    tokio::time::sleep(SINCE).await;
    let store = cluster.broker.stores[0].clone();
    let copy = store.with_extension("copy");
    copy_folder(&store, &copy)?;
    tokio::time::sleep(SINCE).await;
    cluster.broker.servers[0].kill()?;
    fs::remove_dir_all(&store).context("remove the broker's folder")?;
    fs::rename(&copy, &store).context("put the copy in its place")?;
    cluster.broker.servers[0].restart()?;
    cluster.broker.await_ready().await?;
    let verdict = load.verdict(&cluster, PATIENCE).await?;
    let mut findings = Findings::default();
    let found = !verdict.lost.is_empty();
    findings.check("the checker finds lost documents", verdict_text(&verdict), found);
    Ok(findings)
}

/// Files may go while they are copied, as they do under a running server.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).context("copy the broker's folder")?;
    for entry in fs::read_dir(from).context("copy the broker's folder")? {
        let Ok(entry) = entry else { continue };
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &copy)?;
        } else {
            let _ = fs::copy(&path, &copy);
        }
    }
    Ok(())
}
