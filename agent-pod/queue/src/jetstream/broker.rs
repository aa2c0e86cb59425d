//! The connection, and what every port asks of it: requests with a time limit, durable publishes, reads from a stream's
//! leader.

use std::{collections::HashMap, time::Duration};

use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Message, Request, ServerAddr, Subscriber,
    jetstream::{self, Context, message::StreamMessage, stream::Stream},
};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{runtime::Handle, sync::watch};

use super::{
    Settings,
    authorities::trusting,
    failure::{Failure, Refusal},
    names,
    settings::{Authorities, Credentials},
};

/// Message schedules exist since this version.
const NEEDED: (i64, i64, i64) = (2, 12, 0);
const NEEDED_TEXT: &str = "2.12.0";

/// Added to the client's own time limit, which does not cover the time in which a lost connection is made again.
const GRACE: Duration = Duration::from_millis(500);

/// A connection to the broker.
pub(super) struct Broker {
    pub(super) client: Client,
    pub(super) context: Context,
    /// Begins every name.
    pub(super) prefix: String,
    /// Copies of what is made.
    pub(super) replicas: usize,
    /// Whether what is missing is made.
    pub(super) makes_streams: bool,
    /// For work that outlives the call that began it.
    pub(super) runtime: Handle,
    pub(super) timeout: Duration,
    /// How long its silence is no answer yet.
    pub(super) silence: Duration,
    /// Counts connections that broke.
    broken: watch::Receiver<u64>,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Published {
    seq: u64,
}

#[derive(Deserialize)]
struct StreamsPage {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct SubjectsPage {
    #[serde(default)]
    total: usize,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    #[serde(default)]
    subjects: Option<HashMap<String, u64>>,
}

impl Broker {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Failure> {
        let mut servers = Vec::new();
        for server in settings.servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
            servers.push(server.parse::<ServerAddr>().map_err(|error| Failure::Setting {
                setting: "servers",
                problem: format!("\"{server}\" is no address of a server ({error})"),
            })?);
        }
        let (breaks, broken) = watch::channel(0);
        let mut options = ConnectOptions::new()
            .name(&settings.name)
            .connection_timeout(settings.timeout)
            .request_timeout(Some(settings.timeout))
            .event_callback(move |event| {
                tracing::info!(%event, "the connection to the broker changed");
                if matches!(event, Event::Disconnected) {
                    breaks.send_modify(|count| *count += 1);
                }
                std::future::ready(())
            });
        options = match &settings.ca {
            None => options,
            Some(Authorities::File(path)) => options.add_root_certificates(path.clone()),
            Some(Authorities::Text(text)) => options.tls_client_config(trusting(text)?),
        };
        options = match &settings.credentials {
            None => options,
            Some(Credentials::Creds(text)) => options
                .credentials(text)
                .map_err(|source| Failure::Credentials { path: "(text)".to_owned(), source })?,
            Some(Credentials::Token(token)) => options.token(token.clone()),
            Some(Credentials::User { name, password }) => options.user_and_password(name.clone(), password.clone()),
            Some(Credentials::File(path)) => options
                .credentials_file(path)
                .await
                .map_err(|source| Failure::Credentials { path: path.display().to_string(), source })?,
        };
        if let Some(inbox) = &settings.inbox {
            options = options.custom_inbox_prefix(inbox);
        }
        let connected = options.connect(servers).await;
        let client = connected
            .map_err(|error| Failure::Connect { servers: settings.servers.clone(), source: Box::new(error) })?;
        if !client.is_server_compatible(NEEDED.0, NEEDED.1, NEEDED.2) {
            return Err(Failure::Version { version: client.server_info().version, needed: NEEDED_TEXT });
        }
        let context = jetstream::ContextBuilder::new().timeout(settings.timeout).build(client.clone());
        Ok(Self {
            client,
            context,
            prefix: settings.bucket_prefix.clone(),
            replicas: settings.replicas,
            makes_streams: settings.makes_streams,
            runtime: Handle::current(),
            timeout: settings.timeout,
            silence: settings.silence,
            broken,
        })
    }

    /// Returns when a connection breaks that was there at the call: no answer comes any more to what was sent over it.
    pub(super) fn broken(&self) -> impl Future<Output = Failure> + use<> {
        let mut broken = self.broken.clone();
        broken.mark_unchanged();
        async move {
            // It ends with the client, and then nothing is asked any more.
            let _ = broken.changed().await;
            Failure::Request("the connection to the broker broke".into())
        }
    }

    /// What is asked for, within the time limit.
    async fn within<T>(&self, asked: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            answer = tokio::time::timeout(self.timeout + GRACE, asked) => answer.map_err(|_| Failure::Silent(self.timeout)),
            failure = self.broken() => Err(failure),
        }
    }

    /// A request and its answer, whatever it says.
    pub(super) async fn request(&self, subject: &str, body: Bytes) -> Result<Message, Failure> {
        self.send(subject, Request::new().payload(body)).await
    }

    async fn send(&self, subject: &str, request: Request) -> Result<Message, Failure> {
        let answer = self.within(self.client.send_request(subject.to_owned(), request)).await?;
        answer.map_err(|error| Failure::request(error, subject, self.timeout))
    }

    /// Listens to a subject. When this returns, the server has seen it: it works a connection's commands in order, so its
    /// answer to a question says that nothing is missed that is published from now on.
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, Failure> {
        let subscriber = self.client.subscribe(subject).await;
        let subscriber = subscriber.map_err(|error| Failure::Request(Box::new(error)))?;
        let _: serde_json::Value = self.api("INFO", &json!(null)).await?;
        Ok(subscriber)
    }

    /// A request to the broker's API.
    pub(super) async fn api<T: DeserializeOwned>(&self, name: &str, body: &serde_json::Value) -> Result<T, Failure> {
        let subject = format!("$JS.API.{name}");
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        read(&self.request(&subject, body).await?)
    }

    /// Publishes to a stream. The message is durable when this returns its sequence.
    pub(super) async fn publish(&self, subject: &str, headers: HeaderMap, body: Bytes) -> Result<u64, Failure> {
        if subject.len() > names::LONGEST {
            let problem = format!("the name is too long by {} bytes", subject.len() - names::LONGEST);
            return Err(Failure::Request(problem.into()));
        }
        let request = Request::new().headers(headers).payload(body);
        let published: Published = read(&self.send(subject, request).await?)?;
        Ok(published.seq)
    }

    /// The newest message of a subject, read from the stream's leader.
    pub(super) async fn last(&self, stream: &str, subject: &str) -> Result<Option<StreamMessage>, Failure> {
        let stream = self.stream_of(stream).await?;
        match self.within(stream.get_last_raw_message_by_subject(subject)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) => Failure::last_message(error).map_or(Ok(None), Err),
        }
    }

    /// The first message at or behind a sequence whose subject matches, read from the stream's leader.
    pub(super) async fn next(&self, stream: &str, filter: &str, from: u64) -> Result<Option<StreamMessage>, Failure> {
        let stream = self.stream_of(stream).await?;
        match self.within(stream.get_first_raw_message_by_subject(filter, from)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) => Failure::last_message(error).map_or(Ok(None), Err),
        }
    }

    async fn stream_of(&self, name: &str) -> Result<Stream<()>, Failure> {
        let stream = self.context.get_stream_no_info(name).await;
        stream.map_err(|error| Failure::Setting { setting: "bucket_prefix", problem: error.to_string() })
    }

    /// Removes what lies on matching subjects, if `below` is given only what is older than that sequence.
    pub(super) async fn purge(&self, stream: &str, filter: &str, below: Option<u64>) -> Result<(), Failure> {
        let mut body = json!({ "filter": filter });
        if let Some(below) = below {
            body["seq"] = json!(below);
        }
        let _: serde_json::Value = self.api(&format!("STREAM.PURGE.{stream}"), &body).await?;
        Ok(())
    }

    /// Removes the newest message of a subject and has the server overwrite what it leaves in its files.
    pub(super) async fn erase(&self, stream: &str, subject: &str) -> Result<(), Failure> {
        let Some(message) = self.last(stream, subject).await? else { return Ok(()) };
        let body = json!({ "seq": message.sequence });
        let erased: Result<serde_json::Value, _> = self.api(&format!("STREAM.MSG.DELETE.{stream}"), &body).await;
        match erased {
            Ok(_) => Ok(()),
            Err(failure) => match self.last(stream, subject).await? {
                Some(found) if found.sequence == message.sequence => Err(failure),
                // Somebody else was faster.
                _ => Ok(()),
            },
        }
    }

    /// The names of all streams, in no order.
    pub(super) async fn streams(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        loop {
            let page: StreamsPage = self.api("STREAM.NAMES", &json!({ "offset": names.len() })).await?;
            let found = page.streams.unwrap_or_default();
            let ended = found.is_empty() || names.len() + found.len() >= page.total;
            names.extend(found);
            if ended {
                return Ok(names);
            }
        }
    }

    /// Hands every subject that matches to `each`, in no order, a page of the broker at a time.
    pub(super) async fn subjects(
        &self,
        stream: &str,
        filter: &str,
        mut each: impl FnMut(String) + Send,
    ) -> Result<(), Failure> {
        let mut offset = 0;
        loop {
            let body = json!({ "subjects_filter": filter, "offset": offset });
            let page: SubjectsPage = self.api(&format!("STREAM.INFO.{stream}"), &body).await?;
            let subjects = page.state.subjects.unwrap_or_default();
            offset += subjects.len();
            let ended = subjects.is_empty() || offset >= page.total;
            subjects.into_keys().for_each(&mut each);
            if ended {
                return Ok(());
            }
        }
    }
}

fn read<T: DeserializeOwned>(answer: &Message) -> Result<T, Failure> {
    let refused: Answer = serde_json::from_slice(&answer.payload).map_err(Failure::Answer)?;
    if let Some(refusal) = refused.error {
        return Err(Failure::Refused(refusal));
    }
    serde_json::from_slice(&answer.payload).map_err(Failure::Answer)
}
