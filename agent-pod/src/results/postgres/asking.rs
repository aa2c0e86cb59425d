//! What people ask of a database and tell it, beside results: audits, the log, erasure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_postgres::Object;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_postgres::{Error, Row as Found, types::ToSql};

use super::{ANSWER, Postgres, Problem};
use crate::{
    commands::explain::time,
    results::{Unavailable, Whose, key},
};

/// Something that a person did, for the log.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Names it, so that it is written down once.
    pub key: String,
    /// When, milliseconds since the epoch.
    pub at: u64,
    /// What: `approved`, `rejected` or `feedback`.
    pub event: &'static str,
    /// Where.
    pub pipeline: String,
    /// Whose document.
    pub tenant: String,
    /// Which document.
    pub document: String,
    /// At which stage, or by which head.
    pub stage: Option<String>,
    /// Who did it.
    pub who: String,
    /// What they said.
    pub comment: Option<String>,
    /// Further facts, as JSON.
    pub detail: Value,
}

const NOTE: &str = "INSERT INTO docket_audit_log
    (key, at, event, pipeline, tenant, document, stage, who, comment, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb) ON CONFLICT (key) DO NOTHING";

const PENDING: &str = "SELECT document, tenant, source, anomaly, ended_at, output::text FROM docket_pending_audits
WHERE pipeline = $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY ended_at, key LIMIT $3";

const SETTLE: &str = "UPDATE docket_results SET audit = $2, audited_by = $3, audited_at = $4, audit_comment = $5
WHERE key = $1 AND audit = 'pending'";

impl Postgres {
    /// Writes something into the log, once.
    pub async fn note(&self, happened: &Happened) -> Result<(), Unavailable> {
        let client = self.client().await?;
        let values = Values::of(happened);
        let answer = timeout(ANSWER, client.execute(NOTE, &values.all())).await;
        self.answered(client, answer).await.map(drop).map_err(Problem::unavailable)
    }

    /// Audits that nobody has settled, oldest first.
    pub(in crate::results) async fn pending_audits(
        &self,
        pipeline: &str,
        tenant: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Value>, Unavailable> {
        let client = self.client().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let answer = timeout(ANSWER, client.query(PENDING, &[&pipeline, &tenant, &limit])).await;
        let found = self.answered(client, answer).await.map_err(Problem::unavailable)?;
        Ok(found.iter().map(audit).collect())
    }

    /// Settles a pending audit and writes that down, both or neither; whether there was one.
    pub(in crate::results) async fn settle_audit(&self, happened: &Happened) -> Result<bool, Unavailable> {
        let mut client = self.client().await?;
        let answer = timeout(ANSWER, settle(&mut client, happened)).await;
        self.answered(client, answer).await.map_err(Problem::unavailable)
    }

    /// Removes rows and what the log says of them; how many rows that were.
    pub async fn erase(&self, whose: Whose<'_>) -> Result<u64, Unavailable> {
        let mut client = self.client().await?;
        let answer = timeout(ANSWER, erase(&mut client, whose)).await;
        self.answered(client, answer).await.map_err(Problem::unavailable)
    }
}

async fn settle(client: &mut Object, happened: &Happened) -> Result<bool, Error> {
    let row = key(&[&happened.pipeline, &happened.tenant, &happened.document]);
    let values = Values::of(happened);
    let transaction = client.transaction().await?;
    let verdict = [&row as &(dyn ToSql + Sync), &happened.event, &happened.who, &values.at, &values.comment];
    let settled = transaction.execute(SETTLE, &verdict).await?;
    if settled > 0 {
        transaction.execute(NOTE, &values.all()).await?;
    }
    transaction.commit().await?;
    Ok(settled > 0)
}

async fn erase(client: &mut Object, whose: Whose<'_>) -> Result<u64, Error> {
    let transaction = client.transaction().await?;
    let mut rows = 0;
    for table in ["docket_results", "docket_audit_log"] {
        rows += match whose {
            Whose::Document { pipeline, tenant, document } => {
                let delete = format!("DELETE FROM {table} WHERE pipeline = $1 AND tenant = $2 AND document = $3");
                transaction.execute(delete.as_str(), &[&pipeline, &tenant, &document]).await?
            }
            Whose::Tenant(tenant) => {
                let delete = format!("DELETE FROM {table} WHERE tenant = $1");
                transaction.execute(delete.as_str(), &[&tenant]).await?
            }
        };
    }
    transaction.commit().await?;
    Ok(rows)
}

/// What happened as a statement takes it. Texts of people may hold anything but U+0000.
struct Values<'a> {
    happened: &'a Happened,
    at: SystemTime,
    comment: Option<String>,
    detail: String,
}

impl<'a> Values<'a> {
    fn of(happened: &'a Happened) -> Self {
        let mark = |text: &String| text.replace('\0', "\u{2400}");
        Self {
            happened,
            at: UNIX_EPOCH + Duration::from_millis(happened.at),
            comment: happened.comment.as_ref().map(mark),
            detail: happened.detail.to_string().replace("\\u0000", "\u{2400}"),
        }
    }

    fn all(&self) -> [&(dyn ToSql + Sync); 10] {
        let Happened { key, event, pipeline, tenant, document, stage, who, .. } = self.happened;
        [key, &self.at, event, pipeline, tenant, document, stage, who, &self.comment, &self.detail]
    }
}

fn audit(found: &Found) -> Value {
    let ended_at: Option<SystemTime> = found.try_get(4).ok();
    let since = ended_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let output: Option<String> = found.try_get(5).ok().flatten();
    json!({
        "kind": "audit",
        "document": found.try_get::<_, String>(0).unwrap_or_default(),
        "tenant": found.try_get::<_, String>(1).unwrap_or_default(),
        "source": found.try_get::<_, String>(2).unwrap_or_default(),
        "anomaly": found.try_get::<_, Option<f64>>(3).ok().flatten(),
        "since": since.map(|since| time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))),
        "output": output.and_then(|output| serde_json::from_str::<Value>(&output).ok()),
    })
}
