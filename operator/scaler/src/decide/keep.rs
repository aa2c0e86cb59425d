//! The pods that stay though they may have nothing to do, and those that pull. Starts none.

use super::{REACTION, Seen, UNSEEN, Wanted, earlier};
use crate::{
    ahead::{self, Coming},
    decision::{Term, TermValue},
    demand::fewest,
    headroom::Load,
    history::History,
    idle::Prices,
    observation::Foreseen,
};

/// Times an hour that pods may be missed: each is up once and down once.
const RETURNS_AN_HOUR: f64 = 2.0;
/// Fewer tasks than this are more likely not to come than to come.
const LIKELY_TASKS: f64 = 0.5;

impl Seen<'_> {
    /// The pods that work holds, those that are worth keeping idle, and those that should pull.
    pub(super) fn keep(&self, history: &mut History, since_last: f64, wanted: &mut Wanted) {
        let terms = &self.settings.terms;
        let ready = self.pods.ready();
        // Tasks may queue for slots that become free in time; the less so the longer a pod that proves missing takes to come.
        let wait = self.settings.target.wait;
        let share =
            wait / (wait + self.cold_start.mean * (1.0 + history.care.min(0.0))) * (1.0 - 0.5 * history.care.max(0.0));
        let tuning = &self.settings.tuning;
        let patient = (wait - REACTION).max(0.0) * (share * tuning.patience).min(1.0);
        let mut backlog = self.demand(history, Term::Backlog);
        backlog
            .due
            .iter_mut()
            .for_each(|due| due.0 = (due.0 + REACTION - self.settings.target.wait + patient).max(0.0));
        // Full pods waste nothing, so those that a queue needed work for as long as it fills them: rested, they would be needed
        // again.
        let filled = if self.pending > 0.0 { ((self.pending + self.busy) / self.slots).ceil() as u32 } else { 0 };
        let by_deadline = if self.observation.deadlines.is_empty() {
            0
        } else {
            fewest(&self.demand(history, Term::Deadline), self.busy, self.freed(), self.slots)
        };
        let queued =
            fewest(&backlog, self.busy, self.freed(), self.slots).max(filled.min(history.needed)).max(by_deadline);
        let (_, most, _) = self.settings.bounds_at(self.now);
        history.needed = queued.min(most);
        // What keeps coming needs so many pods anyway: to let tasks gather for fewer would only be to start them again.
        let steady = if self.pending + self.busy > 0.0 { self.load(history).pods() } else { 0 };
        let needed = queued.max(steady);
        let all_pull = !terms.packing || self.too_slow().is_some();
        wanted.pulling = if all_pull { ready } else { needed.max(1).min(ready) };
        wanted.terms.push(TermValue { term: Term::InWork, replicas: self.pods.busy + self.pods.starting() });
        history.idle.assume(self.observation.replicas, self.now);
        history.idle.needed(needed.min(most), self.now, since_last, self.cold_start.mean);
        let wait = self.settings.target.wait - REACTION;
        let late = |wait: f64| self.too_late(wait) * history.late_per_start(self.slots);
        let pause = self.cold_start.mean_at_most();
        let unhelped = (self.cold_start.mean - wait).max(0.0);
        let prices = Prices {
            cold_start: self.cold_start.mean,
            late: tuning.keeping * history.price(self.cold_start.mean, self.settings),
            late_per_return: late(wait),
            // Who finds nobody there waits for a start, whatever others do, and so do all who come meanwhile.
            late_per_first_return: late(wait).max(self.too_late(wait) * (1.0 + history.idle.rate() * unhelped)),
            pause,
            gathering: history.gathering(self.settings.target.wait),
            late_per_quick_return: late(wait - pause / 2.0),
            returns_an_hour: RETURNS_AN_HOUR,
            a_return: self.cold_start.mean * tuning.a_return,
            dearest_calm: if terms.damping { tuning.dearest_calm } else { 0.0 },
            broken: history.broken(self.cold_start.mean, self.settings),
        };
        history.idle.reckon(&prices, self.now);
        let (kept, until) = if terms.keeping {
            history.idle.worth_keeping(self.now, self.settings.stabilization.down)
        } else {
            (0, None)
        };
        let here = ready + self.pods.starting();
        // What the work needs stays, though it may have nothing to do at the moment of the reading.
        let kept = if self.cooled(history) { 0 } else { kept.max(needed).min(here) };
        let awaited = if self.settings.pre_warm { self.awaited().min(here) } else { 0 };
        if awaited > 0 {
            wanted.terms.push(TermValue { term: Term::Foreseen, replicas: awaited });
        }
        let dated = if self.settings.pre_warm { self.awaited_by_deadline().min(here) } else { 0 };
        if dated > 0 {
            wanted.terms.push(TermValue { term: Term::DeadlineAhead, replicas: dated });
        }
        if kept > 0 {
            wanted.terms.push(TermValue { term: Term::Kept, replicas: kept });
            wanted.again_at = earlier(wanted.again_at, until);
        }
    }

    /// The load that there is, as far as it lasts.
    fn load(&self, history: &History) -> Load {
        let wait = self.settings.target.wait - REACTION;
        Load {
            rate: history.steady_rate(),
            busy: history.steady_load() * history.slowed(),
            service: history.mean_service() * history.slowed(),
            spread: history.steady_spread(),
            slots: self.slots,
            wait: wait.max(0.0),
            too_late: if self.settings.terms.headroom { self.too_late(wait) } else { 0.0 },
            price: history.price(self.cold_start.mean, self.settings),
            broken: history.broken(self.cold_start.mean, self.settings),
        }
    }

    /// Pods that hold the tasks at work at once of those that come within a cold start: to let them go would be to start them
    /// again.
    fn awaited(&self) -> u32 {
        let horizon = self.cold_start.quantile(0.9) + REACTION;
        let within = |it: &Foreseen| {
            let share = ((self.now + horizon - it.at) / it.over.max(1.0)).clamp(0.0, 1.0);
            it.tasks * it.probability * share
        };
        let tasks: f64 = self.observation.foreseen.iter().map(within).sum();
        if tasks < LIKELY_TASKS {
            return 0;
        }
        (tasks * (self.service / horizon).min(1.0) / self.slots).ceil() as u32
    }

    /// Pods that the tasks need which come with a deadline, as far as pods are started for them already.
    fn awaited_by_deadline(&self) -> u32 {
        let coming = Coming::of(&self.observation.deadlines_ahead, self.now);
        let horizon = self.cold_start.quantile(1.0) * UNSEEN + REACTION;
        let tasks: f64 = coming.iter().filter(|it| it.due <= horizon).map(|it| it.tasks).sum();
        if tasks < LIKELY_TASKS { 0 } else { ahead::fewest(&coming, horizon, self.service, self.slots) }
    }
}
