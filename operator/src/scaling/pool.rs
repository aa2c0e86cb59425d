//! One pool as the autoscaler sees it from second to second: what is remembered, and what is to be done now. Pure, but for what
//! it remembers: all that was read, and the time, are arguments.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scaler::{Clamp, Deadline, DeadlineAhead, Decision, Foreseen, History, Observation, Reason, Settings, decide};
use serde::{Deserialize, Serialize};

use super::{
    choose::{Choice, Member, choose},
    foreseen::Branches,
    observe::{Known, Sight, by_name, is_ready, load, observation},
    seen::SeenDeployment,
    starts::Starts,
    told::{self, Told},
    undisturbed::Undisturbed,
    waits::WaitSums,
};

/// An agent that says nothing and was told to rest for so long, in seconds, has heard it.
const HEARD: f64 = 30.0;

/// What outlives a leader, under `scaling/POOL`. As it is written there, with [`scaler::few_digits`], it stays below 4 KiB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// What decisions learn from.
    pub history: History,
    /// Measured cold starts.
    pub starts: Starts,
    /// Sums of waits.
    pub waits: WaitSums,
    /// How many of the foreseen tasks came.
    pub branches: Branches,
    /// Whether the pool ever had tasks at the broker: if so, it had a stream there, and without one nothing is known of it.
    pub had_tasks: bool,
}

/// A pool that is scaled.
#[derive(Debug, Default)]
pub struct PoolScaler {
    /// What outlives a leader.
    pub memory: Memory,
    /// The last decisions that changed something, and holds; the newest first.
    pub told: VecDeque<Told>,
    /// Who was told to rest, and since when, in seconds since 1970.
    resting: BTreeMap<String, f64>,
    /// Since when nothing waits, runs or is foreseen, in seconds since 1970.
    quiet_since: Option<f64>,
    /// Why the last decision held, if it did.
    held: Option<String>,
    /// How long tasks take, but for what a gap in the numbers did to it.
    undisturbed: Undisturbed,
}

/// What is known of a pool from elsewhere: its pipelines, and the other pools.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Tasks that it will get.
    pub foreseen: Vec<Foreseen>,
    /// By when tasks that wait must start.
    pub deadlines: Vec<Deadline>,
    /// By when tasks that it will get must then start.
    pub deadlines_ahead: Vec<DeadlineAhead>,
    /// Pods that it may have, where there are too few devices for all pools.
    pub granted: Option<u32>,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What was seen.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
    /// Pods that it would have been if there were devices for all.
    pub wanted: u32,
    /// Whether it is news: another number, or the beginning of a hold.
    pub is_news: bool,
    /// Who rests and who goes, where the autoscaler owns the number.
    pub choice: Choice,
    /// The number of pods to ask for now, where it is another one: down only as far as pods are known to be empty.
    pub replicas: Option<u32>,
    /// Pods that bear a mark and are not to go any more.
    pub unmark: BTreeSet<String>,
}

impl PoolScaler {
    /// What was remembered; the last decisions, as the pool's status has them, are told again only as far as they go.
    pub fn new(memory: Memory, told: Vec<Told>) -> Self {
        Self { memory, told: told.into_iter().take(told::KEPT).collect(), ..Self::default() }
    }

    /// Looks and decides. `now` is in seconds since 1970, `slots` what one pod works at once. `deployment` is `None` where it
    /// was not seen.
    pub fn step(
        &mut self,
        settings: &Settings,
        sight: &Sight,
        deployment: Option<&SeenDeployment>,
        slots: u32,
        outlook: Outlook,
        now: f64,
    ) -> Step {
        if let Some(pods) = &sight.pods {
            self.memory.starts.look(pods);
        }
        if let Some(agents) = &sight.agents {
            self.memory.waits.add(agents, settings.target.wait, (now * 1_000.0) as flow::Millis);
        }
        self.memory.had_tasks |= sight.depth.as_ref().is_some_and(|depth| depth.arrived > 0);
        let known = Known {
            replicas: deployment.map_or(0, |deployment| deployment.replicas),
            slots,
            waits: self.memory.waits.sums(),
            cold_start: self.memory.starts.distribution(),
            foreseen: outlook.foreseen,
            deadlines: outlook.deadlines,
            deadlines_ahead: outlook.deadlines_ahead,
            is_limited: outlook.granted.is_some(),
        };
        let mut observation = observation(sight, known, sight.at);
        self.undisturbed.correct(&mut observation);
        if deployment.is_none() {
            // The number that is asked for is not known, so nothing can be said of it.
            observation.pods = None;
        }
        let free = self.cooled(settings, &observation, now);
        let limited = outlook.granted.map_or_else(|| free.clone(), |most| within(&free, most));
        // What it would have without that limit is decided on a copy of what is remembered: a bound is part of each decision.
        let mut unlimited = outlook.granted.map(|_| self.memory.history.clone());
        let mut decision = decide(&limited, &mut self.memory.history, &observation, now);
        let wanted = match &mut unlimited {
            Some(history) => wanted(&decide(&free, history, &observation, now), &free, now),
            None => wanted(&decision, &free, now),
        };
        // Its bounds are no higher than what it may have, so a bound that leaves it with less than it wants is that limit.
        let waits =
            matches!(decision.clamp, Some(Clamp::BusyPods | Clamp::Reversal | Clamp::Stabilization | Clamp::Cooldown));
        if outlook.granted.is_some() && !waits && decision.replicas < wanted {
            decision.clamp = Some(Clamp::Devices);
        }
        let choice = self.choice(sight, deployment, &decision, now);
        let replicas = deployment.and_then(|deployment| step_to(deployment, &decision, &choice));
        let is_news = self.is_news(&decision, observation.replicas, now);
        let pods = sight.pods.iter().flatten();
        let unmark = pods
            .filter(|pod| pod.marked && !pod.leaving && !choice.going.contains(&pod.name))
            .map(|pod| pod.name.clone())
            .collect();
        Step { observation, decision, wanted, is_news, choice, replicas, unmark }
    }

    /// The settings, without the keeping of idle pods once there was no work for as long as the user says: what is written goes
    /// before what was learned.
    fn cooled(&mut self, settings: &Settings, observation: &Observation, now: f64) -> Settings {
        let work = observation.work.as_ref();
        let is_quiet = work.is_some_and(|work| work.iter().all(|work| work.pending == 0 && work.in_work == 0))
            && observation.interactive == 0.0
            && observation.foreseen.is_empty();
        self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(now));
        let mut settings = settings.clone();
        if let (Some(cooldown), Some(since)) = (settings.cooldown_to_zero, self.quiet_since) {
            settings.terms.keeping &= now - since < cooldown;
        }
        settings
    }

    /// The last decision that was no hold.
    pub fn last_change(&self) -> Option<&Told> {
        self.told.iter().find(|told| !told.is_hold())
    }

    /// Nobody rests any more: another one owns the number.
    pub fn release(&mut self) {
        self.resting.clear();
    }

    fn choice(&mut self, sight: &Sight, deployment: Option<&SeenDeployment>, decision: &Decision, now: f64) -> Choice {
        let (Some(agents), Some(pods), Some(deployment)) = (&sight.agents, &sight.pods, deployment) else {
            // Who cannot be seen is not told to rest.
            self.resting.clear();
            return Choice::default();
        };
        let (agents, in_work) = (by_name(agents), sight.depth.as_ref().map(|depth| depth.in_work));
        let members: Vec<Member> = pods
            .iter()
            .filter(|pod| !pod.leaving)
            .map(|pod| {
                let agent = agents.get(pod.name.as_str()).copied();
                let told = self.resting.get(&pod.name);
                Member {
                    name: pod.name.clone(),
                    ready: is_ready(pod, agent),
                    ready_in_cluster: pod.ready_since.is_some(),
                    load: load(agent, in_work),
                    // Who speaks says whether it pulls.
                    cordoned: told.is_some_and(|since| match agent {
                        Some(agent) => agent.cordoned,
                        None => now - since >= HEARD,
                    }),
                }
            })
            .collect();
        // While pods of an older kind are replaced, there are more than are asked for. Else those beyond the number were chosen
        // to go, and go on resting until they are gone.
        let wanted = if deployment.is_rolling { u32::MAX } else { decision.replicas };
        let before: BTreeSet<String> = self.resting.keys().cloned().collect();
        let mut choice = choose(&members, wanted, decision.pulling, &before);
        // Pods that the watch does not show are not among those that were looked at.
        let seen = u32::try_from(members.len()).unwrap_or(u32::MAX);
        choice.least = choice.least.saturating_add(deployment.pods.saturating_sub(seen));
        self.resting =
            choice.resting.iter().map(|name| (name.clone(), self.resting.get(name).copied().unwrap_or(now))).collect();
        choice
    }

    /// Keeps the decision where it is to be told, and says whether it is news.
    fn is_news(&mut self, decision: &Decision, from: u32, now: f64) -> bool {
        let holds = matches!(decision.reason, Reason::Held(_));
        let word = told::word(&decision.reason);
        let is_same = |told: &Told| told.from == from && told.to == decision.replicas && told.reason == word;
        // A hold in between makes no news of what was told before it.
        let told_already = self.told.iter().find(|told| told.is_hold() == holds).is_some_and(is_same);
        let begins_to_hold = holds && self.held.as_ref() != Some(&word);
        if !begins_to_hold && (decision.replicas == from || told_already) {
            self.held = holds.then_some(word);
            return false;
        }
        // A hold that comes again takes its own place: it pushes out nothing that says why the number is what it is.
        let before = self.told.len();
        self.told.retain(|told| !(told.is_hold() && is_same(told)));
        let is_news = self.told.len() == before;
        self.told.push_front(Told::of(decision, from, now));
        self.told.truncate(told::KEPT);
        self.held = holds.then_some(word);
        is_news
    }
}

/// Settings by which there are never more pods than `most`.
fn within(settings: &Settings, most: u32) -> Settings {
    let mut settings = settings.clone();
    settings.max_replicas = settings.max_replicas.min(most);
    settings.min_replicas = settings.min_replicas.min(most);
    for window in &mut settings.schedule {
        window.max_replicas = window.max_replicas.min(most);
        window.min_replicas = window.min_replicas.min(most);
    }
    settings
}

/// What the parts of a decision ask for, within the user's bounds.
fn wanted(decision: &Decision, settings: &Settings, now: f64) -> u32 {
    if matches!(decision.reason, Reason::Held(_)) {
        return decision.replicas;
    }
    let (min, max, _) = settings.bounds_at(now);
    decision.terms.iter().map(|term| term.replicas).max().unwrap_or_default().clamp(min, max.max(min))
}

/// The number to ask for now.
fn step_to(deployment: &SeenDeployment, decision: &Decision, choice: &Choice) -> Option<u32> {
    let (before, wanted) = (deployment.replicas, decision.replicas);
    if wanted > before {
        return Some(wanted);
    }
    let least = choice.least.max(wanted);
    (wanted < before && !deployment.is_rolling && least < before).then_some(least)
}

/// Whether a pool has nothing, and nothing is expected of it: it need not be looked at before something comes. One for which
/// pods are wanted that may not start yet is looked at until they may.
pub fn is_asleep(sight: &Sight, step: &Step) -> bool {
    sight.depth.as_ref().is_some_and(|depth| depth.total() == 0)
        && sight.pods.as_ref().is_some_and(Vec::is_empty)
        && step.observation.replicas == 0
        && step.observation.foreseen.is_empty()
        && step.decision.replicas == 0
        && step.wanted == 0
}
