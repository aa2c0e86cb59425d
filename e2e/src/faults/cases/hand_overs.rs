//! CP-11: a pool grows while one leader follows the other, each with a view of its own of what there is.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{FutureExt, StreamExt as _};
use kube::{
    api::{DynamicObject, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{Case, World, election::rivals};
use crate::{
    Kind,
    faults::{Operator, Start, Step, lab::until, report::Findings, workload},
};

pub const CASE: Case = Case {
    id: "CP-11",
    fault: "the Lease goes from one operator to another again and again while a pool grows from 0 to 200 agents: it is taken from \
            a leader that does not know yet, or the leader is asked to end, or killed",
    scaled: "",
    run: |world| run(world).boxed_local(),
};

/// Longest wait for a change of leaders, or for the pool's end state.
const LONGEST: Duration = Duration::from_secs(120);
const POOL: &str = "crowd";

/// How a leader loses the Lease.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    /// Somebody writes that nobody holds it.
    Taken,
    Terminated,
    Killed,
}

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let (number, agents) = if world.short { (6, 12) } else { (100, 200) };
    let (namespace, start, mut operators) = rivals(world, 3).await?;
    let mut leader = world.lab.leader(&start.lease, &operators).await?;
    let client = &world.lab.client;
    let seen = Seen::of(world, &namespace);
    let pool = workload::pool(POOL, 0);
    pool.take(client, &namespace).await?;
    pool.wait(client, &namespace).await?;

    let mut taken = [0_usize; 3];
    for index in 1..=number {
        Step::Scale(POOL, agents * index / number).take(client, &namespace).await?;
        // Now the leader has seen it, now not.
        tokio::time::sleep(Duration::from_millis(u64::from(index * 37 % 400))).await;
        let loss = match index {
            index if index % 20 == 0 => Loss::Killed,
            index if index % 5 == 0 => Loss::Terminated,
            _ => Loss::Taken,
        };
        leader = lose(world, &start, &mut operators, leader, loss).await?;
        taken[loss as usize] += 1;
    }
    until("the pool has its agents", LONGEST, async || {
        let pool: DynamicObject =
            Kind::AgentPool.within(client, &namespace).get(POOL).await.context("look at the pool")?;
        Ok(pool.data["status"]["readyReplicas"] == agents && workload::is_settled(&pool))
    })
    .await?;
    // Whatever a leader of before had sent has arrived by now.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let [by_hand, asked, killed] = taken;
    findings.figure("hand-overs", format!("{number}: Lease taken {by_hand}, SIGTERM {asked}, SIGKILL {killed}"));
    let (pods, sets, falls) = seen.told();
    findings.check(
        &format!("pods that were made for {agents} agents"),
        pods,
        pods == usize::try_from(agents).context("a number of agents")?,
    );
    findings.check("ReplicaSets that were made", sets, sets == 1);
    let said = format!("{} {}", falls.len(), falls.join(", "));
    findings.check("times that the number of agents fell", said.trim(), falls.is_empty());
    drop(operators);
    world.lab.release(&namespace).await?;
    Ok(findings)
}

/// Makes the leader lose the Lease, and waits until another one has it: which.
async fn lose(
    world: &World<'_>,
    start: &Start,
    operators: &mut [Operator],
    leader: usize,
    loss: Loss,
) -> Result<usize> {
    let others = |holder: Option<String>| {
        let holder = holder.unwrap_or_default();
        operators_named(operators, &holder).filter(|found| *found != leader)
    };
    let signal = match loss {
        Loss::Taken => None,
        Loss::Terminated => Some("TERM"),
        Loss::Killed => Some("KILL"),
    };
    if let Some(signal) = signal {
        operators[leader].process.signal(signal)?;
    }
    let leases = Kind::Lease.within(&world.lab.client, crate::faults::lab::HOME);
    let mut next = None;
    until("another operator leads", LONGEST, async || {
        let holder = world.lab.holder(&start.lease).await?;
        next = others(holder.clone());
        // The one from which it was taken may be the quickest to take it again.
        if next.is_none() && signal.is_none() && holder.is_some_and(|holder| !holder.is_empty()) {
            let nobody = json!({"spec": {"holderIdentity": null}});
            leases
                .patch(&start.lease, &PatchParams::default(), &Patch::Merge(&nobody))
                .await
                .context("take the Lease")?;
        }
        Ok(next.is_some())
    })
    .await?;
    if signal.is_some() {
        operators[leader] = world.lab.start(start).await?;
    }
    next.context("another operator leads")
}

fn operators_named(operators: &[Operator], holder: &str) -> Option<usize> {
    operators.iter().position(|operator| holder.starts_with(&format!("{}_", operator.name)))
}

/// What watches have shown of a namespace.
struct Seen {
    told: Arc<Mutex<Told>>,
    watches: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Told {
    pods: BTreeSet<String>,
    sets: BTreeSet<String>,
    replicas: Vec<u64>,
}

impl Seen {
    fn of(world: &World<'_>, namespace: &str) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let watches = [Kind::Pod, Kind::Deployment].map(|kind| {
            let objects = kind.within(&world.lab.client, namespace);
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                let events = watcher(objects, watcher::Config::default()).default_backoff();
                let mut events = std::pin::pin!(events);
                while let Some(event) = events.next().await {
                    if let Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event {
                        locked(&told).hear(kind, &object);
                    }
                }
            })
        });
        Self { told, watches: watches.into() }
    }

    /// Pods and ReplicaSets that there ever were, and when a Deployment asked for fewer pods than before.
    fn told(&self) -> (usize, usize, Vec<String>) {
        let told = locked(&self.told);
        let falls = told.replicas.windows(2).filter(|two| two[1] < two[0]);
        (told.pods.len(), told.sets.len(), falls.map(|two| format!("from {} to {}", two[0], two[1])).collect())
    }
}

impl Told {
    fn hear(&mut self, kind: Kind, object: &DynamicObject) {
        if kind == Kind::Deployment {
            self.replicas.extend(object.data["spec"]["replicas"].as_u64());
            return;
        }
        self.pods.extend(object.metadata.uid.clone());
        let sets = object.metadata.owner_references.iter().flatten().filter(|owner| owner.kind == "ReplicaSet");
        self.sets.extend(sets.map(|owner| owner.uid.clone()));
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        self.watches.iter().for_each(JoinHandle::abort);
    }
}

fn locked(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
