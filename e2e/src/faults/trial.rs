//! One way through a workload, with a fault or without, and whether it came to the same end.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::{
    Done, Lab, Operator, Rule, Workload,
    state::{self, State, difference},
};
use crate::Kind;

/// A faulted trial must be where it should be so long after the restart, or after its last step.
pub const CONVERGE: Duration = Duration::from_secs(30);
/// Without writes for so long nothing is under way: longer than any controller waits for its next look at what is starting.
const QUIET: Duration = Duration::from_secs(7);
/// The same where it is known what the end looks like.
const STILL: Duration = Duration::from_millis(700);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Differences that are told of one trial.
const TOLD: usize = 6;

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
pub async fn reference(lab: &Lab, workload: &Workload) -> Result<Outcome> {
    go(lab, workload, None, None).await.with_context(|| format!("go through \"{}\"", workload.name))
}

/// Goes through a workload with a fault, to the end of the reference.
pub async fn faulted(lab: &Lab, workload: &Workload, rule: Rule, reference: &Outcome) -> Result<Outcome> {
    go(lab, workload, Some(rule), Some(reference)).await
}

async fn go(lab: &Lab, workload: &Workload, rule: Option<Rule>, reference: Option<&Outcome>) -> Result<Outcome> {
    let namespace = lab.namespace("trial").await?;
    let mut trial = Trial { lab, namespace, operator: None, past: Vec::new(), restarted: None };
    let outcome = trial.run(workload, rule, reference).await;
    trial.operator = None;
    abandon(lab, &trial.namespace).await?;
    outcome
}

struct Trial<'a> {
    lab: &'a Lab,
    namespace: String,
    operator: Option<Operator>,
    /// What operators did that are dead.
    past: Vec<Done>,
    restarted: Option<Instant>,
}

impl Trial<'_> {
    async fn run(&mut self, workload: &Workload, rule: Option<Rule>, reference: Option<&Outcome>) -> Result<Outcome> {
        let (client, namespace) = (self.lab.client.clone(), self.namespace.clone());
        self.operator = Some(self.lab.start_alone(&namespace).await?);
        for step in &workload.before {
            step.take(&client, &namespace).await?;
            step.wait(&client, &namespace).await?;
        }
        if !workload.before.is_empty() {
            self.quiet(QUIET).await?;
        }
        let skip = self.writes().len();
        let has_rule = rule.is_some();
        if let (Some(operator), Some(rule)) = (&self.operator, rule) {
            operator.proxy.add(rule);
        }
        let stepping = async {
            for step in &workload.steps {
                step.take(&client, &namespace).await?;
                step.wait(&client, &namespace).await?;
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
            (Ok(()), None) => (self.end().await?, Duration::ZERO),
            (Err(_), _) => (self.state().await?, Duration::ZERO),
        };
        let counts = counts(&self.writes());
        let mut wrong: Vec<String> = stepped.err().map(|error| format!("{error:#}")).into_iter().collect();
        if let Some(reference) = reference {
            wrong.extend(difference(&reference.state, &state).into_iter().take(TOLD));
            wrong.extend(different_counts(&reference.counts, &counts).into_iter().take(TOLD));
        }
        if workload.leaves_nothing {
            wrong.extend(state.keys().filter(|name| !is_shared(name)).map(|name| format!("{name} is left")));
        }
        let writes = self.writes().iter().skip(skip).map(|done| done.call.shown()).collect();
        Ok(Outcome { state, counts, writes, met: has_rule && self.restarted.is_some(), took, wrong })
    }

    async fn restart(&mut self) -> Result<()> {
        if let Some(mut operator) = self.operator.take() {
            operator.process.kill()?;
            self.past.extend(operator.proxy.writes());
        }
        self.operator = Some(self.lab.start_alone(&self.namespace).await?);
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
            if begun.elapsed() > CONVERGE * 3 {
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

    /// The end where it is not known: quiet, and the same twice.
    async fn end(&mut self) -> Result<State> {
        self.quiet(QUIET).await?;
        loop {
            let state = self.state().await?;
            self.quiet(STILL * 2).await?;
            if self.state().await? == state {
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
            } else if took > CONVERGE {
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

/// Lets go of a namespace of a trial: without an operator nobody removes finalizers.
async fn abandon(lab: &Lab, namespace: &str) -> Result<()> {
    for kind in [Kind::AgentPool, Kind::Pipeline] {
        let api = kind.within(&lab.client, namespace);
        for object in api.list(&ListParams::default()).await.context("list what a trial left")? {
            let freed = json!({"metadata": {"finalizers": null}});
            let name = object.metadata.name.unwrap_or_default();
            // It may be gone by now.
            let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(&freed)).await;
        }
    }
    lab.delete_namespace(namespace).await
}
