//! Records of documents that ended long enough ago.

use flow::{DocumentRecord, Outcome};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use queue::Ports;

use super::{Error, Removed, Rule, store};
use crate::runtime::{
    driver::{DOCUMENTS, Scope},
    leftovers::Leftovers,
    plans::Plans,
};

/// Large, because a broker lists all names for each page.
const PAGE: usize = 2_000;
/// Records that one pass removes of one scope.
const AT_MOST: u64 = 20_000;
/// Records that are removed at once.
const AT_ONCE: usize = 8;

/// Removes what the rule does not keep.
pub(super) async fn remove(ports: &Ports, rule: &Rule, now: u64, removed: &mut Removed) -> Result<(), Error> {
    if rule.retention.records.is_none() && rule.retention.dead_letters.is_none() {
        return Ok(());
    }
    let plans = Plans::new(std::sync::Arc::clone(&ports.records));
    let prefix = format!("{DOCUMENTS}{}/", rule.scope.name());
    let mut after: Option<String> = None;
    let mut count = 0;
    while count < AT_MOST {
        let page = ports.records.scan(&prefix, after.as_deref(), PAGE).await.map_err(store("read the records"))?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        // A record that cannot be read is nobody's to remove by age: nobody knows its age.
        let over = page.into_iter().filter_map(|(key, found)| {
            let record = DocumentRecord::decode(&found.bytes).ok()?;
            let dead = is_over(rule, &record, now)?;
            Some((key, found.revision, record, dead))
        });
        let removals = over.map(|(key, revision, record, dead)| {
            let (plans, scope) = (&plans, &rule.scope);
            async move { Ok::<_, Error>((remove_one(ports, plans, scope, (&key, revision), &record).await?, dead)) }
        });
        let done: Vec<(bool, bool)> = stream::iter(removals).buffered(AT_ONCE).try_collect().await?;
        for (_, dead) in done.iter().filter(|(removed, _)| *removed) {
            *if *dead { &mut removed.dead_letters } else { &mut removed.records } += 1;
            count += 1;
        }
    }
    Ok(())
}

/// Whether the document's time is over, and if so whether it is a dead letter.
fn is_over(rule: &Rule, record: &DocumentRecord, now: u64) -> Option<bool> {
    let end = record.end.as_ref()?;
    let dead = end.outcome == Outcome::DeadLettered;
    let kept = if dead { rule.retention.dead_letters } else { rule.retention.records }?;
    let kept = u64::try_from(kept.0.as_millis()).unwrap_or(u64::MAX);
    (end.at.saturating_add(kept) <= now).then_some(dead)
}

/// Whether it was removed: a dead letter that is replayed at this moment stays.
async fn remove_one(
    ports: &Ports,
    plans: &Plans,
    scope: &Scope,
    (key, revision): (&str, u64),
    record: &DocumentRecord,
) -> Result<bool, Error> {
    // The record first: what it may have left is of no use without it, while a replay needs it.
    match ports.records.remove(key, revision).await {
        Ok(()) => {}
        Err(queue::Error::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(store("remove a record")(error)),
    }
    let plan = plans.get(&record.plan).await.ok();
    let left = Leftovers::of(scope, plan.as_deref(), record);
    // One that is in work goes away when it is done.
    left.discard_tasks(ports).await.map_err(store("remove the tasks of a document"))?;
    left.cancel_timers(ports).await.map_err(store("cancel the timers of a document"))?;
    Ok(true)
}
