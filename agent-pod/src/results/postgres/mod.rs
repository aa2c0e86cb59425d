//! PostgreSQL as a sink: a row a document, a log of what happened, and audits that a person settles.
//!
//! A batch is one transaction: COPY into a temporary table, then INSERT … ON CONFLICT. A row of the same execution is there
//! already and stays; one of a later execution of the document replaces it. Where the server refuses a batch because of a
//! row, its rows are written one by one, so that one document's fault is its own.

pub mod asking;
pub mod connection;
pub mod copy;
mod migrations;
mod tls;

use std::{error::Error as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use crds::PostgresSink;
use deadpool_postgres::{Object, Pool};
use engine::reach::Reach;
use tokio::{
    sync::Mutex,
    time::{error::Elapsed, timeout},
};
use tokio_postgres::error::SqlState;

pub(crate) use self::{asking::Happened, connection::check};
use super::{Sink, Unavailable, row::Row};
use crate::error::chain;

/// Longest wait for a connection: an address that nobody answers must not hold up a batch for minutes.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time for one batch or question; a server that needs longer is in trouble.
const ANSWER: Duration = Duration::from_secs(30);

/// A database.
pub struct Postgres {
    spec: PostgresSink,
    reach: Reach,
    /// Made when it is first needed and again after it could not connect: the password may have changed.
    pool: Mutex<Option<Pool>>,
}

impl Postgres {
    /// A database that is not connected to yet; what is wrong with how it is written is said at once.
    pub fn new(spec: &PostgresSink) -> Result<Self, String> {
        check(spec)?;
        Ok(Self { spec: spec.clone(), reach: Reach::anybody(), pool: Mutex::default() })
    }

    /// Has it called only where `reach` allows it.
    #[must_use]
    pub fn reaching(self, reach: &Reach) -> Self {
        Self { reach: reach.clone(), ..self }
    }

    /// A connection to a database whose tables are there.
    async fn client(&self) -> Result<Object, Unavailable> {
        self.open_client().await.map_err(Problem::unavailable)
    }

    async fn open_client(&self) -> Result<Object, Problem> {
        let mut pool = self.pool.lock().await;
        let ready = match &*pool {
            Some(ready) => ready.clone(),
            None => {
                let found = timeout(CONNECT, connection::addresses(&self.spec, &self.reach)).await;
                let silent = || Problem::Unavailable(Unavailable("the database's name was not resolved".to_owned()));
                let addresses = found.map_err(|_| silent())??;
                let made = connection::pool(&self.spec, &addresses, crate::args::variable);
                made.map_err(|problem| Problem::Unavailable(Unavailable(problem)))?
            }
        };
        let opening = async {
            let mut client = ready.get().await.map_err(|error| Unavailable(chain(&error)))?;
            // A new pool may have met a new database.
            if pool.is_none() {
                migrations::run(&mut client).await?;
            }
            Ok::<_, Unavailable>(client)
        };
        let opened = timeout(CONNECT + ANSWER, opening).await;
        match opened.unwrap_or_else(|_| Err(Unavailable("the database does not answer".to_owned()))) {
            Ok(client) => {
                *pool = Some(ready);
                Ok(client)
            }
            Err(error) => {
                *pool = None;
                Err(Problem::Unavailable(error))
            }
        }
    }

    /// What a database answered, in time or not; a connection that is stuck or broken is given up.
    async fn answered<T>(
        &self,
        client: Object,
        answer: Result<Result<T, tokio_postgres::Error>, Elapsed>,
    ) -> Result<T, Problem> {
        let problem = match answer {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => Problem::of(&error),
            Err(_) => Problem::Unavailable(Unavailable(format!("the database did not answer within {ANSWER:?}"))),
        };
        if matches!(problem, Problem::Unavailable(_)) {
            self.give_up(client).await;
        }
        Err(problem)
    }

    async fn copy(&self, rows: &[Arc<Row>]) -> Result<(), Problem> {
        let mut client = self.open_client().await?;
        let answer = timeout(ANSWER, copy::write(&mut client, rows)).await;
        self.answered(client, answer).await
    }

    /// Closes a connection and has the next one look at the database anew.
    async fn give_up(&self, client: Object) {
        drop(Object::take(client));
        *self.pool.lock().await = None;
    }
}

#[async_trait]
impl Sink for Postgres {
    const NAME: &'static str = "postgres";

    async fn write(&self, rows: &[Arc<Row>]) -> Result<Vec<Result<(), String>>, Unavailable> {
        match self.copy(rows).await {
            Ok(()) => return Ok(vec![Ok(()); rows.len()]),
            Err(Problem::Unavailable(error)) => return Err(error),
            Err(Problem::Refused(refusal)) if rows.len() == 1 => return Ok(vec![Err(refusal)]),
            Err(Problem::Refused(_)) => {}
        }
        let mut each = Vec::with_capacity(rows.len());
        for row in rows {
            match self.copy(std::slice::from_ref(row)).await {
                Ok(()) => each.push(Ok(())),
                Err(Problem::Refused(refusal)) => each.push(Err(refusal)),
                Err(Problem::Unavailable(error)) => return Err(error),
            }
        }
        Ok(each)
    }
}

/// Why a database did not do what was asked.
enum Problem {
    /// What was to be written is at fault, or where it was to be written; the same again will fail again.
    Refused(String),
    /// Anything else.
    Unavailable(Unavailable),
}

impl Problem {
    fn of(error: &tokio_postgres::Error) -> Self {
        // Of a server's words the message alone is for people; the chain would say it twice.
        let said = match error.as_db_error() {
            Some(said) => format!("{} ({})", said.message(), said.code().code()),
            None => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
        };
        if error.code().is_some_and(is_fault_of_a_row) {
            Self::Refused(said)
        } else {
            Self::Unavailable(Unavailable(said))
        }
    }

    fn unavailable(self) -> Unavailable {
        match self {
            Self::Refused(said) => Unavailable(said),
            Self::Unavailable(error) => error,
        }
    }
}

/// Data exceptions, violated constraints, and values beyond the server's limits. All else (privileges, missing tables, a
/// full disk, a shutdown) is for somebody to mend, and the documents wait for that.
fn is_fault_of_a_row(code: &SqlState) -> bool {
    ["22", "23", "54"].iter().any(|class| code.code().starts_with(class))
}
