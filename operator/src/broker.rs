//! The broker, as far as the operator has to do with it: how much waits, what agents say of themselves, and the removal of
//! what belonged to objects that are gone. The only file here that talks to NATS.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flow::{GatewayStatus, PodStatus, PoolOrders, keys};
use queue::{
    Depth, Error, Records,
    jetstream::{self, Credentials, JetStream, Settings},
};
use tokio::sync::Mutex;

use crate::{config::Config, names};

/// Longest wait for one answer: the next look is never far.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How often a pool that sleeps is listened to.
const LISTEN: Duration = Duration::from_secs(1);

/// Connections to the broker, one a namespace, made on first use.
pub struct Brokers {
    config: Config,
    open: Mutex<HashMap<String, Arc<JetStream>>>,
}

impl Brokers {
    /// No connection yet.
    pub fn new(config: Config) -> Self {
        Self { config, open: Mutex::default() }
    }

    /// The broker's part of a namespace.
    async fn of(&self, namespace: &str) -> Result<Arc<JetStream>, Error> {
        // One at a time: a broker that is away is asked once, not by everybody.
        let mut open = self.open.lock().await;
        if let Some(broker) = open.get(namespace) {
            return Ok(Arc::clone(broker));
        }
        let credentials = self.config.nats_credentials.as_ref();
        let settings = Settings {
            name: "docket-operator".to_owned(),
            bucket_prefix: names::broker_prefix(namespace),
            replicas: self.config.nats_replicas as usize,
            credentials: credentials.map(|credentials| Credentials::User {
                name: credentials.user.clone(),
                password: credentials.password.clone(),
            }),
            scoped: flow::keys::OF_ONE_PIPELINE.to_vec(),
            timeout: TIMEOUT,
            ..Settings::new(self.config.nats_servers.join(","))
        };
        let broker = Arc::new(jetstream::open(settings).await?);
        open.insert(namespace.to_owned(), Arc::clone(&broker));
        Ok(broker)
    }

    /// Closes the connection of a namespace that has nothing any more.
    pub async fn close(&self, namespace: &str) {
        self.open.lock().await.remove(namespace);
    }

    /// What the agents of a namespace last said; those that cannot be read are left out.
    pub async fn agents(&self, namespace: &str) -> Result<Vec<PodStatus>, Error> {
        let said = self.of(namespace).await?.ports.statuses.all("").await?;
        let agents = said.iter().filter(|(key, _)| keys::is_of_an_agent(key));
        Ok(agents.filter_map(|(_, status)| PodStatus::decode(status).ok()).collect())
    }

    /// What the gateways of a namespace last said.
    pub async fn gateways(&self, namespace: &str) -> Result<Vec<GatewayStatus>, Error> {
        let said = self.of(namespace).await?.ports.statuses.all(keys::GATEWAYS).await?;
        Ok(said.iter().filter_map(|(_, status)| GatewayStatus::decode(status).ok()).collect())
    }

    /// How much waits for a pool, and how much is in work.
    pub async fn depth(&self, namespace: &str, pool: &str) -> Result<Depth, Error> {
        self.of(namespace).await?.ports.queue.depth(pool).await
    }

    /// What the agents of a pool last said; those that cannot be read are left out.
    pub async fn agents_of(&self, namespace: &str, pool: &str) -> Result<Vec<PodStatus>, Error> {
        let said = self.of(namespace).await?.ports.statuses.all(&format!("{pool}/")).await?;
        Ok(said.iter().filter_map(|(_, status)| PodStatus::decode(status).ok()).collect())
    }

    /// Tells the agents of a pool who rests. It holds for a few seconds.
    pub async fn order(&self, namespace: &str, pool: &str, orders: &PoolOrders) -> Result<(), Error> {
        let statuses = &self.of(namespace).await?.ports.statuses;
        statuses.publish(&format!("{}{pool}", keys::ORDERS), orders.encode().into()).await
    }

    /// Nobody rests any more.
    pub async fn withdraw_orders(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        self.of(namespace).await?.ports.statuses.remove(&format!("{}{pool}", keys::ORDERS)).await
    }

    /// Where small state of a namespace is kept.
    pub async fn records(&self, namespace: &str) -> Result<Arc<dyn Records>, Error> {
        Ok(Arc::clone(&self.of(namespace).await?.ports.records))
    }

    /// Waits until something is published to a pool that sleeps.
    pub async fn woken(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        let queue = Arc::clone(&self.of(namespace).await?.ports.queue);
        while queue.depth(pool).await?.total() == 0 {
            tokio::time::sleep(LISTEN).await;
        }
        Ok(())
    }

    /// Removes what scaling has learned and told of a pool.
    pub async fn forget_scaling(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        let records = self.records(namespace).await?;
        records.delete(&format!("{}{pool}", keys::SCALING)).await?;
        records.delete(&format!("{}{pool}", keys::DECISIONS)).await
    }

    /// Removes the tasks of a pool that is gone, and what was learned of it.
    pub async fn remove_pool(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        self.withdraw_orders(namespace, pool).await?;
        self.forget_scaling(namespace, pool).await?;
        self.of(namespace).await?.remove_pool(pool).await
    }

    /// Removes the records of a pipeline that is gone.
    pub async fn remove_pipeline(&self, namespace: &str, pipeline: &str) -> Result<(), Error> {
        self.of(namespace).await?.remove_scope(pipeline).await
    }

    /// Documents of a pipeline that have not ended.
    pub async fn open_documents(&self, namespace: &str, pipeline: &str) -> Result<u64, Error> {
        const PAGE: usize = 500;
        let records = Arc::clone(&self.of(namespace).await?.ports.records);
        let prefix = format!("{}{pipeline}/", keys::DOCUMENTS);
        let (mut open, mut after) = (0, None);
        loop {
            let page = records.scan(&prefix, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(open) };
            after = Some(last.clone());
            let is_open = |bytes: &[u8]| flow::DocumentRecord::decode(bytes).is_ok_and(|record| record.end.is_none());
            open += page.iter().filter(|(_, record)| is_open(&record.bytes)).count() as u64;
        }
    }
}
