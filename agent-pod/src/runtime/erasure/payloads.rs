//! Payloads of erased documents that no other document names.
//!
//! They are removed at once, without the period that a sweep leaves between condemning and removing. So all are seized first:
//! who wants to store one of them from now on waits, and stores it anew. Who had stored it just before gets `settle` to write
//! the record that names it. Only then all records are read.

use std::{collections::BTreeSet, sync::Arc};

use flow::DocumentRecord;
use futures::{StreamExt as _, stream};
use queue::{Condemned, Error, Removal, payloads::condemned_name};

use super::{Eraser, PlaceReport, records::Found};
use crate::{
    error::chain,
    runtime::{driver::DOCUMENTS, now},
};

/// Large, because a broker lists all names for each page.
const PAGE: usize = 5_000;
/// Calls of the store at once.
const AT_ONCE: usize = 16;

impl Eraser {
    pub(super) async fn payloads(&self, found: &[Found]) -> PlaceReport {
        let mut report = PlaceReport::of("payloads");
        let wanted: BTreeSet<&String> = found.iter().flat_map(|found| &found.traces.payloads).collect();
        let condemned = Condemned::new(Arc::clone(&self.ports.records));
        let names: Vec<String> = wanted.iter().map(|digest| condemned_name(digest)).collect();
        let seizing: Vec<_> = names.iter().map(|name| condemned.seize(name, now())).collect();
        let seizing: Vec<queue::Result<Removal>> = stream::iter(seizing).buffered(AT_ONCE).collect().await;
        let mut seized: Vec<(&String, Removal)> = Vec::new();
        for (digest, removal) in wanted.into_iter().zip(seizing) {
            match removal {
                Ok(removal) => seized.push((digest, removal)),
                Err(error) => report.left.push(format!("{digest}: {}", chain(&error))),
            }
        }
        if !seized.is_empty() {
            tokio::time::sleep(self.settle).await;
        }
        let digests = seized.iter().map(|(digest, _)| *digest).collect();
        match self.named_by_others(found, digests).await {
            Ok(shared) => {
                for (digest, _) in seized.iter().filter(|(digest, _)| !shared.contains(*digest)) {
                    match self.delete(digest).await {
                        Ok(was_there) => {
                            report.removed += u64::from(was_there);
                            report.absent += 1;
                        }
                        Err(error) => report.left.push(format!("{digest}: {}", chain(&error))),
                    }
                }
            }
            Err(problem) => report.left.push(problem),
        }
        for (digest, removal) in seized {
            if let Err(error) = condemned.end_removal(removal).await {
                // The next sweep ends it; until then nobody can store these bytes.
                tracing::error!(%digest, error = %chain(&error), "a payload stays locked until the next sweep");
            }
        }
        report
    }

    /// Which of the payloads a document names that is not being erased.
    async fn named_by_others(&self, found: &[Found], digests: BTreeSet<&String>) -> Result<BTreeSet<String>, String> {
        let erased: BTreeSet<&str> = found.iter().map(|found| found.key.as_str()).collect();
        let mut shared = BTreeSet::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.ports.records.scan(DOCUMENTS, after.as_deref(), PAGE).await;
            let page = page.map_err(|error| chain(&error))?;
            let Some((last, _)) = page.last() else { return Ok(shared) };
            after = Some(last.clone());
            for (key, stored) in page.iter().filter(|(key, _)| !erased.contains(key.as_str())) {
                let record = DocumentRecord::decode(&stored.bytes).map_err(|error| {
                    format!("the record \"{key}\" may name them and cannot be read: {}", chain(&error))
                })?;
                shared.extend(record.needed().filter(|digest| digests.contains(digest)).cloned());
            }
        }
    }

    /// Removes a payload and looks again; whether it was there.
    async fn delete(&self, digest: &str) -> queue::Result<bool> {
        let payloads = &self.ports.payloads;
        let was_there = !matches!(payloads.get(digest).await, Err(Error::NotFound { .. }));
        payloads.delete(digest).await?;
        match payloads.get(digest).await {
            Err(Error::NotFound { .. }) => Ok(was_there),
            Err(error) => Err(error),
            Ok(_) => {
                let source = "it is still there".into();
                Err(Error::Store { action: "remove a payload", source })
            }
        }
    }
}
