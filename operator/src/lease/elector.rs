//! Takes part in an election: asks the API server, writes what `state` decides, and tells the rest of the process.

use k8s_openapi::{api::coordination::v1::Lease, jiff::Timestamp};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    CallError, Election, Failure, Identity, Leadership, LeaseApi, Record, Step, Timing, TimingError,
    record::{acquired, released, renewed},
};
use crate::chain;

/// One process's part in an election.
pub struct Elector<A> {
    api: A,
    identity: Identity,
    timing: Timing,
    election: Election,
    /// The object behind what the election has last seen.
    lease: Lease,
    leadership: watch::Sender<Leadership>,
}

impl<A: LeaseApi> Elector<A> {
    /// Takes part once it is run. Fails where the durations are not safe.
    pub fn new(api: A, identity: Identity, timing: Timing) -> Result<(Self, watch::Receiver<Leadership>), TimingError> {
        timing.check()?;
        let (leadership, receiver) = watch::channel(Leadership::Unknown);
        let election = Election::new(identity.clone(), timing, Instant::now());
        Ok((Self { api, identity, timing, election, lease: Lease::default(), leadership }, receiver))
    }

    /// Takes part until it is time to `stop`. A leadership goes on until its deadline then: see [`Elector::release`].
    pub async fn run(&mut self, stop: &CancellationToken) {
        loop {
            let step = self.election.next(Instant::now());
            self.publish();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.act(step) => self.publish(),
            }
        }
    }

    /// Hands the Lease over, so that a successor need not wait. Only for one whose writers have all stopped, with nothing
    /// on its way. Returns whether the Lease is known not to be held by this process; without, the successor waits.
    pub async fn release(mut self) -> bool {
        self.election.resign(Instant::now());
        self.publish();
        // A first try may meet a write of ours that was on its way.
        for _ in 0..2 {
            if self.election.holds().is_none() {
                self.act(Step::Read).await;
            }
            match self.election.holds() {
                Some(false) => return true,
                None => return false,
                Some(true) => {}
            }
            let lease = released(self.lease.clone(), Timestamp::now());
            match self.call(self.api.replace(&lease)).await {
                Ok(_) => return true,
                Err(error) => tracing::warn!(error = chain(&error), "the Lease was not released"),
            }
            self.act(Step::Read).await;
        }
        false
    }

    async fn act(&mut self, step: Step) {
        let started = Instant::now();
        match step {
            Step::Sleep(until) => sleep_until(until).await,
            Step::Read => self.read().await,
            Step::Create { epoch } => {
                // Where the Lease was removed, nobody may know its last epoch: one that follows the calendar does not repeat.
                let epoch = epoch.max(minutes(Timestamp::now()));
                let lease = self.claim(Lease::default(), epoch);
                let made = self.call(self.api.create(&lease)).await;
                self.wrote(made, started);
            }
            Step::Acquire { epoch } => {
                let lease = self.claim(self.lease.clone(), epoch);
                let taken = self.call(self.api.replace(&lease)).await;
                self.wrote(taken, started);
            }
            Step::Renew => {
                let lease = renewed(self.lease.clone(), Timestamp::now());
                let held = self.call(self.api.replace(&lease)).await;
                self.wrote(held, started);
            }
        }
    }

    async fn read(&mut self) {
        let read = self.call(self.api.get()).await;
        let now = Instant::now();
        match read {
            Ok(lease) => {
                self.election.observed(lease.as_ref().map(Record::of), now);
                self.lease = lease.unwrap_or_default();
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "failed to read the Lease");
                self.election.unreadable(now);
            }
        }
    }

    fn claim(&self, lease: Lease, epoch: u32) -> Lease {
        acquired(lease, &self.identity, epoch, self.timing.lease, Timestamp::now())
    }

    fn wrote(&mut self, written: Result<Lease, CallError>, started: Instant) {
        let now = Instant::now();
        match written {
            Ok(lease) => {
                self.election.written(Record::of(&lease), started, now);
                self.lease = lease;
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "failed to write the Lease");
                let failure = match error {
                    CallError::Conflict | CallError::Unclear(_) => Failure::LookAgain,
                    CallError::Refused(_) => Failure::Refused,
                };
                self.election.not_written(failure, now);
            }
        }
    }

    /// One call, which never takes longer than a call may, nor longer than the leadership lasts.
    async fn call<T>(&self, asked: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        let now = Instant::now();
        let limit = match self.election.leadership(now) {
            Leadership::Leading { until, .. } => self.timing.call.min(until - now),
            _ => self.timing.call,
        };
        timeout(limit, asked).await.unwrap_or_else(|elapsed| Err(CallError::Unclear(Box::new(elapsed))))
    }

    fn publish(&self) {
        let leadership = self.election.leadership(Instant::now());
        self.leadership.send_if_modified(|published| {
            let modified = *published != leadership;
            match (&*published, &leadership) {
                (Leadership::Leading { epoch: before, .. }, Leadership::Leading { epoch, .. }) if before == epoch => {}
                (_, Leadership::Leading { epoch, .. }) => tracing::info!(epoch, identity = %self.identity, "leading"),
                (Leadership::Leading { epoch, .. }, _) => tracing::info!(epoch, "not leading any more"),
                (_, Leadership::Following { holder }) if modified => {
                    tracing::info!(holder = holder.as_deref().unwrap_or("nobody"), "following");
                }
                _ => {}
            }
            *published = leadership;
            modified
        });
    }
}

/// Minutes since 2020: a number that fits the Lease's field for thousands of years and outgrows any count of elections.
fn minutes(now: Timestamp) -> u32 {
    const BEGIN_OF_2020: i64 = 1_577_836_800;
    u32::try_from((now.as_second() - BEGIN_OF_2020) / 60).unwrap_or(0)
}
