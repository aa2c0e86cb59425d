//! Waits for the next task of a pool that sleeps: a plain subscription to the subjects of its tasks, beside the stream, so
//! that no message is taken and nothing is asked while nothing comes.

use async_nats::Subscriber;
use futures::{StreamExt as _, future::BoxFuture};

use super::{failure::Failure, pool::Pool};

/// Whether something was published to a pool since this was made. Dropping it ends the subscription.
pub struct Woken {
    subscriber: Subscriber,
    broken: BoxFuture<'static, ()>,
    over: bool,
}

impl Woken {
    /// Returns when something was published to the pool since this was made, and from then on at once. Also when the
    /// connection broke, since what was published meanwhile was not seen: look at the pool's depth, and ask for the next.
    ///
    /// Giving it up loses nothing.
    pub async fn wait(&mut self) {
        if self.over {
            return;
        }
        tokio::select! {
            _ = self.subscriber.next() => {}
            () = &mut self.broken => {}
        }
        self.over = true;
    }
}

impl Pool {
    pub(super) async fn woken(&self) -> Result<Woken, Failure> {
        let broken = self.broker.broken();
        let mut subscriber = self.broker.subscribe(format!("{}.*.*", self.subjects)).await?;
        // The first says all: the server does not send the rest of a burst.
        subscriber.unsubscribe_after(1).await.map_err(|error| Failure::Request(Box::new(error)))?;
        Ok(Woken { subscriber, broken: Box::pin(async move { drop(broken.await) }), over: false })
    }
}
