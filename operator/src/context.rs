//! stub
use std::sync::Arc;
pub struct Context {
    pub client: kube::Client,
    pub config: crate::config::Config,
    pub metrics: Arc<crate::metrics::Metrics>,
    pub events: crate::events::Events,
    pub brokers: crate::broker::Brokers,
    pub namespaces: crate::namespace::Namespaces,
    pub pod_monitors: bool,
}
impl Context {
    pub fn may_write(&self) -> Result<(), crate::apply::Error> {
        Ok(())
    }
}
