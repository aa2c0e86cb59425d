//! Mark and sweep of payloads and plans.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use flow::DocumentRecord;
use queue::{Condemned, Mark, Ports, payloads::condemned_name};

use super::{Error, Removed, marks::Marks, store};
use crate::runtime::{driver::DOCUMENTS, plans::PLANS};

/// Large, because a broker lists all names for each page; some ten megabytes.
const PAGE: usize = 10_000;
/// Payloads that one pass looks at; the next one goes on behind them.
const LOOKED_AT: usize = 1_000_000;
/// Marks that there may be: each pass reads them all.
const MARKS: usize = 1_000_000;
/// Payloads that one pass removes.
const REMOVED: u64 = 100_000;
/// How payloads are called among what is condemned.
const PAYLOADS: &str = "payloads/";

/// One sweep.
pub(super) struct Sweep<'a> {
    pub(super) ports: &'a Ports,
    /// How long something must not have been named; without it nothing is swept, and only what was begun is ended.
    pub(super) age: Option<Duration>,
    /// Plans that stay although no record names them.
    pub(super) served: &'a BTreeSet<String>,
    /// When it began.
    pub(super) now: u64,
}

/// How far earlier sweeps have come.
#[derive(Default)]
pub(super) struct Progress {
    /// The payload that was looked at last.
    cursor: Option<String>,
    /// Marks that there are.
    marks: usize,
}

/// What records name.
struct Named {
    payloads: Marks,
    plans: HashSet<String>,
}

impl Sweep<'_> {
    pub(super) async fn run(&self, progress: &mut Progress, removed: &mut Removed) -> Result<(), Error> {
        let condemned = Condemned::new(Arc::clone(&self.ports.records));
        let Some(age) = self.age else { return self.end_abandoned(&condemned, removed).await };
        let named = self.named().await?;
        self.condemn_payloads(&condemned, &named, progress).await?;
        self.condemn_plans(&condemned, &named).await?;
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut pages = Pages::default();
        while let Some(page) = pages.next(&condemned).await? {
            for mark in &page {
                if removed.payloads < REMOVED {
                    self.judge(&condemned, mark, (&named, age), removed).await?;
                }
            }
        }
        progress.marks = pages.seen;
        Ok(())
    }

    async fn judge(
        &self,
        condemned: &Condemned,
        mark: &Mark,
        (named, age): (&Named, u64),
        removed: &mut Removed,
    ) -> Result<(), Error> {
        let is_named = self.is_named(named, mark);
        if mark.is_waiting() && is_named {
            condemned.acquit(mark).await.map_err(store("acquit what is named again"))
        } else if mark.is_waiting() && mark.at.saturating_add(age) <= self.now {
            self.remove(condemned, mark, removed).await
        } else if mark.is_abandoned(self.now) {
            self.end(condemned, mark, is_named, removed).await
        } else {
            Ok(())
        }
    }

    fn is_named(&self, named: &Named, mark: &Mark) -> bool {
        let is_plan = |plan: &str| named.plans.contains(plan) || self.served.contains(plan);
        match mark.name.strip_prefix(PAYLOADS) {
            Some(digest) => named.payloads.may_hold(digest),
            // Whatever else somebody has condemned is not ours to remove.
            None => mark.name.strip_prefix(PLANS).is_none_or(is_plan),
        }
    }

    /// Reads all records of the store, of pipelines that are not served here too: payloads have no owner.
    async fn named(&self) -> Result<Named, Error> {
        let mut named = Named { payloads: Marks::new(self.now), plans: HashSet::new() };
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.records.scan(DOCUMENTS, after.as_deref(), PAGE).await;
            let page = page.map_err(store("read the records"))?;
            let Some((last, _)) = page.last() else { return Ok(named) };
            after = Some(last.clone());
            for (key, found) in page {
                let record =
                    DocumentRecord::decode(&found.bytes).map_err(|source| Error::Unreadable { key, source })?;
                record.needed().for_each(|digest| named.payloads.add(digest));
                named.plans.insert(record.plan);
            }
        }
    }

    async fn condemn_payloads(
        &self,
        condemned: &Condemned,
        named: &Named,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        let Progress { cursor, marks } = progress;
        let mut looked_at = 0;
        while looked_at < LOOKED_AT && *marks < MARKS {
            let page = self.ports.payloads.list(cursor.as_deref(), PAGE).await.map_err(store("list the payloads"))?;
            if page.is_empty() {
                *cursor = None;
                break;
            }
            looked_at += page.len();
            for digest in page {
                if !named.payloads.may_hold(&digest) {
                    let new = condemned.condemn(&condemned_name(&digest), self.now).await;
                    *marks += usize::from(new.map_err(store("condemn a payload"))?);
                }
                *cursor = Some(digest);
            }
        }
        Ok(())
    }

    async fn condemn_plans(&self, condemned: &Condemned, named: &Named) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.records.scan(PLANS, after.as_deref(), PAGE).await.map_err(store("read the plans"))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, _) in &page {
                let digest = key.strip_prefix(PLANS).unwrap_or(key);
                if !named.plans.contains(digest) && !self.served.contains(digest) {
                    condemned.condemn(key, self.now).await.map_err(store("condemn a plan"))?;
                }
            }
        }
    }

    async fn remove(&self, condemned: &Condemned, mark: &Mark, removed: &mut Removed) -> Result<(), Error> {
        let begun =
            condemned.begin_removal(mark, self.now).await.map_err(store("begin to remove what is condemned"))?;
        let Some(removal) = begun else { return Ok(()) };
        match mark.name.strip_prefix(PAYLOADS) {
            Some(digest) => {
                self.ports.payloads.delete(digest).await.map_err(store("remove a payload"))?;
                removed.payloads += 1;
            }
            None => {
                self.ports.records.delete(&mark.name).await.map_err(store("remove a plan"))?;
                removed.plans += 1;
            }
        }
        condemned.end_removal(removal).await.map_err(store("end a removal"))
    }

    /// Ends what a process that died has begun: whether it came to remove the thing is not known, so the thing goes, unless
    /// it is named.
    async fn end(
        &self,
        condemned: &Condemned,
        mark: &Mark,
        is_named: bool,
        removed: &mut Removed,
    ) -> Result<(), Error> {
        if is_named {
            return condemned.acquit(mark).await.map_err(store("end a removal"));
        }
        self.remove(condemned, mark, removed).await
    }

    /// Without retention nobody condemns anything, but an erasure may have died.
    async fn end_abandoned(&self, condemned: &Condemned, removed: &mut Removed) -> Result<(), Error> {
        let mut abandoned = Vec::new();
        let mut pages = Pages::default();
        while let Some(page) = pages.next(condemned).await? {
            abandoned.extend(page.into_iter().filter(|mark| mark.is_abandoned(self.now)));
        }
        if abandoned.is_empty() {
            return Ok(());
        }
        let named = self.named().await?;
        for mark in &abandoned {
            self.end(condemned, mark, self.is_named(&named, mark), removed).await?;
        }
        Ok(())
    }
}

/// All marks, a page at a time.
#[derive(Default)]
struct Pages {
    after: Option<String>,
    seen: usize,
}

impl Pages {
    async fn next(&mut self, condemned: &Condemned) -> Result<Option<Vec<Mark>>, Error> {
        let page = condemned.page("", self.after.as_deref(), PAGE).await.map_err(store("read what is condemned"))?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.name.clone());
        self.seen += page.len();
        Ok(Some(page))
    }
}
