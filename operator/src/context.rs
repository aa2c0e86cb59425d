//! What every controller has at hand.

use kube::Client;
use std::sync::Arc;
use tokio::{sync::watch, time::Instant};

use crate::{
    apply, broker::Brokers, config::Config, events::Events, lease::Leadership, metrics::Metrics, namespace::Namespaces,
    pod_monitor::PodMonitors, scaling::board::Board,
};

/// Shared by all controllers of a process.
pub struct Context {
    /// For calls; see [`crate::client::Clients`].
    pub client: Client,
    /// For watches.
    pub watches: Client,
    /// Checked settings.
    pub config: Config,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told about objects.
    pub events: Events,
    /// What the autoscaler says of pools.
    pub scaling: Board,
    /// Connections to the broker.
    pub brokers: Brokers,
    /// Namespaces that are to be looked at.
    pub namespaces: Namespaces,
    /// Whether the cluster knows PodMonitors.
    pub pod_monitors: PodMonitors,
    /// Whether this process leads.
    pub leadership: watch::Receiver<Leadership>,
}

impl Context {
    /// Forgets what a process cannot know any more that leads again: others led meanwhile.
    pub fn begin_tenure(&self) {
        self.brokers.forget();
        self.scaling.forget_all();
    }

    /// The epoch to write under, or that nothing may be written. To be asked before each write.
    pub fn may_write(&self) -> Result<u32, apply::Error> {
        self.leadership.borrow().epoch_at(Instant::now()).map_err(|_| apply::Error::NotLeading)
    }
}
