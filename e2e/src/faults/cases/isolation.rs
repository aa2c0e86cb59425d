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
        Fault, Operator, Rule, Step,
        lab::until,
        report::{Findings, median, times},
        workload,
    },
};

pub const CASE: Case = Case {
    id: "CP-13",
    fault: "whatever is asked about the objects of one pool is never answered, beside 40 good pools",
    scaled: "40 good pools instead of 99, each changed 8 times; as many without a bad one beside, in rounds that take turns",
    run: |world| run(world).boxed_local(),
};

const ROUNDS: u32 = 8;
const LONGEST: Duration = Duration::from_secs(60);
/// How much longer the longest may take beside the bad one: whoever waits for one of its requests waits 7 s more, until the
/// operator gives it up.
const LONGER: Duration = Duration::from_secs(6);
/// What the good ones may lose by the bad one, in the median: it takes one of the sixteen passes at once, and a machine
/// that others use makes more difference than that.
const RATIO: f64 = 1.5;

/// Good pools in a namespace of their own, with an operator of their own.
struct Side {
    namespace: String,
    operator: Operator,
    took: Vec<Duration>,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let number = if world.short { 10 } else { 40 };
    let (mut good, mut beside) = (Side::start(world).await?, Side::start(world).await?);
    beside.operator.proxy.add(Rule::new(Fault::Silence, |call| call.name.starts_with("bad")));
    let bad = Step::Apply(Kind::AgentPool, "bad", json!({"replicas": 0}));
    bad.take(&world.lab.client, &beside.namespace).await?;
    for round in 1..=ROUNDS {
        // Whatever else the machine does meets both, and neither is always first.
        let sides = if round % 2 == 0 { [&mut beside, &mut good] } else { [&mut good, &mut beside] };
        for side in sides {
            side.round(world, number, round).await?;
        }
    }
    let hung = beside.operator.proxy.met();
    let (good, beside) = (good.end(world).await?, beside.end(world).await?);
    let longest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    let limit = longest(&good) + LONGER;
    let ratio = median(&beside).as_secs_f64() / median(&good).as_secs_f64().max(0.001);
    findings.check("the bad pool's requests hung", hung, hung);
    findings.figure("from a change to its status, without a bad pool", times(good));
    let nobody_waited = longest(&beside) <= limit;
    findings.check("beside a bad pool", times(beside), nobody_waited);
    findings.check("ratio of the medians", format!("{ratio:.2}"), ratio <= RATIO);
    Ok(findings)
}

impl Side {
    async fn start(world: &World<'_>) -> Result<Self> {
        let namespace = world.lab.namespace("beside").await?;
        let operator = world.lab.start_alone(&namespace).await?;
        Ok(Self { namespace, operator, took: Vec::new() })
    }

    /// Changes all good pools at once, and waits for all of them.
    async fn round(&mut self, world: &World<'_>, number: usize, round: u32) -> Result<()> {
        let (client, namespace) = (&world.lab.client, &self.namespace);
        let api = Kind::AgentPool.within(client, namespace);
        let begun = try_join_all((0..number).map(async |index| change(client, namespace, index, round).await)).await?;
        let mut settled = BTreeMap::new();
        until("all good pools are settled", LONGEST, async || {
            let pools = api.list(&ListParams::default()).await.context("list pools")?.items;
            let at = Instant::now();
            for pool in pools.iter().filter(|pool| workload::is_settled(pool)) {
                settled.entry(pool.metadata.name.clone().unwrap_or_default()).or_insert(at);
            }
            Ok(settled.keys().filter(|name| begun.iter().any(|(changed, _)| changed == *name)).count() >= number)
        })
        .await?;
        self.took.extend(begun.iter().filter_map(|(name, begun)| Some(settled.get(name)?.duration_since(*begun))));
        Ok(())
    }

    /// Ends the operator; how long each change took.
    async fn end(self, world: &World<'_>) -> Result<Vec<Duration>> {
        let Self { namespace, operator, took } = self;
        drop(operator);
        world.lab.release(&namespace).await?;
        Ok(took)
    }
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
