//! The tables of the state file, and the transaction in which the writer changes them.

use std::collections::{BTreeSet, HashMap};

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::weights::WeightedChoice;

/// Grows when the tables change in a way that an older version cannot read.
pub(super) const FORMAT: u64 = 1;

/// Numbers of the file itself.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const META_FORMAT: &str = "format";
/// One count for sequences, leases, revisions and commits: whatever it gives is newer than everything before.
pub(super) const META_COUNT: &str = "count";

/// (pool, sequence) → (class, deliveries, published at, lease, until, id). With a lease, `until` is its end; without, the
/// end of a delay; with neither, the message is ready.
pub(super) const MESSAGES: TableDefinition<(&str, u64), MessageRow<'static>> = TableDefinition::new("messages");
pub(super) type MessageRow<'a> = (u8, u32, u64, Option<u64>, Option<u64>, &'a str);
/// Sequence → body; apart, so that a delivery does not write the body again.
pub(super) const BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("bodies");
/// Id → (sequence, acknowledged at).
pub(super) const IDS: TableDefinition<&str, (u64, Option<u64>)> = TableDefinition::new("ids");
/// (pool, class, sequence) of messages that can be pulled.
pub(super) const READY: TableDefinition<(&str, u8, u64), ()> = TableDefinition::new("ready");
/// (pool, until, sequence) of messages under a lease or a delay.
pub(super) const LATER: TableDefinition<(&str, u64, u64), ()> = TableDefinition::new("later");
/// (acknowledged at, id): which ids can be forgotten.
pub(super) const ACKNOWLEDGED: TableDefinition<(u64, &str), ()> = TableDefinition::new("acknowledged");
/// Pool → (pending by class, in work); a lease that has run out counts as in work until a pull finds it.
pub(super) const DEPTHS: TableDefinition<&str, DepthRow> = TableDefinition::new("depths");
pub(super) type DepthRow = [u64; 5];

/// Pool → messages that were ever acknowledged or discarded.
pub(super) const FINISHED: TableDefinition<&str, u64> = TableDefinition::new("finished");

/// Key → (revision, bytes).
pub(super) const RECORDS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("records");

/// Digest → encoded payload.
pub(super) const PAYLOADS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("payloads");

/// Id → (at, body).
pub(super) const ALARMS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("alarms");
/// (at, id).
pub(super) const ALARM_TIMES: TableDefinition<(u64, &str), ()> = TableDefinition::new("alarm_times");

/// One open transaction, which applies operations one after the other.
pub(super) struct Batch<'a> {
    meta: Table<'a, &'static str, u64>,
    pub(super) messages: Table<'a, (&'static str, u64), MessageRow<'static>>,
    pub(super) bodies: Table<'a, u64, &'static [u8]>,
    pub(super) ids: Table<'a, &'static str, (u64, Option<u64>)>,
    pub(super) ready: Table<'a, (&'static str, u8, u64), ()>,
    pub(super) later: Table<'a, (&'static str, u64, u64), ()>,
    pub(super) acknowledged: Table<'a, (u64, &'static str), ()>,
    pub(super) depths: Table<'a, &'static str, DepthRow>,
    pub(super) finished: Table<'a, &'static str, u64>,
    pub(super) records: Table<'a, &'static str, (u64, &'static [u8])>,
    pub(super) payloads: Table<'a, &'static [u8; 32], &'static [u8]>,
    pub(super) alarms: Table<'a, &'static str, (u64, &'static [u8])>,
    pub(super) alarm_times: Table<'a, (u64, &'static str), ()>,
    /// Whose turn it is in each pool; lost with the process, which only starts the turns anew.
    pub(super) choices: &'a mut HashMap<String, WeightedChoice>,
    /// Who must look again once this is committed.
    pub(super) wake: &'a mut Wake,
    count: u64,
    changed: bool,
}

/// Waiting calls that a transaction concerns.
#[derive(Default)]
pub(super) struct Wake {
    pub(super) pools: BTreeSet<String>,
    pub(super) timers: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn open(
        transaction: &'a WriteTransaction,
        choices: &'a mut HashMap<String, WeightedChoice>,
        wake: &'a mut Wake,
    ) -> Result<Self, redb::Error> {
        let meta = transaction.open_table(META)?;
        let count = meta.get(META_COUNT)?.map_or(0, |count| count.value());
        Ok(Self {
            meta,
            messages: transaction.open_table(MESSAGES)?,
            bodies: transaction.open_table(BODIES)?,
            ids: transaction.open_table(IDS)?,
            ready: transaction.open_table(READY)?,
            later: transaction.open_table(LATER)?,
            acknowledged: transaction.open_table(ACKNOWLEDGED)?,
            depths: transaction.open_table(DEPTHS)?,
            finished: transaction.open_table(FINISHED)?,
            records: transaction.open_table(RECORDS)?,
            payloads: transaction.open_table(PAYLOADS)?,
            alarms: transaction.open_table(ALARMS)?,
            alarm_times: transaction.open_table(ALARM_TIMES)?,
            choices,
            wake,
            count,
            changed: false,
        })
    }

    /// A number greater than all that were given before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.count += 1;
        self.changed = true;
        self.count
    }

    /// Every operation that changes a table says so; a transaction without changes is not committed.
    pub(super) fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// Ends the batch. Returns its commit's number, by which it can be recognised in the file, unless nothing changed.
    pub(super) fn seal(mut self) -> Result<Option<u64>, redb::Error> {
        if !self.changed {
            return Ok(None);
        }
        let number = self.next_number();
        self.meta.insert(META_COUNT, number)?;
        Ok(Some(number))
    }
}
