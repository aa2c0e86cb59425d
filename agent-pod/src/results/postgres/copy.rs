//! A batch of rows in one transaction.

use std::{fmt::Write as _, pin::pin, sync::Arc};

use bytes::Bytes;
use deadpool_postgres::Object;
use futures::SinkExt as _;
use tokio_postgres::Error;

use super::Row;
use crate::commands::explain::time;

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

/// Rows come in here; it is empty again when the transaction ends.
const INCOMING: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS docket_incoming (
    LIKE docket_results,
    ended_key text NOT NULL,
    answers jsonb NOT NULL
) ON COMMIT DELETE ROWS";

const COPY: &str = "COPY docket_incoming (key, pipeline, tenant, document, source, outcome, output, citations, degraded,
    quality, anomaly, prompt_tokens, completion_tokens, cost, seconds, plan, epoch, submitted_at, ended_at, nul_replaced,
    audit, ended_key, answers) FROM STDIN";

/// In the order of keys, so that two writers never wait for each other in a circle.
const RESULTS: &str = "INSERT INTO docket_results AS known (key, pipeline, tenant, document, source, outcome, output,
    citations, degraded, quality, anomaly, prompt_tokens, completion_tokens, cost, seconds, plan, epoch, submitted_at,
    ended_at, nul_replaced, audit)
SELECT DISTINCT ON (key) key, pipeline, tenant, document, source, outcome, output,
    citations, degraded, quality, anomaly, prompt_tokens, completion_tokens, cost, seconds, plan, epoch, submitted_at,
    ended_at, nul_replaced, audit
FROM docket_incoming ORDER BY key, submitted_at DESC, epoch DESC
ON CONFLICT (key) DO UPDATE SET
    source = excluded.source, outcome = excluded.outcome, output = excluded.output, citations = excluded.citations,
    degraded = excluded.degraded, quality = excluded.quality, anomaly = excluded.anomaly,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens, cost = excluded.cost,
    seconds = excluded.seconds, plan = excluded.plan, epoch = excluded.epoch, submitted_at = excluded.submitted_at,
    ended_at = excluded.ended_at, nul_replaced = excluded.nul_replaced, audit = excluded.audit,
    audited_by = NULL, audited_at = NULL, audit_comment = NULL
WHERE (known.submitted_at, known.epoch) < (excluded.submitted_at, excluded.epoch)";

const ENDED: &str = "INSERT INTO docket_audit_log (key, at, event, pipeline, tenant, document, detail)
SELECT DISTINCT ON (ended_key) ended_key, ended_at, 'ended', pipeline, tenant, document,
    jsonb_build_object('outcome', outcome, 'plan', plan, 'anomaly', anomaly, 'quality', quality)
FROM docket_incoming ORDER BY ended_key
ON CONFLICT (key) DO NOTHING";

const ANSWERS: &str = "INSERT INTO docket_audit_log (key, at, event, pipeline, tenant, document, stage, who, comment)
SELECT DISTINCT ON (answer->>'key') answer->>'key', coalesce((answer->>'at')::timestamptz, ended_at), answer->>'event',
    pipeline, tenant, document, answer->>'stage', answer->>'who', answer->>'comment'
FROM docket_incoming, jsonb_array_elements(answers) AS answered(answer) ORDER BY answer->>'key'
ON CONFLICT (key) DO NOTHING";

/// Writes rows; all of them or none.
pub(super) async fn write(client: &mut Object, rows: &[Arc<Row>]) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(INCOMING).await?;
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(COPY).await?);
    let mut text = String::with_capacity(CHUNK);
    for row in rows {
        line(&mut text, row);
        if text.len() >= CHUNK {
            sink.send(Bytes::from(std::mem::take(&mut text))).await?;
        }
    }
    sink.send(Bytes::from(text)).await?;
    sink.as_mut().finish().await?;
    for statement in [RESULTS, ENDED, ANSWERS] {
        transaction.execute(statement, &[]).await?;
    }
    transaction.commit().await
}

/// A row in the text format of COPY.
pub fn line(to: &mut String, row: &Row) {
    let number = |number: Option<f64>| number.map(|number| number.to_string());
    let count = |count: u64| Some(i64::try_from(count).unwrap_or(i64::MAX).to_string());
    let word = |text: &str| Some(text.to_owned());
    let fields = [
        word(&row.key),
        word(&row.pipeline),
        word(&row.tenant),
        word(&row.document),
        word(&row.source),
        word(row.outcome),
        word(&row.output),
        word(&row.citations),
        word(&row.degraded),
        number(row.quality),
        number(row.anomaly),
        count(row.prompt_tokens),
        count(row.completion_tokens),
        number(row.cost),
        number(Some(row.seconds)),
        word(&row.plan),
        count(row.epoch.into()),
        Some(time(row.submitted_at)),
        Some(time(row.ended_at)),
        Some(row.nul_replaced.to_string()),
        row.audit.then(|| "pending".to_owned()),
        word(&row.ended_key),
        word(&row.answers),
    ];
    for (place, field) in fields.iter().enumerate() {
        if place > 0 {
            to.push('\t');
        }
        match field {
            Some(text) => escape(to, text),
            None => to.push_str("\\N"),
        }
    }
    to.push('\n');
}

fn escape(to: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            // Writing to a String cannot fail.
            other => drop(to.write_char(other)),
        }
    }
}
