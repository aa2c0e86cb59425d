//! Streams and consumers: made where they are missing, refused where they promise less than the settings ask for.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream::{Config, PersistenceMode, StorageType};
use serde::Deserialize;
use serde_json::json;

use super::{
    broker::Broker,
    failure::{Failure, code},
};

/// Pulls that may wait at a consumer: one a priority and process.
const MAX_WAITING: u32 = 10_000;
/// Between two looks for a stream that somebody else makes.
const LOOK: Duration = Duration::from_millis(300);

/// A durable pull consumer.
pub(super) struct Puller<'a> {
    pub(super) stream: &'a str,
    pub(super) name: &'a str,
    pub(super) filter: String,
    /// How long a message stays with who pulled it.
    pub(super) ack_wait: Duration,
    pub(super) max_in_work: u32,
}

#[derive(Deserialize)]
struct Found {
    config: Config,
}

#[derive(Deserialize)]
struct Made {}

impl Broker {
    /// What all our streams have in common: on disk, without any limit that would drop or refuse a message.
    pub(super) fn stream(&self, name: &str, subjects: &str) -> Config {
        Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_messages: -1,
            max_messages_per_subject: -1,
            max_bytes: -1,
            max_message_size: -1,
            max_consumers: -1,
            ..Config::default()
        }
    }

    /// Makes the stream, or checks the one that is there.
    pub(super) async fn ensure_stream(&self, wanted: &Config) -> Result<(), Failure> {
        self.ensure_stream_within(wanted, self.timeout).await
    }

    /// The same, where one that others make is waited for no longer than `patience`.
    pub(super) async fn ensure_stream_within(&self, wanted: &Config, patience: Duration) -> Result<(), Failure> {
        let name = &wanted.name;
        let until = Instant::now() + patience;
        loop {
            let found: Result<Found, Failure> = self.api(&format!("STREAM.INFO.{name}"), &json!(null)).await;
            match found {
                Ok(found) => return check(&found.config, wanted),
                Err(failure) if failure.is(code::STREAM_NOT_FOUND) => {}
                Err(failure) => return Err(failure),
            }
            if self.makes_streams {
                break;
            }
            if Instant::now() >= until {
                return Err(Failure::NotMade { stream: name.clone() });
            }
            tokio::time::sleep(LOOK).await;
        }
        let made: Result<Made, Failure> = self.api(&format!("STREAM.CREATE.{name}"), &json!(wanted)).await;
        match made {
            Ok(_) => Ok(()),
            // Another process was faster.
            Err(failure) if failure.is(code::STREAM_NAME_IN_USE) => {
                let found: Found = self.api(&format!("STREAM.INFO.{name}"), &json!(null)).await?;
                check(&found.config, wanted)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The subjects that a stream stores; of one that is not there, none.
    pub(super) async fn subjects_of(&self, stream: &str) -> Result<Vec<String>, Failure> {
        let found: Result<Found, Failure> = self.api(&format!("STREAM.INFO.{stream}"), &json!(null)).await;
        match found {
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) => Ok(Vec::new()),
            found => found.map(|found| found.config.subjects),
        }
    }

    /// Removes the stream with all that is in it; removing nothing is no error.
    pub(super) async fn drop_stream(&self, name: &str) -> Result<(), Failure> {
        let dropped: Result<Made, Failure> = self.api(&format!("STREAM.DELETE.{name}"), &json!(null)).await;
        match dropped {
            Err(failure) if !failure.is(code::STREAM_NOT_FOUND) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Makes the consumer, or gives the one that is there these times and limits.
    pub(super) async fn ensure_puller(&self, puller: &Puller<'_>) -> Result<(), Failure> {
        if !self.makes_streams {
            return Ok(());
        }
        let Puller { stream, name, filter, .. } = puller;
        let body = json!({
            "stream_name": stream,
            "config": {
                "name": name,
                "durable_name": name,
                "filter_subject": filter,
                "deliver_policy": "all",
                "replay_policy": "instant",
                "ack_policy": "explicit",
                "ack_wait": u64::try_from(puller.ack_wait.as_nanos()).unwrap_or(u64::MAX),
                // Redelivery is unlimited: limits live in the record.
                "max_deliver": -1,
                "max_ack_pending": puller.max_in_work,
                "max_waiting": MAX_WAITING,
                "num_replicas": 0,
            },
        });
        let _: Made = self.api(&format!("CONSUMER.CREATE.{stream}.{name}.{filter}"), &body).await?;
        Ok(())
    }
}

/// Fails where a stream promises less than what is wanted of it. Being stronger is no difference.
fn check(found: &Config, wanted: &Config) -> Result<(), Failure> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, found: String, wanted: String| {
        differences.push(format!("{what} is {found}, not {wanted}"));
    };
    if found.storage != wanted.storage {
        differ("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    }
    if found.num_replicas < wanted.num_replicas {
        differ("num_replicas", found.num_replicas.to_string(), wanted.num_replicas.to_string());
    }
    if found.retention != wanted.retention {
        differ("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    }
    if !wanted.subjects.iter().all(|subject| found.subjects.contains(subject)) {
        differ("subjects", found.subjects.join(" "), wanted.subjects.join(" "));
    }
    if found.max_messages_per_subject != wanted.max_messages_per_subject {
        let limits = [found, wanted].map(|config| config.max_messages_per_subject.to_string());
        let [found, wanted] = limits;
        differ("max_msgs_per_subject", found, wanted);
    }
    for (what, limit) in [("max_msgs", found.max_messages), ("max_bytes", found.max_bytes)] {
        if limit > 0 {
            differ(what, limit.to_string(), "unlimited".to_owned());
        }
    }
    if found.max_age != wanted.max_age {
        let age = |age: Duration| if age.is_zero() { "unlimited".to_owned() } else { format!("{age:?}") };
        differ("max_age", age(found.max_age), age(wanted.max_age));
    }
    if found.duplicate_window < wanted.duplicate_window {
        let [found, wanted] = [found, wanted].map(|config| format!("{:?}", config.duplicate_window));
        differ("duplicate_window", found, wanted);
    }
    if found.allow_direct && !wanted.allow_direct {
        differ("allow_direct", "true".to_owned(), "false".to_owned());
    }
    if wanted.allow_message_schedules && !found.allow_message_schedules {
        differ("allow_msg_schedules", "false".to_owned(), "true".to_owned());
    }
    if found.no_ack || found.sealed {
        differ("no_ack or sealed", "true".to_owned(), "false".to_owned());
    }
    if found.persist_mode == Some(PersistenceMode::Async) {
        differ("persist_mode", "async".to_owned(), "default".to_owned());
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::Weaker { stream: found.name.clone(), differences: differences.join(", ") })
}
