//! The parts of a process and the order in which they stop.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    Error, Result,
    commands::note,
    runtime::stop::{Signals, Stop},
};

/// Time for what was handed back to be told to the store.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What a process consists of. It ends when one of them fails: a supervisor starts it again whole.
#[derive(Default)]
pub(super) struct Parts(JoinSet<Result<()>>);

impl Parts {
    /// Starts a part.
    pub(super) fn spawn(&mut self, part: impl Future<Output = Result<()>> + Send + 'static) {
        self.0.spawn(part);
    }

    /// Lets the parts work until a signal comes, then stops them: at once they take nothing new, after `grace` (or at a
    /// second signal) they hand back what they have.
    pub(super) async fn run(self, stop: &Stop, signals: Signals, grace: Duration) -> Result<()> {
        self.run_with_farewell(stop, signals, (Duration::ZERO, grace)).await
    }

    /// The same, where the parts that serve clients stay for the time of a `farewell` after the first signal, or until a second one, and
    /// tell who comes anew to come again. Those that work end meanwhile.
    pub(super) async fn run_with_farewell(
        mut self,
        stop: &Stop,
        mut signals: Signals,
        (farewell, grace): (Duration, Duration),
    ) -> Result<()> {
        tokio::select! {
            () = signals.next() => {}
            ended = self.ended() => return ended,
        }
        if !farewell.is_zero() {
            stop.leave();
            note("leaving: what has begun goes on, and whoever still comes is told to come again");
            tokio::select! {
                () = tokio::time::sleep(farewell) => {}
                () = signals.next() => {}
                ended = self.all_ended() => return ended,
            }
        }
        self.stop(stop, signals, grace).await
    }

    /// Stops the parts, after the first signal has come.
    pub(super) async fn stop(mut self, stop: &Stop, mut signals: Signals, grace: Duration) -> Result<()> {
        note("stopping: nothing new is taken, what is in work is finished");
        stop.cordon();
        tokio::select! {
            ended = self.all_ended() => return ended,
            () = tokio::time::sleep(grace) => note("the grace period is over: what is in work is handed back"),
            () = signals.next() => {}
        }
        stop.hand_back();
        tokio::time::timeout(LAST_WORDS, self.all_ended()).await.unwrap_or(Ok(()))
    }

    /// A part that ends before it was asked to is a failure.
    async fn ended(&mut self) -> Result<()> {
        match self.0.join_next().await {
            Some(ended) => {
                ended.map_err(Error::system("run a part of the process"))??;
                Err(Error::system("run the process")("a part of it ended by itself"))
            }
            None => Ok(()),
        }
    }

    async fn all_ended(&mut self) -> Result<()> {
        while let Some(ended) = self.0.join_next().await {
            ended.map_err(Error::system("stop a part of the process"))??;
        }
        Ok(())
    }
}
