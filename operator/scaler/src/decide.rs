//! The decision: how many replicas a pool is to have now. Knows no clock, no cluster and no broker.
//!
//! In order: numbers that cannot be trusted hold (`hold.rs`); what was seen is learned; each term says how many replicas it
//! needs; the largest counts; pods at work are never taken away; changes of direction wait for a cold start, but for bursts;
//! bounds hold.

mod hold;
mod keep;

use self::hold::{held, without_pods};
use crate::{
    ahead::Coming,
    cold_start::ColdStart,
    decision::{Clamp, Decision, Hold, Reason, Term, TermValue},
    demand::{Demand, Supply, Weights, order},
    history::History,
    observation::{Deadline, Foreseen, Observation, Pods},
    settings::Settings,
    thresholds,
    trust::doubt,
};

/// From a reading to a pod that pulls: the next decision, and the word to the pod.
const REACTION: f64 = 2.0;
/// More than so many times the pods that there were before a step down are not that step taken back.
const BURST: u32 = 2;
/// Turns down an hour that need not be put off: each is followed by one up.
const TURNS_DOWN_AN_HOUR: f64 = 2.0;
/// Pods' starts and shortest stays that a document's deadline is worth, however cheap late tasks have become: a document that
/// misses it is lost.
const LOST: f64 = 4.0;
/// Quantiles by which starts are reckoned with.
const STARTS: usize = 40;
/// Parts of the last of them.
const TAIL: usize = 8;
/// Starts that are waited for, of all: the longest is one that something kept.
const NEARLY_ALL: f64 = 0.95;
/// The longest of some dozen starts is not the longest that there is.
const UNSEEN: f64 = 1.3;

/// How many replicas the pool is to have, and why.
///
/// The same arguments always give the same decision. `history` is what was remembered of earlier calls; a new one is as good
/// after a restart, but for what it has to learn again. `now` is in seconds since 1970.
pub fn decide(settings: &Settings, history: &mut History, observation: &Observation, now: f64) -> Decision {
    if settings.check().is_err() {
        return held(settings, observation, Hold::Settings, now);
    }
    if let Some(hold) = doubt(observation, history, now) {
        history.unread = true;
        return without_pods(settings, history, observation, hold, now)
            .unwrap_or_else(|| held(settings, observation, hold, now));
    }
    if history.reading.is_none() && observation.replicas > 0 && history.last_up.is_none() {
        // Whoever is there at first sight may have been started a moment ago.
        history.last_up = Some(now);
    }
    let since_last = history.reading.map_or(0.0, |reading| now - reading.at);
    history.learn(settings, observation, now);
    let purse = f64::from(observation.replicas) * settings.stabilization.cost_share;
    history.calm.earn(purse, TURNS_DOWN_AN_HOUR / 3_600.0, since_last);
    let nothing = Pods::default();
    let seen = Seen::new(settings, history, observation, observation.pods.as_ref().unwrap_or(&nothing), now);
    let wanted = match &settings.queue {
        Some(queue) => {
            let terms = thresholds::asked(queue, observation, seen.awaits_pods(history));
            // Those beyond what is asked for rest, so that they become empty; somebody pulls as long as somebody is there.
            let asked = terms.iter().map(|term| term.replicas).max().unwrap_or(0);
            Wanted { terms, pulling: asked.max(1).min(seen.pods.ready()), again_at: None }
        }
        None => seen.wanted(history, since_last),
    };
    history.forget_steps_down(now - seen.cold_start.mean_at_most());
    let decision = seen.bounded(history, wanted, since_last);
    history.pulls(decision.pulling);
    let late = seen.too_late(settings.target.wait - REACTION);
    let waited = history.oldest_wait(observation, now).map(|waited| waited.min(settings.target.wait));
    history.decided(observation.replicas, decision.replicas, late, waited, now);
    decision
}

/// What the terms ask for.
struct Wanted {
    terms: Vec<TermValue>,
    pulling: u32,
    again_at: Option<f64>,
}

/// An observation, and what follows from it directly.
struct Seen<'a> {
    settings: &'a Settings,
    observation: &'a Observation,
    pods: &'a Pods,
    cold_start: ColdStart,
    /// Tasks that are in work by the broker's count, while nobody is there who could hold them: they wait for the end of leases.
    abandoned: f64,
    /// Tasks that wait, those among them, and slots in use.
    pending: f64,
    busy: f64,
    slots: f64,
    /// The part of slots that is in use or would be at once.
    usable: f64,
    /// Seconds that a task is in work that is started next, and the square of the standard deviation over this mean.
    service: f64,
    spread: f64,
    /// Slots in use by each kind of tasks, and seconds that such a task is in work.
    in_work: Vec<(f64, f64)>,
    now: f64,
}

impl<'a> Seen<'a> {
    fn new(settings: &'a Settings, history: &History, observation: &'a Observation, pods: &'a Pods, now: f64) -> Self {
        let nobody = pods.ready() + pods.starting() + pods.draining == 0;
        let (abandoned, held) = if nobody { (observation.in_work(), 0) } else { (0, observation.in_work()) };
        let cold_start = ColdStart::with_guess(observation.cold_start.as_ref());
        let coming = history.rate * (settings.target.wait + cold_start.mean);
        let next = history.next(observation, coming, !nobody);
        let longer = history.lengthened(observation).max(history.slowed());
        let in_work = if nobody { Vec::new() } else { history.in_work(observation) };
        let interactive = Some((observation.interactive, next.mean)).filter(|it| it.0 > 0.0);
        Self {
            settings,
            observation,
            pods,
            cold_start,
            abandoned: abandoned as f64,
            pending: observation.pending().saturating_add(abandoned) as f64,
            busy: held as f64 + observation.interactive,
            slots: f64::from(observation.slots_per_pod),
            // Slots that stand empty while something waits are not free.
            usable: if observation.oldest_wait > Some(REACTION) { 1.0 / history.slowed() } else { 1.0 },
            service: next.mean * longer,
            spread: next.spread,
            in_work: in_work.into_iter().chain(interactive).map(|(slots, mean)| (slots, mean * longer)).collect(),
            now,
        }
    }

    /// What the model of work asks for.
    fn wanted(&self, history: &mut History, since_last: f64) -> Wanted {
        let weights = self.weights(history);
        let supply = self.supply();
        let here = self.pods.ready() + self.pods.starting();
        let terms = &self.settings.terms;
        let mut wanted = Wanted { terms: Vec::new(), pulling: 0, again_at: None };
        let late = weights.late.max(LOST * (weights.start + weights.hold));
        // What late tasks of other times left unused is nothing that a deadline may be missed for.
        let dated = Weights { late, unused: 0.0, ..weights.clone() };
        let mut ask = |term: Term, demand: &Demand| {
            let has_deadline = matches!(term, Term::Deadline | Term::DeadlineAhead);
            let pods = order(demand, &supply, if has_deadline { &dated } else { &weights });
            if pods > 0 {
                wanted.terms.push(TermValue { term, replicas: here.saturating_add(pods) });
            }
        };
        let backlog = self.demand(history, Term::Backlog);
        ask(Term::Backlog, &backlog);
        // Before any task was done, what a rate is in work would be a guess times a guess: what waits alone counts.
        if terms.arrivals && history.has_measured() && history.rate > 1e-6 && self.pending + self.busy > 0.0 {
            ask(Term::Arrivals, &self.demand(history, Term::Arrivals));
        }
        if self.settings.pre_warm && !self.observation.foreseen.is_empty() {
            ask(Term::Foreseen, &self.demand(history, Term::Foreseen));
        }
        if !self.observation.deadlines.is_empty() {
            ask(Term::Deadline, &self.demand(history, Term::Deadline));
        }
        if self.settings.pre_warm && !self.observation.deadlines_ahead.is_empty() {
            ask(Term::DeadlineAhead, &self.demand(history, Term::DeadlineAhead));
        }
        self.latency_and_utilization(history, &mut wanted);
        self.keep(history, since_last, &mut wanted);
        wanted
    }

    fn latency_and_utilization(&self, history: &History, wanted: &mut Wanted) {
        let target = &self.settings.target;
        if let Some(factor) = self.too_slow().filter(|_| self.pods.starting.is_empty()) {
            let replicas = (f64::from(self.pods.ready()) * factor).ceil() as u32;
            wanted.terms.push(TermValue { term: Term::Latency, replicas });
        }
        if let Some(utilization) = target.utilization {
            let offered = self.busy.max((history.rate * self.service).min(self.busy + self.pending));
            let replicas = (offered / (self.slots * utilization)).ceil() as u32;
            wanted.terms.push(TermValue { term: Term::Utilization, replicas });
        }
        if self.settings.terms.season
            && self.settings.pre_warm
            && let Some(rate) = history.season.rate_at(self.now + self.cold_start.quantile(0.9))
        {
            let replicas = (rate * self.service / self.slots).floor() as u32;
            if replicas > 0 {
                wanted.terms.push(TermValue { term: Term::Season, replicas });
            }
        }
    }

    /// By how much the wait is too long for the latency that is asked for, as a factor up to 2: twice as many pods halve it.
    /// `None` where it is not, or where services alone take longer, which no pod makes shorter.
    fn too_slow(&self) -> Option<f64> {
        let (latency, limit) = (self.observation.latency_p95?, self.settings.target.latency_p95?);
        let wait = self.observation.oldest_wait.unwrap_or(0.0);
        let left = limit - (latency - wait).max(0.0);
        (self.pending > 0.0 && latency > limit && left > 0.0).then(|| (wait / left).min(2.0))
    }

    /// Slots that become free in a second.
    fn freed(&self) -> f64 {
        self.in_work.iter().map(|(slots, seconds)| slots / seconds).sum()
    }

    /// The chance that a pod that is asked for now takes longer than that.
    fn too_late(&self, wait: f64) -> f64 {
        1.0 - self.cold_start.share_within(wait.max(0.0))
    }

    /// Whether pods that were asked for are yet to come. One that takes longer than any before is not waited for, nor are pods
    /// that nobody makes.
    fn awaits_pods(&self, history: &History) -> bool {
        let longest = self.cold_start.quantile(1.0);
        let asked = history.last_up.is_some_and(|up| self.now - up < self.cold_start.mean);
        self.observation.replicas > 0 && (asked || self.pods.starting.iter().any(|age| *age <= longest))
    }

    fn weights(&self, history: &History) -> Weights {
        let mean = self.cold_start.mean;
        let here = self.pods.ready() + self.pods.starting();
        Weights {
            late: self.settings.tuning.starting * history.price(self.cold_start.mean, self.settings),
            allowed: 1.0 - self.settings.target.attainment,
            unused: history.unused(self.settings),
            start: mean,
            hold: self.cold_start.mean_at_most(),
            drain: self.settings.target.wait.max(mean),
            likely: self.cold_start.quantile(0.5) + REACTION,
            patience: self.settings.terms.patience,
            most: self.settings.bounds_at(self.now).1.saturating_sub(here),
        }
    }

    fn supply(&self) -> Supply {
        let capacity = f64::from(self.pods.ready()) * self.slots * self.usable;
        let busy = if self.settings.terms.in_service { self.busy.min(capacity) } else { 0.0 };
        // Of requests beyond its slots a pod is no slower.
        let part = if self.busy > 0.0 { busy / self.busy } else { 0.0 };
        Supply {
            free: capacity - busy,
            busy,
            in_work: self.in_work.iter().map(|&(slots, seconds)| (slots * part, seconds)).collect(),
            service: self.service,
            spread: self.spread,
            slots: self.slots,
            starting: self.pods.starting.clone(),
            starts: self.starts(),
        }
    }

    /// Evenly spaced quantiles of starts, and in place of the last of them some that reach beyond what was measured: promises
    /// of more than 99 of 100 hang on those.
    fn starts(&self) -> Vec<(f64, f64)> {
        let chance = 1.0 / STARTS as f64;
        let of = |part: usize| (self.cold_start.quantile((part as f64 + 0.5) * chance), chance);
        let mut starts: Vec<(f64, f64)> = (0..STARTS - 1).map(of).collect();
        let from = self.cold_start.quantile(1.0 - chance);
        let longest = self.cold_start.quantile(1.0) * UNSEEN;
        let tail = |part: usize| from + (longest - from) * (part as f64 + 0.5) / TAIL as f64;
        starts.extend((0..TAIL).map(|part| (tail(part), chance / TAIL as f64)));
        starts
    }

    /// What waits and must start in time, and what the term adds to it.
    fn demand(&self, history: &History, term: Term) -> Demand {
        let wait = (self.settings.target.wait - REACTION).max(self.settings.target.wait * 0.1);
        let waiting = history.waiting(self.observation, self.now);
        let mut demand = Demand {
            due: waiting.into_iter().rev().map(|(age, tasks)| ((wait - age).max(0.0), tasks)).collect(),
            dispersion: history.dispersion.max(1.0),
            wait,
            ..Demand::default()
        };
        if self.abandoned > 0.0 {
            // They were first in line before.
            demand.due.insert(0, (0.0, self.abandoned));
        }
        match term {
            Term::Arrivals => {
                demand.rate = history.expected_rate(self.now);
                demand.lasting = history.steady_rate();
                // What waits may be longer than what comes, where sizes differ.
                demand.service = history.mean_service().min(self.service);
            }
            Term::Foreseen => {
                let due = |it: &Foreseen| (it.at - self.now + wait, it.over, it.tasks, it.probability);
                demand.spread = self.observation.foreseen.iter().map(due).collect();
            }
            Term::Deadline => {
                let due = |it: &Deadline| ((it.start_by - self.now).max(0.0), it.tasks);
                demand.due = self.observation.deadlines.iter().map(due).collect();
                demand.due.sort_by(|one, other| one.0.total_cmp(&other.0));
            }
            Term::DeadlineAhead => {
                demand.due.clear();
                demand.queued = self.pending;
                demand.coming = Coming::of(&self.observation.deadlines_ahead, self.now);
            }
            _ => {}
        }
        demand
    }

    /// The decision that the terms make within bounds, without interrupting work and without going to and fro.
    fn bounded(&self, history: &mut History, wanted: Wanted, since_last: f64) -> Decision {
        let before = self.observation.replicas;
        let strongest =
            wanted.terms.iter().copied().reduce(|one, other| if other.replicas > one.replicas { other } else { one });
        let TermValue { mut term, mut replicas } = strongest.unwrap_or(TermValue { term: Term::Nothing, replicas: 0 });
        let mut clamp = None;
        let mut again_at = wanted.again_at;
        let (min, max, scheduled) = self.settings.bounds_at(self.now);
        if replicas > max {
            (replicas, clamp) = (max, Some(if scheduled { Clamp::ScheduledMaximum } else { Clamp::Maximum }));
        }
        if replicas < min {
            (replicas, clamp) = (min, Some(if scheduled { Clamp::ScheduledMinimum } else { Clamp::Minimum }));
            term = Term::Bounds;
        }
        let held = self.pods.busy + self.pods.starting();
        if replicas < before && replicas < held {
            (replicas, clamp) = (held.min(before), Some(Clamp::BusyPods));
        }
        // A bound is the user's word, which going to and fro is no reason to put off.
        let asked = strongest.map_or(0, |it| it.replicas);
        let damped = if before > max { None } else { self.damped(history, before, replicas, asked, min, since_last) };
        if let Some((slower, until)) = damped {
            (replicas, clamp) = (before, Some(slower));
            again_at = earlier(again_at, until);
        }
        let reason = match replicas.cmp(&before) {
            std::cmp::Ordering::Greater => Reason::Up(term),
            std::cmp::Ordering::Less if replicas == 0 => Reason::ToZero,
            std::cmp::Ordering::Less => Reason::Down,
            std::cmp::Ordering::Equal if replicas == 0 && self.pending + self.busy == 0.0 => Reason::Asleep,
            std::cmp::Ordering::Equal => Reason::Steady(term),
        };
        let terms = wanted.terms.into_iter().filter(|term| term.replicas > 0).collect();
        // Pods beyond the maximum take nothing new, so that they become empty and can go.
        let pulling = wanted.pulling.min(max);
        Decision { replicas, pulling, reason, terms, clamp, next_change_at: again_at }
    }

    /// Whether a cool-down that is set is over: the user's word on the last pods, whatever was learned.
    fn cooled(&self, history: &History) -> bool {
        let over = |cooldown: f64| history.without_work.is_some_and(|since| self.now >= since + cooldown);
        self.settings.cooldown_to_zero.is_some_and(over)
    }

    /// Why a change must wait, and until when if that is known; `asked` is what the work asks for, whatever the bounds.
    fn damped(
        &self,
        history: &mut History,
        before: u32,
        replicas: u32,
        asked: u32,
        min: u32,
        since_last: f64,
    ) -> Option<(Clamp, Option<f64>)> {
        let now = self.now;
        if history.asked == Some(before) && history.wanted_from != before {
            // The step is done: what is wanted beyond it must have been wanted for as long again.
            (history.wanted_up, history.wanted_down, history.wanted_from) = (None, None, before);
        }
        history.wanted_up = (replicas > before).then(|| history.wanted_up.unwrap_or(now));
        history.wanted_down = (replicas < before).then(|| history.wanted_down.unwrap_or(now));
        let pause = self.cold_start.mean_at_most();
        let within = |since: Option<f64>, seconds: f64| since.map(|since| since + seconds).filter(|until| *until > now);
        if replicas > before && before >= min {
            let until = within(history.wanted_up, self.settings.stabilization.up);
            return until.map(|until| (Clamp::Stabilization, Some(until))).or_else(|| {
                let until = within(history.last_down, pause)?;
                // A threshold asks for a step, not for what the work needs.
                let is_burst = self.settings.queue.is_none()
                    && history.down_from > 0
                    && asked > history.down_from.saturating_mul(BURST);
                let hurried = before == 0 && self.hurried(history, until);
                (!is_burst && !hurried).then_some((Clamp::Reversal, Some(until)))
            });
        }
        if replicas >= before {
            return None;
        }
        if let Some(until) = within(history.wanted_down, self.settings.stabilization.down) {
            return Some((Clamp::Stabilization, Some(until)));
        }
        let busy = self.busy + self.pending > 0.0;
        // While there is work, and pods of the last step are yet to come, what they were wanted for is not over.
        let coming = within(history.last_up, self.cold_start.quantile(NEARLY_ALL))
            .filter(|_| replicas > 0 && busy && !self.pods.starting.is_empty());
        if coming.is_some() {
            return Some((Clamp::Reversal, coming));
        }
        if let (0, Some(cooldown)) = (replicas, self.settings.cooldown_to_zero) {
            let quiet = history.without_work.filter(|_| !busy);
            let Some(since) = quiet else { return Some((Clamp::Cooldown, None)) };
            if now < since + cooldown {
                return Some((Clamp::Cooldown, Some(since + cooldown)));
            }
        }
        if replicas == 0 && busy {
            return Some((Clamp::BusyPods, None));
        }
        let turn = history.last_up.filter(|up| history.last_down.is_none_or(|down| down < *up));
        let settled =
            turn.and(history.settled_until()).filter(|until| self.settings.terms.damping && busy && *until > now);
        // How long starts may take that were never seen is no reason to be slower than the user's word.
        let pause = if replicas == 0 && self.cooled(history) { self.cold_start.mean } else { pause };
        let held = within(turn, pause).or(settled).map(|until| (Clamp::Reversal, Some(until)));
        if held.is_some() || turn.is_none() || replicas == 0 || !self.settings.terms.damping {
            return held;
        }
        // What was decided before and is not done by those who own the number is put off no second time.
        if history.asked == Some(replicas) {
            return None;
        }
        history.calm.put_off(f64::from(before - replicas) * since_last).then_some((Clamp::Reversal, None))
    }

    /// Whether nobody is there for the task that has waited longest, and it would be late more often than is promised, and
    /// twice as often as now, were a start put off until then.
    fn hurried(&self, history: &History, until: f64) -> bool {
        let waited = history.oldest_wait(self.observation, self.now).unwrap_or(0.0);
        let left = self.settings.target.wait - REACTION - waited;
        let allowed = 1.0 - self.settings.target.attainment;
        self.pending > 0.0 && self.too_late(left - (until - self.now)) > allowed.max(2.0 * self.too_late(left))
    }
}

fn earlier(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
