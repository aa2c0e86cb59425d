//! A broker of three servers: who leads a pool's streams changes while the pool is scaled and works, by a crash and by request.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use e2e::{
    Cluster, Expectation, Gateway, HOME, Installation, Kind, PATIENCE, Steps, condition, connect, crash, helm, remove,
    wait_for, with_namespace_only,
};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::documents::{all_ended_once, documents};

/// Texts by id.
type Documents = BTreeMap<String, String>;

const AGENTS: &str = "clerks-agents";
/// More agents than the work of this story can want.
const MOST: u64 = 12;
/// Documents from which an agent learns how long its tasks take, or whose end shows that work goes on.
const SOME: usize = 8;
/// The kubelet lets a container wait that crashed before, for longer than an election takes.
const CRASHES: usize = 3;
/// An election takes no longer, on a busy machine too: those that are left notice within ten seconds that one is gone.
const ELECTION: Duration = Duration::from_secs(60);
/// Between two documents: so few that one agent has time for all, on a busy machine too. Many at once would be a reason to grow.
const EACH: Duration = Duration::from_millis(500);

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_pool_works_on_while_the_leaders_at_the_broker_change() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    helm(&client, &["nats.replicas=3"]).await?;
    with_namespace_only(async |cluster| {
        let gateway = scaled(cluster).await?;
        // One agent learns how long its tasks take; then there may be many more.
        let mut all = some_end(&gateway, "first").await?;
        change(cluster, json!({"maxReplicas": MOST})).await?;
        let steps = Steps::of(cluster, AGENTS);
        let mut crashes = 0;
        all.extend(
            work_while(&gateway, async || {
                crashes = leader_crashes(cluster).await?;
                let mut some = some_end(&gateway, "crashed").await?;
                leader_steps_down(cluster).await?;
                some.extend(some_end(&gateway, "stepped-down").await?);
                Ok(some)
            })
            .await?,
        );
        let asked = steps.so_far();
        // What piles up while there is no leader, or while the machine stands still, may be work for another agent, who goes when
        // it is done: at each crash, as the next leader steps down, and once besides.
        let descents = asked.windows(2).filter(|step| step[1] < step[0]).count();
        let is_calm = asked.iter().all(|number| (1..MOST).contains(number)) && descents <= crashes + 2;
        ensure!(is_calm, "agents asked for were {asked:?}");
        all_ended_once(&gateway, &all).await?;
        cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await.map(drop)
    })
    .await?;
    remove(&client, Installation::Helm).await
}

/// The server that leads the pool's tasks dies as by a power cut. One that is back before the others miss it leads again, and
/// dies again. How often it was made to.
async fn leader_crashes(cluster: &Cluster) -> Result<usize> {
    let tasks = format!("docket-{}-tasks-clerks", cluster.namespace);
    let (tasks, before) = cluster.leader_of(&tasks).await?;
    let pods = Kind::Pod.within(&cluster.client, HOME);
    for crashes in 1..=CRASHES {
        // One that the kubelet lets wait has no process to crash.
        let runs = Expectation::new("to run", |pod| {
            pod.is_some_and(|pod| pod.data["status"]["containerStatuses"][0]["state"]["running"].is_object())
        });
        crash(&pods, &wait_for(&pods, &before, &runs).await?).await?;
        if let Some(after) = cluster.other_leader(&tasks, &before, ELECTION).await? {
            eprintln!("{before} led the pool's tasks and crashed; {after} leads");
            return Ok(crashes);
        }
    }
    bail!("{before} crashed {CRASHES} times and leads the pool's tasks")
}

/// The server that leads the pipeline's records is asked to go, hands over what it leads, and comes back.
async fn leader_steps_down(cluster: &Cluster) -> Result<()> {
    let begins = format!("KV_docket-{}-records-", cluster.namespace);
    let (records, before) = cluster.leader_of(&begins).await?;
    let pods = Kind::Pod.within(&cluster.client, HOME);
    pods.delete(&before, &DeleteParams::default()).await.context("ask the server that leads to go")?;
    let after = cluster.other_leader(&records, &before, PATIENCE).await?;
    let after = after.with_context(|| format!("{before} was asked to go and leads the pipeline's records"))?;
    eprintln!("{before} led the pipeline's records and stepped down; {after} leads");
    Ok(())
}

/// A pool that follows its work with one agent at most, and its pipeline.
async fn scaled(cluster: &Cluster) -> Result<Gateway> {
    cluster.apply_file("e2e/manifests/scaled.yaml").await?;
    change(cluster, json!({"maxReplicas": 1, "cooldownToZero": "10m"})).await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    let gateway = cluster.gateway().await?;
    gateway.serves("letters", true).await?;
    Ok(gateway)
}

async fn change(cluster: &Cluster, scaling: Value) -> Result<()> {
    cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"scaling": scaling}})).await?;
    cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await.map(drop)
}

/// Submits some documents, one after the other, and waits until they have ended.
async fn some_end(gateway: &Gateway, prefix: &str) -> Result<Documents> {
    let some = documents(prefix, SOME);
    let mut ticks = interval(EACH);
    for (id, text) in &some {
        ticks.tick().await;
        gateway.submit("letters", id, text).await?;
    }
    gateway.ends_of("letters", some.keys()).await?;
    Ok(some)
}

/// Submits one document after the other while something happens. These, and those that it submits itself.
async fn work_while(gateway: &Gateway, happens: impl AsyncFnOnce() -> Result<Documents>) -> Result<Documents> {
    let over = AtomicBool::new(false);
    let happening = async {
        let happened = happens().await;
        over.store(true, Ordering::Relaxed);
        happened
    };
    let working = async {
        let (mut all, mut ticks) = (Documents::new(), interval(EACH));
        // Those that could not be submitted for want of a leader are not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let (id, text) = (format!("then-{:04}", all.len()), format!("This is letter {} of many.", all.len()));
            gateway.submit("letters", &id, &text).await?;
            all.insert(id, text);
        }
        Ok(all)
    };
    let (happened, worked): (_, Result<Documents>) = tokio::join!(happening, working);
    let (mut all, others) = (happened?, worked?);
    all.extend(others);
    Ok(all)
}
