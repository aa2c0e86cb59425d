//! DP-16: a store that cannot do what is asked of it.
//!
//! Payloads are named by their content, so nothing depends on the store refusing to write a name twice: a store that ignores
//! the condition is as good as any. What cannot work is a place that no store serves; that must show at the start.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

use super::{Case, DRAIN, Findings, World};
use crate::{
    cluster::{Cluster, Layout},
    documents::Document,
    load::Load,
    process::{Process, Program},
    s3::{BUCKET, S3, Trouble},
};

const DOCUMENTS: usize = 100;
const AT_ONCE: usize = 8;
/// Longest time until a worker with a place that makes no sense has said so and ended.
const REFUSED_WITHIN: Duration = Duration::from_secs(20);

pub(super) const CASE: Case = Case {
    id: "DP-16",
    fault: "payloads at a place of no known kind; an S3 store that ignores If-None-Match",
    scaled: "payloads are named by content, so the condition is not needed; what is refused is the unknown place",
    run: |world| Box::pin(run(world)),
};

async fn run(world: &World) -> Result<Findings> {
    let mut findings = Findings::default();
    let s3 = match &world.tools.s3 {
        Some(program) => Some(S3::start(program, &world.folder).await?),
        None => {
            findings.figure("store that ignores conditions", "skipped: no S3 server (scripts/s3-server.sh)");
            None
        }
    };
    let mut layout = world.layout();
    if let Some(s3) = &s3 {
        s3.set(Trouble { ignores_conditions: true, ..Trouble::default() });
        let payloads = Some(format!("s3://{BUCKET}/documents"));
        layout = Layout { payloads, environment: s3.environment(), ..layout };
    }
    let cluster = Cluster::start(layout).await?;
    unknown_place(world, &mut findings)?;
    // The same texts again and again: every payload is put several times.
    let documents = (0..DOCUMENTS * world.scale).map(|number| {
        let id = Document::new("document", number).id;
        Document { id, ..Document::new("document", number % 10) }
    });
    let load = Load::start(cluster.client(), documents, AT_ONCE, Duration::ZERO);
    findings.verdict(&load.settle(&cluster, DRAIN).await?);
    if let Some(s3) = &s3 {
        let (requests, _, dropped) = s3.counts();
        findings.check("conditions that the store never saw", format!("{dropped} of {requests} requests"), dropped > 0);
    }
    Ok(findings)
}

fn unknown_place(world: &World, findings: &mut Findings) -> Result<()> {
    let text = fs::read_to_string(world.folder.join("readers-0.yaml")).context("read a worker's file")?;
    let lines = text.lines().map(|line| match line.starts_with("payloads:") {
        true => "payloads: \"ftp://somewhere/documents\"",
        false => line,
    });
    let file = world.folder.join("nowhere.yaml");
    fs::write(&file, lines.collect::<Vec<_>>().join("\n")).context("write a worker's file")?;
    let mut worker = Process::start(Program {
        name: "nowhere".to_owned(),
        path: world.tools.docket.clone(),
        arguments: ["worker", "--config", &file.display().to_string(), "--health", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec(),
        environment: Vec::new(),
        memory: None,
        log: world.folder.join("nowhere.log"),
    })?;
    let ended = tokio::task::block_in_place(|| worker.ended_within(REFUSED_WITHIN))?;
    let refused = ended && worker.ended()?.is_some_and(|status| !status.success());
    findings.check("unknown place refused at the start", refused, refused);
    let named = worker.said().contains("ftp://somewhere/documents");
    findings.check("the message names it", named, named);
    Ok(())
}
