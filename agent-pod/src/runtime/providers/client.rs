//! One model at one provider: the connection, its limits, and its answers.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crds::{CircuitBreaker, OpenAiSource, Span};
use engine::{
    generation::{Finish, GenerateRequest},
    reach::{Reach, Refused},
};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use reqwest::{
    Client, Response, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    circuit::{Asked, Circuits},
    error::Error,
    key::{Key, Secret},
    messages::{Answer, ChatRequest, EmbeddingAnswer, EmbeddingRequest, Fault, words},
    meters::Meters,
    sse::Events,
};

/// Longest time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer, text and what is around it. The longest answer that can be asked for has a few hundred kilobytes.
const LARGEST_ANSWER: usize = 16 << 20;
/// Bytes of what a provider says of a failure.
const LARGEST_COMPLAINT: usize = 64 << 10;
/// Bytes of a number of a vector, written out; and of what is around the numbers.
const NUMBER: usize = 32;
/// Longest wait that a provider can ask for.
pub const LONGEST_AFTER: Duration = Duration::from_secs(300);

/// A model at a provider.
pub struct Provider {
    host: String,
    base: String,
    model: String,
    key: Key,
    client: Client,
    reach: Reach,
    silence: Duration,
    slots: Semaphore,
    dimensions: Option<usize>,
    circuits: Circuits,
    meters: Meters,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("base", &self.base).field("model", &self.model).finish_non_exhaustive()
    }
}

/// The turn of a request. Dropped before its end, it counts as a failure of the provider.
struct Turn<'a> {
    key: Option<Secret>,
    asked: Asked,
    begun: Instant,
    _slot: SemaphorePermit<'a>,
}

/// Text that a provider wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens read, as the provider counts.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

impl Provider {
    /// A model's source as something that can be asked; the problem in words where it cannot. Nothing is sent yet.
    /// `variable` reads the environment. Blocks where names must be looked up, which `reach` may want.
    pub fn open(
        source: &OpenAiSource,
        reach: &Reach,
        (circuits, meters): (&Circuits, &Meters),
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let key = Key::find(source, variable)?;
        let base = source.base_url.trim_end_matches('/').to_owned();
        let (scheme, rest) = base.split_once("://").ok_or_else(|| format!("baseUrl: \"{base}\" is no address"))?;
        let host = rest.split('/').next().unwrap_or(rest).to_owned();
        let address = Url::parse(&base).map_err(|error| format!("baseUrl: \"{base}\" is no address: {error}"))?;
        reach.check(&address).map_err(|refused| format!("source.openai.baseUrl: {refused}"))?;
        // The client is built without a provider of its own. Whoever installed one first is right too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reach
            .client(Client::builder())
            .redirect(Policy::none())
            .connect_timeout(CONNECT.min(source.timeout.0))
            .user_agent(concat!("docket/", env!("CARGO_PKG_VERSION")));
        // Without TLS no certificates are needed, which not every image has.
        let builder = if scheme == "http" { builder.tls_certs_only(std::iter::empty()) } else { builder };
        let client = builder.build().map_err(|error| format!("failed to prepare the HTTP client: {error}"))?;
        Ok(Self {
            host,
            base,
            model: source.model.clone(),
            key,
            client,
            reach: reach.clone(),
            silence: source.timeout.0,
            slots: Semaphore::new(source.max_concurrent as usize),
            dimensions: source.dimensions.map(|dimensions| dimensions as usize),
            circuits: circuits.clone(),
            meters: meters.clone(),
        })
    }

    /// For people and metrics: the model and where it is.
    pub fn name(&self) -> String {
        format!("{}@{}", self.model, self.host)
    }

    /// What stands for the digest of the weights, which nobody knows: the address and the model's name.
    pub fn digest(&self) -> String {
        let known = format!("{}\n{}\n{:?}", self.base, self.model, self.dimensions);
        blake3::hash(known.as_bytes()).to_hex().to_string()
    }

    /// Numbers in its vectors.
    pub fn dimensions(&self) -> Option<usize> {
        self.dimensions
    }

    /// Lets it write. Pieces go to `tokens` as they come.
    pub async fn generate(
        &self,
        request: &GenerateRequest,
        tokens: Option<mpsc::UnboundedSender<String>>,
        breaker: CircuitBreaker,
    ) -> Result<Written, Error> {
        let body = ChatRequest::new(&self.model, request);
        let turn = self.turn(breaker).await?;
        let answered = match self.post("chat/completions", &body, turn.key.as_ref()).await {
            Ok(response) => self.read_answer(response, tokens).await,
            Err(error) => Err(error),
        };
        self.end(turn, answered)
    }

    /// Vectors of length 1 in the order of the texts, and the tokens that were read.
    pub async fn embed(&self, texts: &[String], breaker: CircuitBreaker) -> Result<(Vec<Vec<f32>>, u64), Error> {
        let body = EmbeddingRequest { model: &self.model, input: texts, encoding_format: "float" };
        let turn = self.turn(breaker).await?;
        let answered = match self.post("embeddings", &body, turn.key.as_ref()).await {
            Ok(response) => self.read_vectors(response, texts.len()).await,
            Err(error) => Err(error),
        };
        self.end(turn, answered)
    }

    /// Waits for the turn of a request, and asks the circuit then: waiting for a slot says nothing about the provider.
    async fn turn(&self, breaker: CircuitBreaker) -> Result<Turn<'_>, Error> {
        let read = self.key.read().await;
        let key = read.map_err(|source| Error::ReadKey { provider: self.host.clone(), source })?;
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let asked = self.circuits.of(&self.host).ask(breaker)?;
        Ok(Turn { key, asked, begun: Instant::now(), _slot: slot })
    }

    /// Measures a request, tells the circuit, and hides the key in what the provider said.
    fn end<T>(&self, turn: Turn<'_>, answered: Result<T, Error>) -> Result<T, Error> {
        let Turn { key, asked, begun, .. } = turn;
        self.meters.request(&self.host, begun.elapsed());
        asked.tell(answered.as_ref().map_or_else(Error::works, |_| true));
        answered.map_err(|error| match (error, key) {
            (Error::Answer { provider, status, message, after }, Some(key)) => {
                Error::Answer { provider, status, message: key.hidden_in(&message), after }
            }
            (Error::Decline { provider, message }, Some(key)) => {
                Error::Decline { provider, message: key.hidden_in(&message) }
            }
            (Error::ReadAnswer { provider, message }, Some(key)) => {
                Error::ReadAnswer { provider, message: key.hidden_in(&message) }
            }
            (error, _) => error,
        })
    }

    async fn post(&self, path: &str, body: &impl Serialize, key: Option<&Secret>) -> Result<Response, Error> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreadable(error.to_string()))?;
        let mut request = self.client.post(format!("{}/{path}", self.base)).header(CONTENT_TYPE, "application/json");
        if let Some(header) = key.and_then(Secret::header) {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request.body(body).build().map_err(|source| self.unreached(source))?;
        let sent = timeout(self.silence, async {
            self.reach.ask(request.url()).await.map_err(|refused| self.refused(refused))?;
            self.client.execute(request).await.map_err(|source| self.unreached(source))
        });
        let response = sent.await.map_err(|_| self.silent())??;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(words);
            let to = to.unwrap_or_else(|| "an unnamed place".to_owned());
            return Err(Error::Redirect { provider: self.host.clone(), to });
        }
        let after = after(response.headers(), Timestamp::now());
        let said = self.read_some(response, LARGEST_COMPLAINT).await;
        let message = words(&String::from_utf8_lossy(&said));
        Err(Error::Answer { provider: self.host.clone(), status: status.as_u16(), message, after })
    }

    async fn read_answer(
        &self,
        mut response: Response,
        tokens: Option<mpsc::UnboundedSender<String>>,
    ) -> Result<Written, Error> {
        let mut answer = Answer::default();
        let mut add = |part: &str| {
            if part.trim() == "[DONE]" {
                return Ok(());
            }
            let added = answer.add(part).map_err(|fault| match fault {
                Fault::Form(message) => self.unreadable(message),
                Fault::Error(message) => {
                    Error::Answer { provider: self.host.clone(), status: 500, message, after: None }
                }
            })?;
            if let (Some(tokens), Some(added)) = (&tokens, added) {
                // Nobody may be there to read it.
                let _ = tokens.send(added);
            }
            Ok::<(), Error>(())
        };
        let content = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if content.starts_with("text/event-stream") {
            let (mut events, mut bytes) = (Events::default(), 0);
            while let Some(piece) = self.piece(&mut response).await? {
                bytes += piece.len();
                if bytes > LARGEST_ANSWER {
                    return Err(self.too_large(LARGEST_ANSWER));
                }
                for event in events.push(&piece).map_err(|_| self.too_large(LARGEST_ANSWER))? {
                    add(&event)?;
                }
            }
            if let Some(event) = events.rest() {
                add(&event)?;
            }
        } else {
            let bytes = self.read_all(response, LARGEST_ANSWER).await?;
            add(&String::from_utf8_lossy(&bytes))?;
        }
        if let Some(message) = answer.declined() {
            return Err(Error::Decline { provider: self.host.clone(), message });
        }
        let cut = || Error::FinishAnswer { provider: self.host.clone(), source: None };
        let finish = answer.finish().ok_or_else(cut)?;
        let usage = answer.usage.unwrap_or_else(|| {
            tracing::warn!(provider = %self.host, model = %self.model, "an answer says nothing of its tokens: they count as 0");
            Default::default()
        });
        let (prompt_tokens, completion_tokens) = (usage.prompt_tokens, usage.completion_tokens);
        Ok(Written { text: answer.text, finish, prompt_tokens, completion_tokens })
    }

    /// The next piece of a body, within the time that silence may last.
    async fn piece(&self, response: &mut Response) -> Result<Option<bytes::Bytes>, Error> {
        let piece = timeout(self.silence, response.chunk()).await.map_err(|_| self.silent())?;
        let broken = |source: reqwest::Error| Some(source.without_url());
        piece.map_err(|source| Error::FinishAnswer { provider: self.host.clone(), source: broken(source) })
    }

    async fn read_all(&self, mut response: Response, largest: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            if bytes.len() + piece.len() > largest {
                return Err(self.too_large(largest));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// The beginning of a body; what cannot be read of it is not missed.
    async fn read_some(&self, mut response: Response, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(Some(piece)) = self.piece(&mut response).await {
            bytes.extend_from_slice(&piece[..piece.len().min(most - bytes.len())]);
            if bytes.len() == most {
                break;
            }
        }
        bytes
    }

    async fn read_vectors(&self, response: Response, wanted: usize) -> Result<(Vec<Vec<f32>>, u64), Error> {
        let largest = LARGEST_COMPLAINT + wanted * (self.dimensions.unwrap_or(0) + 8) * NUMBER;
        let bytes = self.read_all(response, largest).await?;
        let answer: EmbeddingAnswer =
            serde_json::from_slice(&bytes).map_err(|error| self.unreadable(error.to_string()))?;
        let tokens = answer.usage.map_or(0, |usage| usage.prompt_tokens);
        Ok((self.vectors(answer, wanted)?, tokens))
    }

    fn vectors(&self, answer: EmbeddingAnswer, wanted: usize) -> Result<Vec<Vec<f32>>, Error> {
        if answer.data.len() != wanted {
            return Err(self.unreadable(format!("it has {} vectors for {wanted} texts", answer.data.len())));
        }
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; wanted];
        for made in answer.data {
            let length = made.embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
            let dimensions = made.embedding.len();
            if self.dimensions.is_some_and(|expected| expected != dimensions) {
                let expected = self.dimensions.unwrap_or(0);
                return Err(self.unreadable(format!("a vector has {dimensions} numbers; dimensions says {expected}")));
            }
            if !length.is_finite() || length <= 0.0 {
                return Err(self.unreadable("a vector has no direction".to_owned()));
            }
            let place = vectors.get_mut(made.index).filter(|place| place.is_none());
            let place = place.ok_or_else(|| self.unreadable(format!("vector {} is not asked for", made.index)))?;
            *place = Some(made.embedding.iter().map(|value| value / length).collect());
        }
        Ok(vectors.into_iter().flatten().collect())
    }

    fn unreached(&self, source: reqwest::Error) -> Error {
        match Refused::behind(&source) {
            Some(refused) => self.refused(refused.clone()),
            None => Error::Reach { provider: self.host.clone(), source: source.without_url() },
        }
    }

    fn refused(&self, source: Refused) -> Error {
        Error::Refuse { provider: self.host.clone(), source }
    }

    fn silent(&self) -> Error {
        Error::AwaitAnswer { provider: self.host.clone(), timeout: Span(self.silence) }
    }

    fn unreadable(&self, message: String) -> Error {
        Error::ReadAnswer { provider: self.host.clone(), message }
    }

    fn too_large(&self, largest: usize) -> Error {
        self.unreadable(format!("it is larger than {largest} bytes"))
    }
}

/// When to come again: `Retry-After`, in seconds or as a date.
pub fn after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match said.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(said).ok()?;
            // A time that is over asks for no wait.
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_AFTER))
}
