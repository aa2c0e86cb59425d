//! The tables of a database, made and changed by numbered steps. Processes that start at once take turns by a lock of the
//! database, and a step that failed has changed nothing.

use deadpool_postgres::Object;

use super::super::Unavailable;
use crate::error::chain;

/// The steps in their order; one that has been published is never changed.
const STEPS: [&str; 1] = [include_str!("0001_results.sql")];
/// Name of the lock: any number that nobody else would take.
const LOCK: i64 = 0x0064_6f63_6b65_7401;
const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS docket_migrations (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// Takes the database to this program's version.
pub(super) async fn run(client: &mut Object) -> Result<(), Unavailable> {
    match apply(client).await {
        Ok(found) if found <= STEPS.len() => Ok(()),
        Ok(found) => Err(Unavailable(format!(
            "the database's tables are of version {found}, this program knows {}: upgrade it",
            STEPS.len()
        ))),
        Err(error) => Err(Unavailable(format!("failed to make the database's tables: {}", chain(&error)))),
    }
}

/// Applies what is missing; the version that the database has then.
async fn apply(client: &mut Object) -> Result<usize, tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    transaction.batch_execute(VERSIONS).await?;
    let found = transaction.query_one("SELECT coalesce(max(version), 0) FROM docket_migrations", &[]).await?;
    let found = usize::try_from(found.get::<_, i32>(0)).unwrap_or(0);
    for (step, sql) in STEPS.iter().enumerate().skip(found) {
        transaction.batch_execute(sql).await?;
        let version = i32::try_from(step + 1).unwrap_or(i32::MAX);
        transaction.execute("INSERT INTO docket_migrations (version) VALUES ($1)", &[&version]).await?;
    }
    transaction.commit().await?;
    Ok(found.max(STEPS.len()))
}
