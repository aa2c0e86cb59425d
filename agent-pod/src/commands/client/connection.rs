//! One gateway, one pipeline, one token.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, Response, StatusCode, Url, header};
use serde_json::Value;

use crate::{
    Error, Result,
    args::{ClientArguments, TlsArguments},
    error::chain,
};

/// How long a gateway that does not answer is asked again: it may be starting or moving to another node.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before it is asked again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Seconds that one request waits for a document's end.
const WAIT_SECONDS: &str = "30";
/// Bytes of an answer that is no JSON which are shown.
const SHOWN: usize = 200;

/// A gateway and the pipeline that is meant.
#[derive(Clone)]
pub(super) struct Connection {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// Whether we show a certificate.
    is_known: bool,
    pub(super) pipeline: String,
    /// Bytes of the largest document that it takes.
    pub(super) max_bytes: u64,
}

/// What the gateway said no to.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) reason: String,
    pub(super) message: String,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::usage(format!("the gateway refused it: {}: {}", refused.reason, refused.message))
    }
}

impl Connection {
    /// Finds the gateway and the pipeline there: its only one where none was named.
    pub(super) async fn open(arguments: &ClientArguments) -> Result<Self> {
        let mut connection = Self::to_gateway(arguments)?;
        connection.choose_pipeline(arguments.pipeline.as_deref()).await?;
        Ok(connection)
    }

    /// The gateway, for what concerns no single pipeline.
    pub(super) fn to_gateway(arguments: &ClientArguments) -> Result<Self> {
        Self::to(&arguments.gateway, arguments.token.as_deref(), &arguments.tls)
    }

    /// As [`Self::to_gateway`].
    pub(super) fn to(gateway: &str, token: Option<&str>, tls: &TlsArguments) -> Result<Self> {
        let unusable = |why: &str| Error::usage(format!("--gateway {gateway}: {why}"));
        let base: Url = gateway.parse().map_err(|_| unusable("is not a URL; write http://host:port"))?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(unusable("is not a URL of a web server; write http://host:port"));
        }
        let http = secured(reqwest::Client::builder().connect_timeout(CONNECT), tls)?;
        let http = http.build().map_err(Error::system("make an HTTP client"))?;
        let (token, is_known) = (token.map(str::to_owned), tls.cert.is_some());
        Ok(Self { http, base, token, is_known, pipeline: String::new(), max_bytes: 0 })
    }

    async fn choose_pipeline(&mut self, wanted: Option<&str>) -> Result<()> {
        let answer = self.ask(|| self.request(Method::GET, &["v1", "pipelines"], &[])).await??;
        let pipelines = answer["pipelines"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<&str> = pipelines.iter().filter_map(|pipeline| pipeline["name"].as_str()).collect();
        let chosen = match (wanted, names.as_slice()) {
            (Some(wanted), names) => names.iter().position(|name| *name == wanted),
            (None, [_]) => Some(0),
            (None, names) => {
                let names = names.join(", ");
                return Err(Error::usage(format!("the gateway serves {names}: name one with --pipeline")));
            }
        };
        let Some((name, pipeline)) = chosen.and_then(|place| Some((names.get(place)?, pipelines.get(place)?))) else {
            let wanted = wanted.unwrap_or_default();
            let names = names.join(", ");
            return Err(Error::usage(format!("the gateway has no pipeline \"{wanted}\" for you; it has: {names}")));
        };
        self.pipeline = (*name).to_owned();
        self.max_bytes = pipeline["maxBytes"].as_u64().unwrap_or(u64::MAX);
        Ok(())
    }

    /// A request below the pipeline.
    pub(super) fn of_pipeline(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        self.request(method, &[&["v1", "pipelines", self.pipeline.as_str()], path].concat(), query)
    }

    /// A request to the gateway.
    pub(super) fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Asks until there is an answer: a gateway that is full or away is asked again, since every request may be repeated.
    pub(super) async fn ask(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<std::result::Result<Value, Refused>> {
        let response = self.send(request).await?;
        Ok(match response {
            Ok(response) => {
                let text = response.text().await.map_err(Error::system("read the gateway's answer"))?;
                Ok(serde_json::from_str(&text).map_err(|_| {
                    let begin: String = text.chars().take(SHOWN).collect();
                    Error::usage(format!("what answers at {} is no gateway: {begin}", self.base))
                })?)
            }
            Err(refused) => Err(refused),
        })
    }

    /// As [`Self::ask`], with the answer's body still to come.
    pub(super) async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<std::result::Result<Response, Refused>> {
        let begun = Instant::now();
        loop {
            let (pause, problem) = match request().send().await {
                Ok(response) if response.status().is_success() => return Ok(Ok(response)),
                Ok(response) => {
                    let status = response.status();
                    let pause = retry_after(&response);
                    let refused = refusal(response).await;
                    match status {
                        // The gateway says when there is room; documents before this one are being worked meanwhile.
                        StatusCode::TOO_MANY_REQUESTS => {
                            tokio::time::sleep(pause.unwrap_or(PAUSE)).await;
                            continue;
                        }
                        status if !status.is_server_error() => return Ok(Err(refused)),
                        _ => (pause.unwrap_or(PAUSE), refused.message),
                    }
                }
                // Whoever is not trusted now is not trusted in a second.
                Err(error) if is_refused(&error) => {
                    let action = format!("agree with the gateway at {} on certificates", self.base);
                    return Err(Error::system(action)(chain(&error)));
                }
                Err(error) => (PAUSE, chain(&error)),
            };
            if begun.elapsed() > PATIENCE {
                let hint = match self.base.scheme() == "https" && !self.is_known {
                    // A server that asks for a certificate and gets none only closes the connection.
                    true => " (if it asks for a certificate, give --cert and --key)",
                    false => "",
                };
                return Err(Error::system(format!("reach the gateway at {}{hint}", self.base))(problem));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A document's result, once it has ended.
    pub(super) async fn end_of(&self, document: &str) -> Result<std::result::Result<Value, Refused>> {
        loop {
            let wait = || self.of_pipeline(Method::GET, &["documents", document], &[("wait", WAIT_SECONDS)]);
            match self.ask(wait).await? {
                Ok(result) if result["outcome"] == "unfinished" => {}
                answer => return Ok(answer),
            }
        }
    }

    /// All items of a list that comes in parts.
    pub(super) async fn all(&self, path: &str, key: &str, query: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut whole = [query, &[("limit", "1000")]].concat();
            whole.extend(after.as_deref().map(|after| ("after", after)));
            let part = || self.of_pipeline(Method::GET, &[path], &whole);
            let mut answer = self.ask(part).await??;
            if let Value::Array(part) = answer[key].take() {
                items.extend(part);
            }
            match answer["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// A body with the bytes of a document.
    pub(super) fn with_bytes(request: RequestBuilder, bytes: &Bytes) -> RequestBuilder {
        request.header(header::CONTENT_TYPE, "application/octet-stream").body(bytes.clone())
    }
}

/// A client that trusts the given certificates and shows its own.
fn secured(mut client: ClientBuilder, tls: &TlsArguments) -> Result<ClientBuilder> {
    let read = |flag: &str, path: &Path| {
        let wrong = |error| Error::usage(format!("{flag} {}: {error}", path.display()));
        std::fs::read(path).map_err(wrong)
    };
    if let Some(path) = &tls.ca {
        let unusable = |why: &str| Error::usage(format!("--ca {}: {why}", path.display()));
        let trusted = Certificate::from_pem_bundle(&read("--ca", path)?);
        let trusted = trusted.map_err(|error| unusable(&chain(&error)))?;
        if trusted.is_empty() {
            return Err(unusable("holds no certificate"));
        }
        client = client.tls_certs_only(trusted);
    }
    if let (Some(certificate), Some(key)) = (&tls.cert, &tls.key) {
        let mut both = read("--cert", certificate)?;
        both.push(b'\n');
        both.extend(read("--key", key)?);
        let identity = Identity::from_pem(&both);
        let named = format!("--cert {} --key {}", certificate.display(), key.display());
        client = client.identity(identity.map_err(|error| Error::usage(format!("{named}: {}", chain(&error))))?);
    }
    Ok(client)
}

/// Whether one side does not accept the other's certificate.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<rustls::Error>() {
            return true;
        }
        // An I/O error does not name what it was made of as its source.
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = inner.map_or_else(|| cause.source(), |inner| Some(inner));
    }
    false
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

async fn refusal(response: Response) -> Refused {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let word = |key: &str| value["error"][key].as_str().map(str::to_owned);
    Refused {
        reason: word("reason").unwrap_or_else(|| status.to_string()),
        message: word("message").unwrap_or_else(|| text.chars().take(SHOWN).collect()),
    }
}
