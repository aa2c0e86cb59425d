//! The election as one process sees it: what to do next, given what was observed and when. Pure: time is an argument.

use tokio::time::Instant;

use super::{Identity, Leadership, Record, Timing};

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time.
    Sleep(Instant),
    /// Ask what the Lease says.
    Read,
    /// Make the Lease that is not there, with an epoch of at least this.
    Create {
        /// Greater than every epoch seen so far.
        epoch: u32,
    },
    /// Take the Lease that was last seen.
    Acquire {
        /// Of the new tenure.
        epoch: u32,
    },
    /// Hold the Lease that was last seen.
    Renew,
}

/// What is known of a write that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may have been done, or somebody else was faster: the Lease tells.
    LookAgain,
    /// It was not done, and the same would happen again at once.
    Refused,
}

/// One process's part in the election.
#[derive(Debug)]
pub struct Election {
    identity: Identity,
    timing: Timing,
    /// The last version of the Lease, and when this process first saw it.
    seen: Option<Seen>,
    /// The Lease must be read before anything is written: at the start, and while it is not known what a write has done.
    stale: bool,
    /// Nothing is asked before.
    due: Instant,
    /// The greatest epoch seen.
    highest: u32,
    tenure: Option<Tenure>,
}

#[derive(Debug)]
struct Seen {
    /// None where there was no Lease.
    record: Option<Record>,
    since: Instant,
    /// Who held the Lease before it was gone.
    before: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Tenure {
    epoch: u32,
    until: Instant,
}

impl Election {
    /// Nothing is known yet.
    pub fn new(identity: Identity, timing: Timing, now: Instant) -> Self {
        Self { identity, timing, seen: None, stale: true, due: now, highest: 0, tenure: None }
    }

    /// What to do now. A write that is handed out counts as not known to be done, until `written` says that it is.
    pub fn next(&mut self, now: Instant) -> Step {
        self.lapse(now);
        if self.stale {
            let wake = self.tenure.map_or(self.due, |tenure| tenure.until.min(self.due));
            return self.read_when_due(now, wake);
        }
        if let Some(tenure) = self.tenure {
            return if now < self.due { Step::Sleep(self.due.min(tenure.until)) } else { self.write(now, Step::Renew) };
        }
        let free = self.free_at();
        if now < free {
            return self.read_when_due(now, free.min(self.due));
        }
        let epoch = self.highest.saturating_add(1);
        let there = self.seen.as_ref().is_some_and(|seen| seen.record.is_some());
        self.write(now, if there { Step::Acquire { epoch } } else { Step::Create { epoch } })
    }

    fn read_when_due(&self, now: Instant, wake: Instant) -> Step {
        if now < self.due { Step::Sleep(wake) } else { Step::Read }
    }

    fn write(&mut self, now: Instant, step: Step) -> Step {
        self.stale = true;
        self.due = now;
        step
    }

    /// When this process, which does not lead, may take the Lease.
    fn free_at(&self) -> Instant {
        let Some(seen) = &self.seen else { return self.due };
        let mine = |holder: &String| holder == self.identity.as_str();
        match (&seen.record, &seen.before) {
            // An identity is one process's: what is held by it, and it does not lead, is what it has written and lost.
            (Some(record), _) if record.holder.as_ref().is_none_or(mine) => seen.since,
            (Some(record), _) => seen.since + self.timing.lease.max(record.duration),
            // Somebody has removed the Lease while another held it, who may not have noticed yet.
            (None, Some(before)) if !mine(before) => seen.since + self.timing.lease,
            (None, _) => seen.since,
        }
    }

    /// The Lease was read; the answer came at `now`.
    pub fn observed(&mut self, record: Option<Record>, now: Instant) {
        self.stale = false;
        self.due = now + self.timing.retry;
        if let Some(tenure) = &self.tenure {
            let still = |record: &Record| {
                record.holder.as_deref() == Some(self.identity.as_str()) && record.epoch == tenure.epoch
            };
            match record.as_ref().is_some_and(still) {
                // It was read because a renewal was not known to be done: it is done again, and time counts from then.
                true => self.due = now,
                false => self.tenure = None,
            }
        }
        self.see(record, now);
    }

    fn see(&mut self, record: Option<Record>, now: Instant) {
        self.highest = self.highest.max(record.as_ref().map_or(0, |record| record.epoch));
        let before = match self.seen.take() {
            Some(seen) if seen.record == record => return self.seen = Some(seen),
            Some(seen) => seen.record.map_or(seen.before, |record| record.holder),
            None => None,
        };
        self.seen = Some(Seen { record, since: now, before });
    }

    /// The Lease could not be read.
    pub fn unreadable(&mut self, now: Instant) {
        self.due = now + self.timing.retry;
    }

    /// The write that was asked for at `started` is done, and the Lease is as `record` says.
    pub fn written(&mut self, record: Record, started: Instant, now: Instant) {
        self.stale = false;
        // From the start of the request: nobody can have seen this version earlier, so nobody's wait began earlier.
        self.tenure = Some(Tenure { epoch: record.epoch, until: started + self.timing.renew_deadline });
        self.due = started + self.timing.retry;
        self.see(Some(record), now);
    }

    /// The write that was asked for is not known to be done.
    pub fn not_written(&mut self, failure: Failure, now: Instant) {
        self.due = match failure {
            Failure::LookAgain => now,
            Failure::Refused => now + self.timing.retry,
        };
    }

    /// Leads no more, by its own will.
    pub fn resign(&mut self, now: Instant) {
        self.tenure = None;
        self.due = now;
    }

    /// Whether the Lease, as it was last seen, names this process. None while it must be read to tell.
    pub fn holds(&self) -> Option<bool> {
        let record = self.seen.as_ref().and_then(|seen| seen.record.as_ref());
        let holds = record.and_then(|record| record.holder.as_deref()) == Some(self.identity.as_str());
        (!self.stale).then_some(holds)
    }

    /// What the rest of the process may rely on.
    pub fn leadership(&self, now: Instant) -> Leadership {
        if let Some(Tenure { epoch, until }) = self.tenure.filter(|tenure| now < tenure.until) {
            return Leadership::Leading { epoch, until };
        }
        match &self.seen {
            None => Leadership::Unknown,
            Some(seen) => {
                // One who has not renewed it in time leads no more, whatever the Lease says.
                let in_time = |record: &&Record| now < seen.since + self.timing.lease.max(record.duration);
                let record = seen.record.as_ref().filter(in_time);
                Leadership::Following { holder: record.and_then(|record| record.holder.clone()) }
            }
        }
    }

    fn lapse(&mut self, now: Instant) {
        self.tenure = self.tenure.filter(|tenure| now < tenure.until);
    }
}
