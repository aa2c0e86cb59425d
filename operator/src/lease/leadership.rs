//! What a process knows of its own leadership, and work that runs only while it lasts.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// So long may work take to end once it is asked to; then it is dropped. Shorter than what lies between the end of a
/// leadership and the earliest successor where clocks agree.
const GRACE: Duration = Duration::from_secs(2);

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// The Lease could not be read yet.
    Unknown,
    /// Somebody else does, or nobody.
    Following {
        /// Who does.
        holder: Option<String>,
    },
    /// This process does.
    Leading {
        /// Greater than that of every leader before: the fencing token.
        epoch: u32,
        /// Unless renewed, it ends then. Whoever writes looks at it before each write.
        until: Instant,
    },
}

/// A write was about to be made by one who does not lead. The leader makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process does not lead")]
pub struct NotLeading;

impl Leadership {
    /// The epoch to write under now.
    pub fn epoch_at(&self, now: Instant) -> Result<u32, NotLeading> {
        match self {
            Self::Leading { epoch, until } if now < *until => Ok(*epoch),
            _ => Err(NotLeading),
        }
    }

    /// Whether anybody leads now, as far as this process knows.
    pub fn is_led_at(&self, now: Instant) -> bool {
        match self {
            Self::Unknown => false,
            Self::Following { holder } => holder.is_some(),
            Self::Leading { until, .. } => now < *until,
        }
    }
}

/// How work that runs only while leading has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// The work ended: by itself, or because it was asked to.
    Work(T),
    /// It was time to stop, and this process did not lead.
    Idle,
    /// It was time to stop, and the work did not end; it was dropped, and what it had sent may yet take effect.
    Dropped,
}

/// Runs `work` whenever this process leads, until the work ends by itself or it is time to `stop`.
///
/// `work` gets the epoch and a token that asks it to end: at the end of the leadership, or to stop. Where it does not end
/// within two seconds it is dropped, so it must not leave tasks of its own behind. Work of one tenure is over before that of
/// the next begins.
pub async fn while_leading<T, F>(
    mut leadership: watch::Receiver<Leadership>,
    stop: &CancellationToken,
    mut work: impl FnMut(u32, CancellationToken) -> F,
) -> Ended<T>
where
    F: Future<Output = T>,
{
    loop {
        let epoch = tokio::select! {
            biased;
            () = stop.cancelled() => return Ended::Idle,
            epoch = begun(&mut leadership) => epoch,
        };
        let over = stop.child_token();
        let working = work(epoch, over.clone());
        tokio::pin!(working);
        tokio::select! {
            ended = &mut working => return Ended::Work(ended),
            () = ended(&mut leadership, epoch) => {
                over.cancel();
                if timeout(GRACE, working).await.is_err() {
                    tracing::warn!(epoch, "dropped work that did not end with the leadership");
                    if stop.is_cancelled() {
                        return Ended::Dropped;
                    }
                }
            }
            () = async { stop.cancelled().await; sleep(GRACE).await } => return Ended::Dropped,
        }
    }
}

async fn begun(leadership: &mut watch::Receiver<Leadership>) -> u32 {
    loop {
        if let Ok(epoch) = leadership.borrow_and_update().epoch_at(Instant::now()) {
            return epoch;
        }
        changed(leadership).await;
    }
}

async fn ended(leadership: &mut watch::Receiver<Leadership>, epoch: u32) {
    loop {
        let now = leadership.borrow_and_update().clone();
        match now {
            Leadership::Leading { epoch: of, until } if of == epoch && Instant::now() < until => {
                tokio::select! {
                    () = changed(leadership) => {}
                    () = sleep_until(until) => {}
                }
            }
            _ => return,
        }
    }
}

/// Without an elector nothing changes any more; that the elector is gone is for its owner to handle.
async fn changed(leadership: &mut watch::Receiver<Leadership>) {
    if leadership.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
