//! How long everything about the Lease takes, and which combinations are safe.

use std::time::Duration;

/// The durations of an election, all on the process's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A follower that has seen no change of the Lease for so long takes it.
    pub lease: Duration,
    /// A leader that has not renewed for so long stops leading.
    pub renew_deadline: Duration,
    /// Between two renewals, and between two looks of a follower.
    pub retry: Duration,
    /// Longest wait for one answer of the API server.
    pub call: Duration,
}

/// Durations that could give two leaders, or none. A mistake in the program.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Clocks that run at slightly different rates would make two leaders.
    #[error("the lease ({lease:?}) must be at least one and a half times the renew deadline ({renew_deadline:?})")]
    LeaseTooShort {
        /// What a follower waits.
        lease: Duration,
        /// What a leader waits.
        renew_deadline: Duration,
    },
    /// One lost answer would end the leadership.
    #[error("the renew deadline ({renew_deadline:?}) must be longer than a call and a retry together ({together:?})")]
    DeadlineTooShort {
        /// What a leader waits.
        renew_deadline: Duration,
        /// One lost answer and the wait before it.
        together: Duration,
    },
    /// The election would ask without a pause.
    #[error("the retry and the call must be longer than nothing")]
    Zero,
}

impl Timing {
    /// What Kubernetes' own components use; a call may take half of the deadline, so that one lost answer costs no leadership.
    pub const USUAL: Self = Self {
        lease: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
        call: Duration::from_secs(5),
    };

    /// Whether these durations are safe.
    pub fn check(&self) -> Result<(), TimingError> {
        let (lease, renew_deadline) = (self.lease, self.renew_deadline);
        if self.retry.is_zero() || self.call.is_zero() {
            return Err(TimingError::Zero);
        }
        if lease * 2 < renew_deadline * 3 {
            return Err(TimingError::LeaseTooShort { lease, renew_deadline });
        }
        let together = self.retry + self.call;
        if renew_deadline <= together {
            return Err(TimingError::DeadlineTooShort { renew_deadline, together });
        }
        Ok(())
    }
}
