//! The models of pools for clients that speak OpenAI's interface: embeddings, chat completions, rerank.
//!
//! ```text
//! client ─▶ token, place, bounded body ─▶ which model ─┬─▶ job: the engine of this process, before its documents
//!                                                      └─▶ workers: the least loaded one that holds the model
//! ```
//! A worker answers itself, and so does a gateway that works its pools itself; a gateway with a broker passes requests on.
//! Nothing here is kept or tried again by us: whoever asks waits for the answer. Knows nothing of documents and plans.

pub mod admission;
pub mod base64;
pub mod chat;
pub mod directory;
pub mod embeddings;
pub mod fields;
mod job;
pub mod limits;
pub mod refusal;
pub mod rerank;
pub mod workers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use bytes::BytesMut;
use crds::ModelTask;
use engine::Engine;
use futures::StreamExt as _;
use serde_json::{Value, json};

use self::{admission::Admission, directory::Held, fields::Fields, job::Job, refusal::Refusal};
pub(super) use self::{directory::Directory, limits::InferenceLimits, workers::Workers};
use super::gateway::tokens::{Caller, Tokens, bearer};
use crate::runtime::{metrics::Metrics, now, stop::Stop};

/// What is counted of a request that was answered.
const ANSWERED: &str = "ok";
/// Longest time for a request to come: the answer may take longer, but who sends so slowly holds a place for nothing.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Everything that requests need.
pub(super) struct Inference {
    directory: Directory,
    backend: Backend,
    tokens: Arc<Tokens>,
    limits: InferenceLimits,
    admission: Admission,
    stop: Stop,
    /// When the models were there, in seconds since the Unix epoch.
    since: u64,
}

/// What an interface is made of.
pub(super) struct Settings {
    pub(super) directory: Directory,
    pub(super) backend: Backend,
    pub(super) tokens: Arc<Tokens>,
    pub(super) limits: InferenceLimits,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Stop,
}

/// Who computes.
pub(super) enum Backend {
    /// This process.
    Engine(Engine),
    /// Whoever of the workers holds the model.
    Workers(Workers),
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Embeddings,
    Chat,
    Rerank,
}

impl Route {
    fn path(self) -> &'static str {
        match self {
            Self::Embeddings => "/v1/embeddings",
            Self::Chat => "/v1/chat/completions",
            Self::Rerank => "/v1/rerank",
        }
    }

    /// For metrics.
    fn word(self) -> &'static str {
        match self {
            Self::Embeddings => "embeddings",
            Self::Chat => "chat",
            Self::Rerank => "rerank",
        }
    }

    fn task(self) -> ModelTask {
        match self {
            Self::Embeddings | Self::Rerank => ModelTask::Embed,
            Self::Chat => ModelTask::Generate,
        }
    }
}

type Shared = State<Arc<Inference>>;

/// All routes.
pub(super) fn routes(inference: &Arc<Inference>) -> Router {
    let of = |route: Route| {
        post(move |State(inference): Shared, Extension(caller): Extension<Caller>, request: Request| async move {
            inference.answer(&caller, route, request).await
        })
    };
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*model}", get(model))
        .route(Route::Embeddings.path(), of(Route::Embeddings))
        .route(Route::Chat.path(), of(Route::Chat))
        .route(Route::Rerank.path(), of(Route::Rerank))
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .layer(middleware::from_fn_with_state(Arc::clone(inference), authenticate))
        .with_state(Arc::clone(inference))
}

/// All routes, where nothing else is served.
pub(super) fn routes_alone(inference: &Arc<Inference>) -> Router {
    routes(inference).fallback(async || Refusal::UnknownPath)
}

/// Lets in who has a token, before anything of the request is read.
async fn authenticate(State(inference): Shared, mut request: Request, next: Next) -> Result<Response, Refusal> {
    if inference.stop.is_leaving() {
        return Err(Refusal::stopping());
    }
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = inference.tokens.caller(authorization.and_then(bearer)).await.map_err(Refusal::stranger)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn models(State(inference): Shared, Extension(caller): Extension<Caller>) -> Json<Value> {
    let names = inference.directory.names(&caller);
    let models: Vec<Value> = names.iter().map(|(name, held)| inference.described(name, held)).collect();
    Json(json!({"object": "list", "data": models}))
}

async fn model(
    State(inference): Shared,
    Extension(caller): Extension<Caller>,
    Path(wanted): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let names = inference.directory.names(&caller);
    let found = names.iter().find(|(name, _)| *name == wanted);
    let unknown = || Refusal::UnknownModel(format!("no pool holds a model \"{wanted}\" for you; see /v1/models"));
    found.map(|(name, held)| Json(inference.described(name, held))).ok_or_else(unknown)
}

impl Inference {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let Settings { directory, backend, tokens, limits, metrics, stop } = settings;
        let admission = Admission::new(limits.concurrent, directory.pools().cloned(), metrics);
        Arc::new(Self { directory, backend, tokens, limits, admission, stop, since: now() / 1_000 })
    }

    /// Requests that are being answered by models of this pool.
    pub(super) fn working(&self, pool: &str) -> u32 {
        self.admission.working(pool)
    }

    fn described(&self, name: &str, held: &Held) -> Value {
        let task = match held.task {
            ModelTask::Embed => "embed",
            ModelTask::Generate => "generate",
        };
        json!({"id": name, "object": "model", "created": self.since, "owned_by": held.pool, "task": task})
    }

    async fn answer(&self, caller: &Caller, route: Route, request: Request) -> Result<Response, Refusal> {
        let admitted = self.admission.admit(route)?;
        let answered = tokio::select! {
            answered = self.work(caller, route, request, &admitted) => answered,
            () = self.stop.handing_back() => Err(Refusal::stopping()),
        };
        if let Err(refusal) = &answered {
            admitted.ended(refusal.reason());
        }
        answered
    }

    async fn work(
        &self,
        caller: &Caller,
        route: Route,
        request: Request,
        admitted: &Arc<admission::Admitted>,
    ) -> Result<Response, Refusal> {
        let deadline = Instant::now() + self.limits.time.0;
        let (parts, body) = request.into_parts();
        let body = receive(&parts.headers, body, self.limits.body_bytes).await?;
        let fields = Fields::read(&body)?;
        let name = fields.needed_text("model")?.to_owned();
        let held = self.directory.find(caller, &name, route.task())?;
        let [first, ..] = held.as_slice() else { return Err(Refusal::UnknownModel(name)) };
        self.admission.of_pool(admitted, &first.pool);
        let engine = match &self.backend {
            Backend::Engine(engine) => engine.clone(),
            Backend::Workers(workers) => {
                let authorization = self.tokens.toward_workers(parts.headers.get(header::AUTHORIZATION));
                let authorization = authorization.map_err(|none| Refusal::Failed(none.to_string()))?;
                return workers.pass_on(route.path(), &held, (authorization, body), admitted).await;
            }
        };
        let job = Job {
            engine,
            engine_name: first.engine.clone().unwrap_or_default(),
            name,
            limits: self.limits.clone(),
            deadline,
            stop: self.stop.clone(),
            admitted: Arc::clone(admitted),
        };
        let answer = match route {
            Route::Embeddings => embeddings::answer(&job, &fields).await?,
            Route::Rerank => rerank::answer(&job, &fields).await?,
            // It says itself when its last piece has gone out.
            Route::Chat => return chat::answer(job, &fields).await,
        };
        admitted.ended(ANSWERED);
        Ok(answer)
    }
}

/// The bytes of a request, never more than `most`.
async fn receive(headers: &HeaderMap, body: Body, most: u64) -> Result<Bytes, Refusal> {
    let too_large = || Refusal::TooLarge(format!("the request has more than {most} bytes, which is the limit"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let receiving = async {
        let mut chunks = body.into_data_stream();
        let mut bytes = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let broken = |error| Refusal::Invalid {
                message: format!("the request broke off: {error}"),
                param: None,
                code: None,
            };
            let chunk = chunk.map_err(broken)?;
            if (bytes.len() + chunk.len()) as u64 > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    tokio::time::timeout(REQUEST_TIME, receiving).await.unwrap_or(Err(Refusal::TooSlow))
}
