//! A LanceDB table as a sink.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use knowledge::{ResultRow, ResultsTable};
use tokio::sync::OnceCell;

use super::{
    Sink, Unavailable, Whose,
    row::{self, Row},
};
use crate::error::chain;

/// A table in a folder, opened when it is first needed.
pub(super) struct Table {
    folder: PathBuf,
    open: OnceCell<ResultsTable>,
}

impl Table {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, open: OnceCell::new() }
    }

    /// Removes rows and what older versions hold of them; how many.
    pub(super) async fn erase(&self, whose: Whose<'_>) -> Result<u64, Unavailable> {
        let table = self.table().await?;
        let erased = match whose {
            Whose::Document { pipeline, tenant, document } => {
                table.erase(Some(&row::key(&[pipeline, tenant, document])), None).await
            }
            Whose::Tenant(tenant) => table.erase(None, Some(tenant)).await,
        };
        erased.map_err(|error| self.unavailable(&error))
    }

    async fn table(&self) -> Result<&ResultsTable, Unavailable> {
        let opened = self.open.get_or_try_init(|| ResultsTable::open(&self.folder)).await;
        opened.map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &knowledge::Error) -> Unavailable {
        Unavailable(format!("{}: {}", self.folder.display(), chain(error)))
    }
}

#[async_trait]
impl Sink for Table {
    const NAME: &'static str = "table";

    async fn write(&self, rows: &[Arc<Row>]) -> Result<Vec<Result<(), String>>, Unavailable> {
        let written: Vec<ResultRow> = rows.iter().map(|row| result_row(row)).collect();
        self.table().await?.upsert(&written).await.map_err(|error| self.unavailable(&error))?;
        Ok(vec![Ok(()); rows.len()])
    }
}

fn result_row(row: &Row) -> ResultRow {
    let row = row.clone();
    ResultRow {
        key: row.key,
        pipeline: row.pipeline,
        tenant: row.tenant,
        document: row.document,
        source: row.source,
        outcome: row.outcome.to_owned(),
        output: row.output,
        citations: row.citations,
        degraded: row.degraded,
        quality: row.quality,
        anomaly: row.anomaly,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        cost: row.cost,
        seconds: row.seconds,
        plan: row.plan,
        epoch: row.epoch.into(),
        submitted_at: row.submitted_at,
        ended_at: row.ended_at,
        nul_replaced: row.nul_replaced,
    }
}
