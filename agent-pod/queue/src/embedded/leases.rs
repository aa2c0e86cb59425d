//! Where a message stands: ready, delayed, or under a lease. Every change of place goes through here, so that the tables
//! agree with each other.

use std::time::Duration;

use bytes::Bytes;
use redb::ReadableTable;

use super::{
    failure::Stop,
    schema::{Batch, DepthRow, MessageRow},
};
use crate::{Delivery, Discarded, Error, Message, Millis, Priority, Receipt, clock::after};

/// Position of the messages in work in a [`DepthRow`].
pub(super) const IN_WORK: usize = 4;

/// A row of the table of messages.
pub(super) struct Row {
    class: u8,
    deliveries: u32,
    published_at: Millis,
    lease: Option<u64>,
    until: Option<Millis>,
    id: String,
}

/// From when to when.
#[derive(Clone, Copy)]
pub(super) struct Lease {
    pub(super) now: Millis,
    until: Millis,
}

impl Lease {
    /// Lasts at least a millisecond, so that the pull that grants it does not find it overdue.
    pub(super) fn granted(now: Millis, lease: Duration) -> Self {
        Self { now, until: after(now, lease).max(now.saturating_add(1)) }
    }
}

impl Row {
    fn of(row: MessageRow<'_>) -> Self {
        let (class, deliveries, published_at, lease, until, id) = row;
        Self { class, deliveries, published_at, lease, until, id: id.to_owned() }
    }

    fn as_row(&self) -> MessageRow<'_> {
        (self.class, self.deliveries, self.published_at, self.lease, self.until, &self.id)
    }
}

/// The message of a delivery whose lease still runs.
pub(super) fn running(batch: &Batch<'_>, receipt: &Receipt, now: Millis) -> Result<(u64, Row), Stop> {
    let over = || Stop::Refused(Error::LeaseOver { id: receipt.id.clone() });
    let known = batch.ids.get(receipt.id.as_str())?.map(|known| known.value());
    let Some((sequence, None)) = known else { return Err(over()) };
    let row = row(batch, &receipt.pool, sequence)?.ok_or_else(over)?;
    if row.lease == Some(receipt.lease) && row.until.is_some_and(|until| until > now) {
        return Ok((sequence, row));
    }
    Err(over())
}

/// Puts a ready message under a lease and reads it out.
pub(super) fn grant(
    batch: &mut Batch<'_>,
    pool: &str,
    sequence: u64,
    class: Priority,
    lease: Lease,
) -> Result<Option<Delivery>, redb::Error> {
    let Some(mut row) = row(batch, pool, sequence)? else { return Ok(None) };
    let number = batch.next_number();
    row.deliveries = row.deliveries.saturating_add(1);
    move_to(batch, pool, sequence, &mut row, Some(number), Some(lease.until))?;
    let body = batch.bodies.get(sequence)?.map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.value()));
    let message = Message { id: row.id.clone(), pool: pool.to_owned(), priority: class, body };
    let receipt = Receipt { id: row.id, pool: pool.to_owned(), lease: number };
    Ok(Some(Delivery { message, receipt, deliveries: row.deliveries, published_at: row.published_at }))
}

pub(super) fn extend(batch: &mut Batch<'_>, receipt: &Receipt, lease: Lease) -> Result<(), Stop> {
    let (sequence, mut row) = running(batch, receipt, lease.now)?;
    move_to(batch, &receipt.pool, sequence, &mut row, Some(receipt.lease), Some(lease.until))?;
    Ok(())
}

/// Hands a message back, to be pulled again from `until` on.
pub(super) fn release(batch: &mut Batch<'_>, receipt: &Receipt, now: Millis, until: Millis) -> Result<(), Stop> {
    let (sequence, mut row) = running(batch, receipt, now)?;
    move_to(batch, &receipt.pool, sequence, &mut row, None, (until > now).then_some(until))?;
    batch.wake.pools.insert(receipt.pool.clone());
    Ok(())
}

/// Takes back a delivery that never reached its worker, as if it had not been made.
pub(super) fn give_back(batch: &mut Batch<'_>, receipt: &Receipt) -> Result<(), Stop> {
    let (sequence, mut row) = running(batch, receipt, 0)?;
    row.deliveries = row.deliveries.saturating_sub(1);
    move_to(batch, &receipt.pool, sequence, &mut row, None, None)?;
    batch.wake.pools.insert(receipt.pool.clone());
    Ok(())
}

/// Removes a message that is under no lease, and forgets its id.
pub(super) fn discard(batch: &mut Batch<'_>, pool: &str, id: &str, now: Millis) -> Result<Discarded, redb::Error> {
    let known = batch.ids.get(id)?.map(|known| known.value());
    let sequence = match known {
        None => return Ok(Discarded::Absent),
        Some((_, Some(at))) => {
            batch.acknowledged.remove((at, id))?;
            batch.ids.remove(id)?;
            batch.mark_changed();
            return Ok(Discarded::Absent);
        }
        Some((sequence, None)) => sequence,
    };
    let Some(row) = row(batch, pool, sequence)? else { return Ok(Discarded::Absent) };
    if row.lease.is_some() && row.until.is_some_and(|until| until > now) {
        return Ok(Discarded::InWork);
    }
    leave_place(batch, pool, sequence, &row)?;
    batch.messages.remove((pool, sequence))?;
    batch.bodies.remove(sequence)?;
    batch.ids.remove(id)?;
    // A lease that has run out counts as in work until a pull finds it.
    let counted = if row.lease.is_some() { IN_WORK } else { usize::from(row.class) };
    change_depth(batch, pool, |depth| depth[counted] -= 1)?;
    finish(batch, pool)?;
    Ok(Discarded::Removed)
}

/// Makes ready what was leased or delayed until `now`.
pub(super) fn end_overdue(batch: &mut Batch<'_>, pool: &str, now: Millis) -> Result<(), redb::Error> {
    while let Some((until, sequence)) = first_later(batch, pool)? {
        if until > now {
            break;
        }
        make_ready(batch, pool, until, sequence)?;
    }
    Ok(())
}

/// Makes ready what is under a lease, however long the lease; delays stay.
pub(super) fn end_every_lease(batch: &mut Batch<'_>, pool: &str) -> Result<(), redb::Error> {
    let mut places = Vec::new();
    for place in batch.later.range((pool, 0, 0)..=(pool, u64::MAX, u64::MAX))? {
        let (_, until, sequence) = place?.0.value();
        places.push((until, sequence));
    }
    for (until, sequence) in places {
        if row(batch, pool, sequence)?.is_none_or(|row| row.lease.is_some()) {
            make_ready(batch, pool, until, sequence)?;
        }
    }
    Ok(())
}

/// When the next lease or delay of the pool ends.
pub(super) fn next_change(batch: &Batch<'_>, pool: &str) -> Result<Option<Millis>, redb::Error> {
    Ok(first_later(batch, pool)?.map(|(until, _)| until))
}

/// Takes a message out of the table of its place; its row stays.
pub(super) fn leave_place(batch: &mut Batch<'_>, pool: &str, sequence: u64, row: &Row) -> Result<(), redb::Error> {
    match row.until {
        Some(until) => batch.later.remove((pool, until, sequence))?.is_some(),
        None => batch.ready.remove((pool, row.class, sequence))?.is_some(),
    };
    batch.mark_changed();
    Ok(())
}

/// Changes the counts of a pool.
pub(super) fn change_depth(
    batch: &mut Batch<'_>,
    pool: &str,
    change: impl FnOnce(&mut DepthRow),
) -> Result<(), redb::Error> {
    let mut depth = batch.depths.get(pool)?.map_or([0; 5], |row| row.value());
    change(&mut depth);
    if depth == [0; 5] {
        batch.depths.remove(pool)?;
    } else {
        batch.depths.insert(pool, depth)?;
    }
    batch.mark_changed();
    Ok(())
}

/// Counts a message that is gone.
pub(super) fn finish(batch: &mut Batch<'_>, pool: &str) -> Result<(), redb::Error> {
    let finished = batch.finished.get(pool)?.map_or(0, |count| count.value());
    batch.finished.insert(pool, finished.saturating_add(1))?;
    batch.mark_changed();
    Ok(())
}

fn make_ready(batch: &mut Batch<'_>, pool: &str, until: Millis, sequence: u64) -> Result<(), redb::Error> {
    match row(batch, pool, sequence)? {
        Some(mut row) => move_to(batch, pool, sequence, &mut row, None, None),
        None => {
            batch.later.remove((pool, until, sequence))?;
            batch.mark_changed();
            Ok(())
        }
    }
}

fn move_to(
    batch: &mut Batch<'_>,
    pool: &str,
    sequence: u64,
    row: &mut Row,
    lease: Option<u64>,
    until: Option<Millis>,
) -> Result<(), redb::Error> {
    leave_place(batch, pool, sequence, row)?;
    let was_leased = row.lease.is_some();
    (row.lease, row.until) = (lease, until);
    batch.messages.insert((pool, sequence), row.as_row())?;
    match until {
        Some(until) => batch.later.insert((pool, until, sequence), ())?.is_some(),
        None => batch.ready.insert((pool, row.class, sequence), ())?.is_some(),
    };
    let class = usize::from(row.class);
    match (was_leased, lease.is_some()) {
        (false, true) => change_depth(batch, pool, |depth| {
            depth[class] -= 1;
            depth[IN_WORK] += 1;
        }),
        (true, false) => change_depth(batch, pool, |depth| {
            depth[class] += 1;
            depth[IN_WORK] -= 1;
        }),
        _ => Ok(()),
    }
}

fn row(batch: &Batch<'_>, pool: &str, sequence: u64) -> Result<Option<Row>, redb::Error> {
    Ok(batch.messages.get((pool, sequence))?.map(|row| Row::of(row.value())))
}

fn first_later(batch: &Batch<'_>, pool: &str) -> Result<Option<(Millis, u64)>, redb::Error> {
    let first = batch.later.range((pool, 0, 0)..=(pool, u64::MAX, u64::MAX))?.next().transpose()?;
    Ok(first.map(|(place, _)| (place.value().1, place.value().2)))
}
