//! The broker, as far as the operator has to do with it: how much waits, what agents say of themselves, and the removal of
//! what belonged to objects that are gone. Where each pool has credentials of its own, also the making of accounts, streams and
//! buckets, which nobody else may then. The only file here that talks to NATS.
//!
//! Guarantees: nothing is removed and nothing is made by one who no longer leads. The broker cannot put a condition on a removal, so
//! each is announced in a record that leaders change by compare-and-set: docs/adr/0019.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex as Lock, MutexGuard, PoisonError},
    time::Duration,
};

use flow::{GatewayStatus, PodStatus, PoolOrders, keys};
use queue::{
    Depth, Error, Records,
    jetstream::{self, JetStream, Role, Sampled, Settings},
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{
    announced::{Announced, NotAnnounced},
    config::{Config, Credentials},
    lease::{Leadership, NotLeading},
    names,
    opening::Openings,
};

/// Longest wait for one answer: the next look is never far.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Tasks of a pool that are read to see what waits: enough to tell a half from a third, few enough to read each second.
const SAMPLED: usize = 16;

/// Connections to the broker, one a namespace, made on first use.
pub struct Brokers {
    config: Config,
    leadership: watch::Receiver<Leadership>,
    open: Openings<Open>,
    /// What was removed, by namespace: only a pass over an object that is there makes it again, not a look at numbers, which may
    /// be about what was there a moment ago.
    removed: Lock<HashSet<(String, Made)>>,
    /// Namespaces of which all was removed, for the same reason.
    left: Lock<HashSet<String>>,
}

/// A connection, and what was made over it.
struct Open {
    broker: JetStream,
    made: Lock<HashSet<Made>>,
    announced: Mutex<Announced>,
}

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Another process leads now: it removes. Nobody has to do anything.
    #[error("this process does not lead any more")]
    NotLeading,
    /// See the source.
    #[error("failed to announce the removal")]
    Announce(#[source] NotAnnounced),
    /// The broker did not do it. Retried.
    #[error(transparent)]
    Broker(queue::Error),
}

/// Its last pool and pipeline are gone. Nobody has to do anything.
#[derive(Debug, thiserror::Error)]
#[error("the namespace has nothing there any more")]
struct Left;

/// What the operator makes at the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Made {
    Pool(String),
    Pipeline(String),
}

impl Brokers {
    /// No connection yet.
    pub fn new(config: Config, leadership: watch::Receiver<Leadership>) -> Self {
        Self { config, leadership, open: Openings::default(), removed: Lock::default(), left: Lock::default() }
    }

    /// Forgets all that is known: whoever led meanwhile may have removed it.
    pub fn forget(&self) {
        self.open.close_all();
        locked(&self.removed).clear();
        locked(&self.left).clear();
    }

    /// The epoch to write under.
    fn epoch(&self) -> Result<u32, NotLeading> {
        self.leadership.borrow().epoch_at(Instant::now())
    }

    /// Begins a removal: after this it may be done, at once.
    async fn announce(&self, open: &Open, removal: String) -> Result<(), RemoveError> {
        let epoch = self.epoch().map_err(|_| RemoveError::NotLeading)?;
        let records = &open.broker.ports.records;
        let announced = open.announced.lock().await.say(records, epoch, &self.config.identity, removal).await;
        announced.map_err(RemoveError::Announce)?;
        // The answer may have taken its time.
        self.epoch().map(drop).map_err(|_| RemoveError::NotLeading)
    }

    /// The broker's part of a namespace, for a pass over an object that is there.
    async fn of(&self, namespace: &str) -> Result<Arc<Open>, Error> {
        locked(&self.left).remove(namespace);
        self.open.get_or_open(namespace, || self.opened(namespace)).await
    }

    /// The same, for a look at numbers.
    async fn look(&self, namespace: &str) -> Result<Arc<Open>, Error> {
        if locked(&self.left).contains(namespace) {
            return Err(Error::Store { action: "look at the broker", source: Box::new(Left) });
        }
        self.open.get_or_open(namespace, || self.opened(namespace)).await
    }

    async fn opened(&self, namespace: &str) -> Result<Open, Error> {
        // Opening makes what each connection needs, also of a namespace that is gone by now.
        self.epoch()
            .map_err(|error| Error::Store { action: "open a connection to the broker", source: error.into() })?;
        self.make_account(namespace).await?;
        let broker = jetstream::open(self.settings(namespace)).await?;
        Ok(Open { broker, made: Lock::default(), announced: Mutex::default() })
    }

    fn settings(&self, namespace: &str) -> Settings {
        let prefix = names::broker_prefix(namespace);
        let (credentials, inbox) = match &self.config.nats_credentials {
            None => (None, None),
            Some(Credentials::User { user, password }) => {
                let user = jetstream::Credentials::User { name: user.clone(), password: password.clone() };
                (Some(user), None)
            }
            Some(Credentials::Creds(text)) => (Some(jetstream::Credentials::Creds(text.clone())), None),
            Some(Credentials::Keys(keys)) => {
                let creds = keys.account(&prefix).user(&Role::Operator).creds;
                (Some(jetstream::Credentials::Creds(creds)), Some(Role::Operator.inbox()))
            }
        };
        Settings {
            name: format!("docket-operator {}", self.config.identity),
            bucket_prefix: prefix,
            replicas: self.config.nats_replicas as usize,
            credentials,
            inbox,
            ca: self.config.nats_authorities.clone().map(jetstream::Authorities::Text),
            scoped: flow::keys::OF_ONE_PIPELINE.to_vec(),
            timeout: TIMEOUT,
            ..Settings::new(self.config.nats_servers.join(","))
        }
    }

    /// Makes the account of a namespace known to the servers, where they know namespaces by accounts.
    async fn make_account(&self, namespace: &str) -> Result<(), Error> {
        let Some(keys) = self.config.nats_keys() else { return Ok(()) };
        let account = keys.account(&names::broker_prefix(namespace));
        jetstream::push(&self.settings(namespace), keys, &account).await
    }

    /// Passes an answer on. After a failure it is seen to that the servers know the account: those that have lost their disks
    /// do not, and then everything of the namespace is made anew.
    async fn noted<T>(&self, namespace: &str, answer: Result<T, Error>) -> Result<T, Error> {
        let failed = answer.is_err() && self.config.nats_keys().is_some();
        if failed && self.make_account(namespace).await.is_ok() {
            self.open.close(namespace);
        }
        answer
    }

    /// Makes what a pool needs at the broker, where agents may not make it themselves.
    pub async fn make_pool(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        let wanted = Made::Pool(pool.to_owned());
        self.wants(namespace, wanted.clone());
        self.make(namespace, wanted).await
    }

    /// Makes what a pipeline needs at the broker, where gateways may not make it themselves.
    pub async fn make_pipeline(&self, namespace: &str, pipeline: &str) -> Result<(), Error> {
        self.wants(namespace, Made::Pipeline(pipeline.to_owned()));
        self.keep_pipeline(namespace, pipeline).await
    }

    /// The same, unless it was removed.
    pub async fn keep_pipeline(&self, namespace: &str, pipeline: &str) -> Result<(), Error> {
        self.make(namespace, Made::Pool(flow::RESULTS_POOL.to_owned())).await?;
        self.make(namespace, Made::Pipeline(pipeline.to_owned())).await
    }

    /// Makes something, once over a connection: a server that loses its streams loses its connections too.
    async fn make(&self, namespace: &str, wanted: Made) -> Result<(), Error> {
        let removed = || locked(&self.removed).contains(&(namespace.to_owned(), wanted.clone()));
        if self.config.nats_keys().is_none() || removed() {
            return Ok(());
        }
        let open = self.look(namespace).await?;
        // Of what is made late by one who leads no longer, nobody would know any more that it is to be removed.
        if locked(&open.made).contains(&wanted) || self.epoch().is_err() {
            return Ok(());
        }
        let made = match &wanted {
            Made::Pool(pool) => open.broker.make_pool(pool).await,
            Made::Pipeline(pipeline) => open.broker.make_scope(pipeline).await,
        };
        self.noted(namespace, made).await?;
        locked(&open.made).insert(wanted);
        Ok(())
    }

    /// Notes that something is to be there, and its namespace with it.
    fn wants(&self, namespace: &str, wanted: Made) {
        locked(&self.removed).remove(&(namespace.to_owned(), wanted));
        locked(&self.left).remove(namespace);
    }

    /// Notes that something is to be removed.
    fn remove(&self, namespace: &str, open: &Open, gone: Made) {
        locked(&open.made).remove(&gone);
        if self.config.nats_keys().is_some() {
            locked(&self.removed).insert((namespace.to_owned(), gone));
        }
    }

    /// Closes the connection of a namespace that has nothing any more.
    pub fn close(&self, namespace: &str) {
        self.open.close(namespace);
        locked(&self.removed).retain(|(of, _)| of != namespace);
    }

    /// What the agents of a namespace last said; those that cannot be read are left out.
    pub async fn agents(&self, namespace: &str) -> Result<Vec<PodStatus>, Error> {
        let said = self.look(namespace).await?.broker.ports.statuses.all("").await;
        let said = self.noted(namespace, said).await?;
        let agents = said.iter().filter(|(key, _)| keys::is_of_an_agent(key));
        Ok(agents.filter_map(|(_, status)| PodStatus::decode(status).ok()).collect())
    }

    /// What the gateways of a namespace last said.
    pub async fn gateways(&self, namespace: &str) -> Result<Vec<GatewayStatus>, Error> {
        let said = self.look(namespace).await?.broker.ports.statuses.all(keys::GATEWAYS).await;
        let said = self.noted(namespace, said).await?;
        Ok(said.iter().filter_map(|(_, status)| GatewayStatus::decode(status).ok()).collect())
    }

    /// How much waits for a pool, and how much is in work.
    pub async fn depth(&self, namespace: &str, pool: &str) -> Result<Depth, Error> {
        self.make(namespace, Made::Pool(pool.to_owned())).await?;
        let depth = self.look(namespace).await?.broker.ports.queue.depth(pool).await;
        self.noted(namespace, depth).await
    }

    /// The same, with a sample of what waits, evenly spread over the queue; `None` where the pool has no stream. One that was
    /// made here, and that somebody has removed since, is made again with the next look.
    pub async fn sample(&self, namespace: &str, pool: &str) -> Result<Option<(Depth, Vec<Sampled>)>, Error> {
        let wanted = Made::Pool(pool.to_owned());
        self.make(namespace, wanted.clone()).await?;
        let open = self.look(namespace).await?;
        let sample = open.broker.sample(pool, SAMPLED).await;
        let sample = self.noted(namespace, sample).await?;
        if sample.is_none() {
            locked(&open.made).remove(&wanted);
        }
        Ok(sample)
    }

    /// What the agents of a pool last said; those that cannot be read are left out.
    pub async fn agents_of(&self, namespace: &str, pool: &str) -> Result<Vec<PodStatus>, Error> {
        let said = self.look(namespace).await?.broker.ports.statuses.all(&format!("{pool}/")).await?;
        Ok(said.iter().filter_map(|(_, status)| PodStatus::decode(status).ok()).collect())
    }

    /// Tells the agents of a pool who rests. It holds for a few seconds.
    pub async fn order(&self, namespace: &str, pool: &str, orders: &PoolOrders) -> Result<(), Error> {
        let statuses = &self.look(namespace).await?.broker.ports.statuses;
        statuses.publish(&format!("{}{pool}", keys::ORDERS), orders.encode().into()).await
    }

    /// Nobody rests any more.
    pub async fn withdraw_orders(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        // Who was told so was told over a connection; what was said holds for some seconds only.
        let Some(open) = self.open.get(namespace) else { return Ok(()) };
        withdraw_orders(&open, pool).await
    }

    /// Where small state of a namespace is kept.
    pub async fn records(&self, namespace: &str) -> Result<Arc<dyn Records>, Error> {
        Ok(Arc::clone(&self.look(namespace).await?.broker.ports.records))
    }

    /// Waits until something is published to a pool that sleeps.
    pub async fn woken(&self, namespace: &str, pool: &str) -> Result<(), Error> {
        let open = self.look(namespace).await?;
        // What comes between the look and the wait is heard.
        let mut woken = open.broker.woken(pool).await?;
        if open.broker.ports.queue.depth(pool).await?.total() == 0 {
            woken.wait().await;
        }
        Ok(())
    }

    /// Removes what scaling has learned and told of a pool. Where no connection is open, the namespace is gone, and with it what
    /// was learned: opening one would make its streams again.
    pub async fn forget_scaling(&self, namespace: &str, pool: &str) -> Result<(), RemoveError> {
        let Some(open) = self.open.get(namespace) else { return Ok(()) };
        self.announce(&open, format!("what scaling has learned of pool {pool}")).await?;
        forget_scaling(&open, pool).await.map_err(RemoveError::Broker)
    }

    /// Removes the tasks of a pool that is gone, and what was learned of it.
    pub async fn remove_pool(&self, namespace: &str, pool: &str) -> Result<(), RemoveError> {
        let open = self.of(namespace).await.map_err(RemoveError::Broker)?;
        self.announce(&open, format!("the orders to pool {pool}, and what scaling has learned of it")).await?;
        withdraw_orders(&open, pool).await.map_err(RemoveError::Broker)?;
        forget_scaling(&open, pool).await.map_err(RemoveError::Broker)?;
        self.remove(namespace, &open, Made::Pool(pool.to_owned()));
        self.announce(&open, format!("the tasks of pool {pool}")).await?;
        let removed = open.broker.remove_pool(pool).await;
        self.noted(namespace, removed).await.map_err(RemoveError::Broker)
    }

    /// Removes the records of a pipeline that is gone.
    pub async fn remove_pipeline(&self, namespace: &str, pipeline: &str) -> Result<(), RemoveError> {
        let open = self.of(namespace).await.map_err(RemoveError::Broker)?;
        self.remove(namespace, &open, Made::Pipeline(pipeline.to_owned()));
        self.announce(&open, format!("the records of pipeline {pipeline}")).await?;
        let removed = open.broker.remove_scope(pipeline).await;
        self.noted(namespace, removed).await.map_err(RemoveError::Broker)
    }

    /// Removes all that a namespace has, documents' bytes among it, where its last pool and pipeline are gone. Its account stays,
    /// which has nothing then: servers are told to remove none.
    pub async fn remove_namespace(&self, namespace: &str) -> Result<(), RemoveError> {
        let open = self.of(namespace).await.map_err(RemoveError::Broker)?;
        self.announce(&open, "all that the namespace has".to_owned()).await?;
        locked(&self.left).insert(namespace.to_owned());
        let removed = open.broker.remove_all().await;
        // What a connection needs is only made where one is opened.
        self.open.close(namespace);
        removed.map_err(RemoveError::Broker)
    }

    /// Documents of a pipeline that have not ended.
    pub async fn open_documents(&self, namespace: &str, pipeline: &str) -> Result<u64, Error> {
        const PAGE: usize = 500;
        let records = Arc::clone(&self.of(namespace).await?.broker.ports.records);
        let prefix = format!("{}{pipeline}/", keys::DOCUMENTS);
        let (mut open, mut after) = (0, None);
        loop {
            let page = records.scan(&prefix, after.as_deref(), PAGE).await;
            let page = self.noted(namespace, page).await?;
            let Some((last, _)) = page.last() else { return Ok(open) };
            after = Some(last.clone());
            let is_open = |bytes: &[u8]| flow::DocumentRecord::decode(bytes).is_ok_and(|record| record.end.is_none());
            open += page.iter().filter(|(_, record)| is_open(&record.bytes)).count() as u64;
        }
    }
}

async fn withdraw_orders(open: &Open, pool: &str) -> Result<(), Error> {
    open.broker.ports.statuses.remove(&format!("{}{pool}", keys::ORDERS)).await
}

async fn forget_scaling(open: &Open, pool: &str) -> Result<(), Error> {
    let records = &open.broker.ports.records;
    records.delete(&format!("{}{pool}", keys::SCALING)).await?;
    records.delete(&format!("{}{pool}", keys::DECISIONS)).await
}

fn locked<T>(lock: &Lock<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
