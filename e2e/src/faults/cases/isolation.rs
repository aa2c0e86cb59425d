//! CP-13: one object whose passes hang, beside good ones.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use futures::{FutureExt, future::try_join_all};
use kube::{
    Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{Case, World};
use crate::{
    Kind,
    faults::{
        Fault, Rule, Step,
        lab::until,
        report::{Findings, median, times},
        workload,
    },
};

pub const CASE: Case = Case {
    id: "CP-13",
    fault: "whatever is asked about the objects of one pool is never answered, beside 40 good pools",
    scaled: "40 good pools instead of 99, changed in 5 rounds; times are told beside those without the bad pool, and not judged",
    run: |world| run(world).boxed_local(),
};

const LONGEST: Duration = Duration::from_secs(60);
/// What a pass of a good one may take while another hangs; a pass that waited for the bad one would take longer.
const LIMIT: Duration = Duration::from_secs(8);

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number = if world.short { 10 } else { 40 };
    let good = rounds(world, number, false).await?;
    let beside = rounds(world, number, true).await?;
    let longest = beside.iter().max().copied().unwrap_or_default();
    let ratio = median(&beside).as_secs_f64() / median(&good).as_secs_f64().max(0.001);
    findings.figure("from a change to its status, without a bad pool", times(good));
    findings.check("beside a bad pool", times(beside), longest <= LIMIT);
    findings.figure("ratio of the medians", format!("{ratio:.2}"));
    Ok(findings)
}

async fn rounds(world: &World<'_>, number: usize, with_bad: bool) -> Result<Vec<Duration>> {
    let namespace = world.lab.namespace("beside").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    let client = &world.lab.client;
    if with_bad {
        operator.proxy.add(Rule::new(Fault::Silence, |call| call.name.starts_with("bad")));
        Step::Apply(Kind::AgentPool, "bad", json!({"replicas": 0})).take(client, &namespace).await?;
    }
    let api = Kind::AgentPool.within(client, &namespace);
    let mut took = Vec::new();
    for round in 1..=5 {
        let begun = try_join_all((0..number).map(async |index| change(client, &namespace, index, round).await)).await?;
        let mut settled = BTreeMap::new();
        until("all good pools are settled", LONGEST, async || {
            let pools = api.list(&ListParams::default()).await.context("list pools")?.items;
            let at = Instant::now();
            for pool in pools.iter().filter(|pool| workload::is_settled(pool)) {
                settled.entry(pool.metadata.name.clone().unwrap_or_default()).or_insert(at);
            }
            Ok(settled.len() >= number)
        })
        .await?;
        took.extend(begun.iter().filter_map(|(name, begun)| Some(settled.get(name)?.duration_since(*begun))));
    }
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(took)
}

/// Changes a good pool, or makes it; its name, and when.
async fn change(client: &Client, namespace: &str, index: usize, concurrency: u32) -> Result<(String, Instant)> {
    let name = format!("pool-{index}");
    let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name},
        "spec": {"replicas": 0, "concurrency": concurrency}});
    let (params, begun) = (PatchParams::apply("user").force(), Instant::now());
    let api = Kind::AgentPool.within(client, namespace);
    api.patch(&name, &params, &Patch::Apply(&object)).await.context("change a pool")?;
    Ok((name, begun))
}
