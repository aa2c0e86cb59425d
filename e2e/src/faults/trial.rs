//! One way through a workload, with a fault or without, and whether it came to the same end.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::api::ListParams;

use super::{
    Done, Lab, Operator, Rule, Start, Watches, Workload,
    lab::until,
    state::{self, State, difference},
};
use crate::Kind;

/// A faulted trial must be where it should be so long after the restart, or after its last step.
pub const CONVERGE: Duration = Duration::from_secs(30);
/// The same where other clusters are on the machine: how soon is not looked at there, and a late end is no wrong one.
pub const CONVERGE_IN_A_CROWD: Duration = Duration::from_secs(120);
/// Without writes for so long nothing is under way: longer than any controller waits for its next look at what is starting.
const QUIET: Duration = Duration::from_secs(7);
/// The same where other clusters are on the machine.
const QUIET_IN_A_CROWD: Duration = Duration::from_secs(20);
/// The same where it is known what the end looks like.
const STILL: Duration = Duration::from_millis(700);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Differences that are told of one trial.
const TOLD: usize = 6;

/// What goes wrong in a trial.
pub enum Trouble {
    /// With requests.
    Calls(Rule),
    /// With watches: events of the steps from `from` to before `to` are held back until they are all taken.
    Events {
        /// The first step that is not seen when it is taken.
        from: usize,
        /// The first that is seen again.
        to: usize,
        /// Whether those events come late or not at all.
        then: Watches,
    },
}

/// How a trial ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What there is.
    pub state: State,
    /// How often each object was made, and removed, by the operator.
    pub counts: BTreeMap<String, usize>,
    /// Writes since the steps began, in their order.
    pub writes: Vec<String>,
    /// Whether the fault came about.
    pub met: bool,
    /// From the restart, or the last step, to the end state.
    pub took: Duration,
    /// What is wrong; empty where nothing is.
    pub wrong: Vec<String>,
}

/// Goes through a workload without faults, until nothing happens any more.
pub async fn reference(lab: &Lab, workload: &Workload, converge: Duration) -> Result<Outcome> {
    go(lab, workload, converge, None, None).await.with_context(|| format!("go through \"{}\"", workload.name))
}

/// Goes through a workload with a fault, to the end of the reference.
pub async fn faulted(
    lab: &Lab,
    workload: &Workload,
    converge: Duration,
    trouble: Trouble,
    reference: &Outcome,
) -> Result<Outcome> {
    go(lab, workload, converge, Some(trouble), Some(reference)).await
}

async fn go(
    lab: &Lab,
    workload: &Workload,
    converge: Duration,
    trouble: Option<Trouble>,
    reference: Option<&Outcome>,
) -> Result<Outcome> {
    let namespace = lab.namespace("trial").await?;
    let mut trial = Trial { lab, namespace, converge, operator: None, past: Vec::new(), restarted: None };
    let outcome = trial.run(workload, trouble, reference).await;
    trial.operator = None;
    lab.release(&trial.namespace).await?;
    outcome
}

struct Trial<'a> {
    lab: &'a Lab,
    namespace: String,
    /// It must be where it should be so long after the restart, or after its last step.
    converge: Duration,
    operator: Option<Operator>,
    /// What operators did that are dead.
    past: Vec<Done>,
    restarted: Option<Instant>,
}

impl Trial<'_> {
    async fn run(
        &mut self,
        workload: &Workload,
        trouble: Option<Trouble>,
        reference: Option<&Outcome>,
    ) -> Result<Outcome> {
        let (client, namespace) = (self.lab.client.clone(), self.namespace.clone());
        self.operator = Some(self.lab.start(&self.start()).await?);
        for step in &workload.before {
            step.take(&client, &namespace).await?;
            step.wait(&client, &namespace).await?;
        }
        if !workload.before.is_empty() {
            self.counted().await?;
            self.quiet(STILL * 2).await?;
        }
        let skip = self.writes().len();
        let proxy = &self.operator.as_ref().context("an operator runs")?.proxy;
        let gate = proxy.gate();
        let (mut has_rule, mut unseen) = (false, 0..0);
        let mut then = Watches::Open;
        match trouble {
            None => {}
            Some(Trouble::Calls(rule)) => {
                has_rule = true;
                proxy.add(rule);
            }
            Some(Trouble::Events { from, to, then: afterwards }) => (unseen, then) = (from..to, afterwards),
        }
        // Of what is not seen, not every object is there any more, and how often it was made is another matter.
        let counted = unseen.is_empty();
        let stepping = async {
            for (index, step) in workload.steps.iter().enumerate() {
                let is_unseen = unseen.contains(&index);
                if is_unseen {
                    gate.send_replace(Watches::Held);
                }
                step.take(&client, &namespace).await?;
                if !is_unseen {
                    step.wait(&client, &namespace).await?;
                } else if index + 1 == unseen.end {
                    gate.send_replace(then);
                    step.wait(&client, &namespace).await?;
                } else {
                    step.wait_unseen(&client, &namespace).await?;
                }
            }
            anyhow::Ok(())
        };
        let mut stepping = pin!(stepping);
        let stepped = loop {
            let operator = self.operator.as_ref().context("an operator runs")?;
            tokio::select! {
                stepped = &mut stepping => break stepped,
                () = operator.proxy.crashed() => self.restart().await?,
            }
        };
        let (state, took) = match (&stepped, reference) {
            (Ok(()), Some(reference)) => self.converge(&reference.state).await?,
            (Ok(()), None) => (self.end(workload).await?, Duration::ZERO),
            (Err(_), _) => (self.state().await?, Duration::ZERO),
        };
        let counts = counts(&self.writes());
        let mut wrong: Vec<String> = stepped.err().map(|error| format!("{error:#}")).into_iter().collect();
        if let Some(reference) = reference {
            wrong.extend(difference(&reference.state, &state).into_iter().take(TOLD));
            if counted {
                wrong.extend(different_counts(&reference.counts, &counts).into_iter().take(TOLD));
            }
        }
        if workload.leaves_nothing {
            wrong.extend(left(&state).map(|name| format!("{name} is left")));
        }
        let met = !has_rule || self.restarted.is_some() || self.operator.as_ref().is_some_and(|now| now.proxy.met());
        let writes = self.writes().iter().skip(skip).map(|done| done.call.shown()).collect();
        Ok(Outcome { state, counts, writes, met, took, wrong })
    }

    fn start(&self) -> Start {
        Start { in_turn: true, ..Start::new(&self.namespace) }
    }

    async fn restart(&mut self) -> Result<()> {
        if let Some(mut operator) = self.operator.take() {
            operator.process.kill()?;
            self.past.extend(operator.proxy.writes());
        }
        self.operator = Some(self.lab.start(&self.start()).await?);
        self.restarted = Some(Instant::now());
        Ok(())
    }

    fn writes(&self) -> Vec<Done> {
        let mut writes = self.past.clone();
        writes.extend(self.operator.iter().flat_map(|operator| operator.proxy.writes()));
        writes
    }

    async fn state(&self) -> Result<State> {
        state::read(&self.lab.client, &self.lab.broker, &self.namespace).await
    }

    /// Waits until nothing was written for so long; a crash meanwhile is followed by a start.
    async fn quiet(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let (mut count, mut since) = (self.writes().len(), Instant::now());
        while since.elapsed() < time {
            if begun.elapsed() > self.converge * 3 {
                bail!("writes went on: {:?}", self.writes().last().map(|done| done.call.shown()));
            }
            self.rest().await?;
            if self.writes().len() != count {
                (count, since) = (self.writes().len(), Instant::now());
            }
        }
        Ok(())
    }

    async fn rest(&mut self) -> Result<()> {
        let operator = self.operator.as_ref().context("an operator runs")?;
        tokio::select! {
            () = tokio::time::sleep(LOOK) => Ok(()),
            () = operator.proxy.crashed() => self.restart().await,
        }
    }

    /// Waits until each pool's status has its numbers, which come last.
    async fn counted(&mut self) -> Result<()> {
        let pools = Kind::AgentPool.within(&self.lab.client, &self.namespace);
        until("every pool has its numbers", self.converge, async || {
            let pools = pools.list(&ListParams::default()).await.context("list pools")?;
            Ok(pools.items.iter().all(|pool| pool.data["status"]["waiting"].is_number()))
        })
        .await
        .map(drop)
    }

    /// The end where it is not known: quiet, and the same twice. What others than the operator remove may take longer.
    async fn end(&mut self, workload: &Workload) -> Result<State> {
        self.quiet(if self.converge > CONVERGE { QUIET_IN_A_CROWD } else { QUIET }).await?;
        let begun = Instant::now();
        loop {
            let state = self.state().await?;
            self.quiet(STILL * 2).await?;
            let may_go = workload.leaves_nothing && left(&state).next().is_some() && begun.elapsed() < self.converge;
            if !may_go && self.state().await? == state {
                return Ok(state);
            }
        }
    }

    /// Waits for a known end, at most as long as that may take; what is there then, and how long it took.
    async fn converge(&mut self, expected: &State) -> Result<(State, Duration)> {
        let stepped = Instant::now();
        loop {
            let since = self.restarted.map_or(stepped, |restarted| restarted.max(stepped));
            let state = self.state().await?;
            let took = since.elapsed();
            if state == *expected {
                let writes = self.writes().len();
                self.quiet(STILL).await?;
                if self.writes().len() == writes && self.state().await? == *expected {
                    return Ok((state, took));
                }
            } else if took > self.converge {
                return Ok((state, took));
            }
            self.rest().await?;
        }
    }
}

/// Streams that a namespace has for all its pools and pipelines stay: they hold what is settled of documents that have ended.
fn is_shared(name: &str) -> bool {
    name.starts_with("Stream/")
}

/// What is left of pools and pipelines.
fn left(state: &State) -> impl Iterator<Item = &String> {
    state.keys().filter(|name| !is_shared(name))
}

fn counts(writes: &[Done]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for done in writes {
        let word = if done.created() { "made" } else { "removed" };
        if done.created() || done.deleted() {
            *counts.entry(format!("{} {} {word}", done.call.resource, done.call.name)).or_default() += 1;
        }
    }
    counts
}

fn different_counts(expected: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>) -> Vec<String> {
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let count = |of: &BTreeMap<String, usize>, name: &String| of.get(name).copied().unwrap_or_default();
    let differs = |name: &&&String| count(expected, name) != count(found, name);
    let tell = |name: &String| format!("{name} {} times, expected {}", count(found, name), count(expected, name));
    names.iter().filter(differs).map(|name| tell(name)).collect()
}
