//! Takes what waits in a pool now, the most urgent by weight.
//!
//! A round asks all priorities at once for as many messages as their weights give them; those that had less are left out
//! of the next round. Rounds run in tasks of their own, so that a caller who goes away loses no message.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use super::{
    asking::{Answer, Ask, Asking, Patience},
    failure::Failure,
    pool::{Pool, class_name, class_of},
    stash::{Handover, lock},
    watch::Expected,
};
use crate::Priority;

/// The part of the longest silence that is waited for when there is something to hand out already.
const PART_FOR_MORE: f64 = 0.4;
/// How long a request that stayed silent is listened to before it is withdrawn: what comes meanwhile is not lost.
const LINGER: Duration = Duration::from_secs(2);

/// What a round brought.
struct Round {
    handover: Handover,
    /// Priorities that had less than they were asked for.
    short: [bool; 4],
}

impl Pool {
    /// Up to `max` messages that wait now.
    pub(super) async fn look(self: &Arc<Self>, max: usize) -> Result<Handover, Failure> {
        let mut found = Handover::of(self, Vec::new());
        let mut waiting = [true; 4];
        while found.len() < max && waiting != [false; 4] {
            let mut counts = [0; 4];
            {
                let mut choice = lock(&self.choice);
                for _ in found.len()..max {
                    if let Some(class) = choice.choose(waiting) {
                        counts[class as usize] += 1;
                    }
                }
            }
            let (sender, receiver) = oneshot::channel();
            let pool = Arc::clone(self);
            self.broker.runtime.spawn(async move {
                let round = pool.round(counts).await;
                // If the caller is gone, dropping the round offers its messages to others.
                drop(sender.send(round));
            });
            let round = receiver.await.map_err(|error| Failure::Request(Box::new(error)))??;
            for (class, short) in round.short.into_iter().enumerate() {
                waiting[class] &= !short;
            }
            found.add(round.handover);
        }
        Ok(found)
    }

    async fn round(self: &Arc<Self>, counts: [usize; 4]) -> Result<Round, Failure> {
        let mut got = [0; 4];
        let collected = self.collect(counts, &mut got).await;
        let mut short = [false; 4];
        let mut choice = lock(&self.choice);
        for class in Priority::ALL {
            let missing = counts[class as usize].saturating_sub(got[class as usize]);
            choice.refund(class, missing);
            short[class as usize] = missing > 0;
        }
        drop(choice);
        Ok(Round { handover: collected?, short })
    }

    async fn collect(self: &Arc<Self>, counts: [usize; 4], got: &mut [usize; 4]) -> Result<Handover, Failure> {
        // From before the first request: who leaves meanwhile waits for what it brings.
        let (expected, begun) = (self.expect(), self.times_left());
        let mut asking = Asking::begin(&self.broker, class_of).await?;
        for (class, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            let consumer = class_name(Priority::ALL[class]);
            let ask = Ask { stream: &self.stream, consumer, count, patience: Patience::None };
            asking.ask(&self.broker, class, ask).await?;
        }
        let mut taken = Vec::new();
        let mut answered = false;
        let mut failure = None;
        while asking.any_open() && failure.is_none() {
            let silence = self.broker.silence;
            let patience = if taken.is_empty() { silence } else { silence.mul_f64(PART_FOR_MORE) };
            match timeout(patience, asking.next()).await {
                Err(_) => break,
                Ok(Answer::Message(class, message)) => {
                    answered = true;
                    got[class] += 1;
                    taken.extend(self.read(class, message));
                }
                Ok(Answer::Ended) => answered = true,
                Ok(Answer::Interrupted(why)) => failure = Some(Failure::Request(why.into())),
                Ok(Answer::Missing) => {
                    self.doubt();
                    failure = Some(Failure::Nobody { subject: self.stream.clone() });
                }
            }
        }
        let handover = Handover::of(self, taken);
        if asking.any_open() {
            self.broker.runtime.spawn(linger(Arc::clone(self), asking, expected, begun));
        }
        match failure {
            Some(failure) => Err(failure),
            // Silence is an answer only of a broker that answers otherwise.
            None if !answered => self.is_there().await.map(|()| handover),
            None => Ok(handover),
        }
    }
}

/// Listens to requests that stayed silent, for a while or until this process leaves the pool, and has the server forget them.
/// `begun` is how often it had left when they were made.
async fn linger(pool: Arc<Pool>, mut asking: Asking, expected: Expected, begun: u64) {
    let mut left = pin!(pool.left.notified());
    left.as_mut().enable();
    if pool.times_left() == begun {
        tokio::select! {
            () = left => {}
            // Whether it ended by itself does not matter.
            _ = timeout(LINGER, listen(&pool, &mut asking)) => {}
        }
    }
    if asking.any_open() && asking.withdraw(&pool.broker).await.is_ok() {
        drop(timeout(LINGER, listen(&pool, &mut asking)).await);
    }
    drop(expected);
}

async fn listen(pool: &Arc<Pool>, asking: &mut Asking) {
    while asking.any_open() {
        match asking.next().await {
            Answer::Message(class, message) => pool.offer(pool.read(class, message).into_iter().collect()),
            Answer::Ended => {}
            Answer::Interrupted(_) | Answer::Missing => break,
        }
    }
}
