//! The same operations, at random, on both implementations: every answer must be the same.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use queue::{
    Alarm, Error, Faults, Message, Millis, Ports, Priority, Receipt,
    clock::{Clock, ManualClock},
    embedded, memory,
};

const START: Millis = 1_000_000;

#[derive(Clone, Debug)]
enum Operation {
    Publish { ids: Vec<u8>, pool: bool, class: usize },
    Pull { pool: bool, max: usize },
    Acknowledge(prop::sample::Index),
    Extend(prop::sample::Index),
    Release(prop::sample::Index, u64),
    Depth { pool: bool },
    Pass { time: u64 },
    Create(u8),
    Update(u8),
    Delete(u8),
    Scan { after: Option<u8>, limit: usize },
    Set { id: u8, after: u64 },
    Due { max: usize },
    Done(prop::sample::Index),
    Cancel(u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as O;
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (prop::collection::vec(0..12_u8, 1..4), any::<bool>(), 0..4_usize)
            .prop_map(|(ids, pool, class)| O::Publish { ids, pool, class }),
        4 => (any::<bool>(), 1..4_usize).prop_map(|(pool, max)| O::Pull { pool, max }),
        3 => index().prop_map(O::Acknowledge),
        1 => index().prop_map(O::Extend),
        2 => (index(), 0..50_000_u64).prop_map(|(which, delay)| O::Release(which, delay)),
        2 => any::<bool>().prop_map(|pool| O::Depth { pool }),
        2 => (0..60_000_u64).prop_map(|time| O::Pass { time }),
        1 => (0..4_u8).prop_map(O::Create),
        1 => (0..4_u8).prop_map(O::Update),
        1 => (0..4_u8).prop_map(O::Delete),
        1 => (prop::option::of(0..4_u8), 0..4_usize).prop_map(|(after, limit)| O::Scan { after, limit }),
        2 => (0..4_u8, 0..50_000_u64).prop_map(|(id, after)| O::Set { id, after }),
        2 => (1..4_usize).prop_map(|max| O::Due { max }),
        1 => index().prop_map(O::Done),
        1 => (0..4_u8).prop_map(O::Cancel),
    ]
}

/// One implementation and what a caller holds of it.
struct Side {
    ports: Ports,
    clock: Arc<ManualClock>,
    receipts: Vec<Receipt>,
    revisions: [u64; 4],
    alarms: Vec<Alarm>,
}

impl Side {
    fn new(open: impl FnOnce(Arc<ManualClock>) -> Ports) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let ports = open(Arc::clone(&clock));
        Self { ports, clock, receipts: Vec::new(), revisions: [0; 4], alarms: Vec::new() }
    }

    /// Does it, and describes the answer without what may differ: numbers of leases and revisions.
    async fn apply(&mut self, operation: &Operation) -> String {
        let Ports { queue, records, timers, .. } = &self.ports;
        match operation {
            Operation::Publish { ids, pool, class } => {
                let messages = ids.iter().map(|id| Message {
                    id: id.to_string(),
                    pool: pool.to_string(),
                    priority: Priority::ALL[*class],
                    body: vec![*id].into(),
                });
                answer(queue.publish(messages.collect()).await)
            }
            Operation::Pull { pool, max } => {
                let pulled = queue.pull(&pool.to_string(), *max, Duration::ZERO).await;
                if let Ok(deliveries) = &pulled {
                    self.receipts.extend(deliveries.iter().map(|delivery| delivery.receipt.clone()));
                }
                answer(pulled.map(|deliveries| {
                    let seen = deliveries.into_iter();
                    seen.map(|one| (one.message, one.deliveries, one.published_at)).collect::<Vec<_>>()
                }))
            }
            Operation::Acknowledge(which) => match self.receipts.get(which.index(self.receipts.len().max(1))) {
                Some(receipt) => answer(queue.ack(receipt).await),
                None => String::new(),
            },
            Operation::Extend(which) => match self.receipts.get(which.index(self.receipts.len().max(1))) {
                Some(receipt) => answer(queue.extend(receipt).await),
                None => String::new(),
            },
            Operation::Release(which, delay) => match self.receipts.get(which.index(self.receipts.len().max(1))) {
                Some(receipt) => answer(queue.release(receipt, Duration::from_millis(*delay)).await),
                None => String::new(),
            },
            Operation::Depth { pool } => answer(queue.depth(&pool.to_string()).await),
            Operation::Pass { time } => {
                self.clock.advance(Duration::from_millis(*time));
                String::new()
            }
            Operation::Create(key) => {
                let created = records.create(&key.to_string(), vec![*key].into()).await;
                self.remember(*key, created)
            }
            Operation::Update(key) => {
                let revision = self.revisions[usize::from(*key)];
                let updated = records.update(&key.to_string(), revision, vec![*key, 1].into()).await;
                self.remember(*key, updated)
            }
            Operation::Delete(key) => answer(records.delete(&key.to_string()).await),
            Operation::Scan { after, limit } => {
                let after = after.map(|key| key.to_string());
                let found = records.scan("", after.as_deref(), *limit).await;
                answer(
                    found.map(|found| found.into_iter().map(|(key, record)| (key, record.bytes)).collect::<Vec<_>>()),
                )
            }
            Operation::Set { id, after } => {
                let at = self.clock.now() + after;
                answer(timers.set(vec![Alarm { id: id.to_string(), at, body: vec![*id].into() }]).await)
            }
            Operation::Due { max } => {
                let due = timers.due(self.clock.now(), *max, Duration::ZERO).await;
                self.alarms.extend(due.iter().flatten().cloned());
                answer(due)
            }
            Operation::Done(which) => match self.alarms.get(which.index(self.alarms.len().max(1))) {
                Some(alarm) => answer(timers.done(alarm).await),
                None => String::new(),
            },
            Operation::Cancel(id) => answer(timers.cancel(&id.to_string()).await),
        }
    }

    fn remember(&mut self, key: u8, written: Result<u64, Error>) -> String {
        if let Ok(revision) = &written {
            self.revisions[usize::from(key)] = *revision;
        }
        answer(written.map(|_| ()))
    }
}

fn answer<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    format!("{outcome:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_implementations_answer_alike(
        lease in 0..50_000_u64,
        operations in prop::collection::vec(operation(), 1..80),
    ) {
        let lease = Duration::from_millis(lease);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let mut memory = Side::new(|clock| memory::open_at(clock, lease, Faults::default()));
            let mut embedded = Side::new(|clock| {
                embedded::open_at(folder.path(), clock, lease, Faults::default()).expect("open").ports
            });
            for (step, operation) in operations.iter().enumerate() {
                let (expected, found) = (memory.apply(operation).await, embedded.apply(operation).await);
                prop_assert_eq!(found, expected, "step {}: {:?}", step, operation);
            }
            Ok(())
        });
        outcome?;
    }
}
