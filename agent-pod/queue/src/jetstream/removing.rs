//! The removal of all that belongs to a prefix.
//!
//! Names of streams alone do not tell whose they are, where several prefixes share an account: `PREFIX-tasks-payloads` holds the
//! tasks of a pool, or the payloads of the prefix `PREFIX-tasks`. Subjects tell it, since a prefix is their whole first word.

use super::{broker::Broker, failure::Failure, records::JetStreamRecords};

/// Removes all of it, the common records last.
pub(super) async fn all(broker: &Broker, records: &JetStreamRecords) -> Result<(), Failure> {
    let (name, subject) = (format!("{}-", broker.prefix), format!("{}.", broker.prefix));
    let streams = broker.streams().await?;
    for stream in streams.iter().filter(|stream| stream.starts_with(&name)) {
        let subjects = broker.subjects_of(stream).await?;
        if !subjects.is_empty() && subjects.iter().all(|of| of.starts_with(&subject)) {
            broker.drop_stream(stream).await?;
        }
    }
    records.remove_all(&streams).await
}
