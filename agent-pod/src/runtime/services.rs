//! What stages use: the engine, knowledge bases, heads, caches, payloads. Made once a process, shared by all workers.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use engine::{
    Class, Engine,
    generation::{Finish, GenerateRequest},
};
use flow::Plan;
use knowledge::{KnowledgeBase, parse::ChildCommand};
use queue::{Payloads, Ports};
use tokio::sync::{Mutex, mpsc};

use super::{
    adaptive::Adaptive,
    cache::StageCache,
    heads::Heads,
    models::ModelNames,
    providers::{self, Asked, Guard},
    state::State,
    templates::Templates,
    vectors::{self, Vectors},
};
use crate::{Error, Result};

/// Texts of one request to the engine; it makes its own batches of these.
const EMBED_REQUEST: usize = 64;

/// Why a model gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The engine's reason.
    #[error(transparent)]
    Engine(engine::Error),
    /// A provider's reason.
    #[error(transparent)]
    Provider(providers::Error),
}

/// Vectors, and the tokens that have to be paid for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// Of length 1, in the order of the texts.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens that a provider read; none where the engine made the vectors or they were known.
    pub tokens: u64,
}

/// Text that a model wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// What stages use.
pub struct Services {
    /// The ports.
    pub ports: Ports,
    /// All models.
    pub engine: Engine,
    /// Which of the engine's models a pool's model is.
    pub models: ModelNames,
    /// Trained heads.
    pub heads: Heads,
    /// Results of stages.
    pub cache: StageCache,
    /// Templates.
    pub templates: Templates,
    /// How long attempts of stages take.
    pub adaptive: Adaptive,
    /// How a document is parsed in a process of its own.
    pub parser: ChildCommand,
    folder: PathBuf,
    vectors: BTreeMap<String, Arc<Vectors>>,
    bases: Mutex<HashMap<String, KnowledgeBase>>,
}

impl Services {
    /// Opens everything in the state folder.
    pub fn open(state: &State, engine: Engine, models: ModelNames) -> Result<Self> {
        Self::open_at(&state.folder, state.ports.clone(), engine, models)
    }

    /// Opens everything that is derived in a folder, beside ports that may lie elsewhere.
    pub fn open_at(folder: &Path, ports: Ports, engine: Engine, models: ModelNames) -> Result<Self> {
        let cache = StageCache::open(&folder.join("cache")).map_err(Error::system("open the cache"))?;
        let mut vectors = BTreeMap::new();
        for model in engine.models() {
            let digest = engine.vectors_digest(&model.name);
            if let (Some(digest), Some(dimensions)) = (digest, engine.dimensions(&model.name)) {
                let log = Vectors::open(&folder.join("vectors"), digest, dimensions);
                let log = log.map_err(Error::system("open the kept vectors"))?;
                vectors.insert(model.name.clone(), Arc::new(log));
            }
        }
        for (name, provider) in models.providers() {
            if let Some(dimensions) = provider.dimensions() {
                let log = Vectors::open(&folder.join("vectors"), &provider.digest(), dimensions);
                let log = log.map_err(Error::system("open the kept vectors"))?;
                vectors.insert(name.clone(), Arc::new(log));
            }
        }
        let program = std::env::current_exe().map_err(Error::system("find the docket program"))?;
        Ok(Self {
            ports,
            heads: Heads::open(folder.join("heads")),
            engine,
            models,
            cache,
            templates: Templates::default(),
            adaptive: Adaptive::default(),
            parser: ChildCommand { program, args: vec!["parse-child".into()] },
            folder: folder.to_path_buf(),
            vectors,
            bases: Mutex::default(),
        })
    }

    /// The digest of a model's weights, or what stands for it where only its provider has them.
    pub fn digest(&self, model: &str) -> String {
        let of_engine = || self.engine.digest(model).unwrap_or_default().to_owned();
        self.models.provider(model).map_or_else(of_engine, |provider| provider.digest())
    }

    /// Numbers in the vectors of a model.
    pub fn dimensions(&self, model: &str) -> Option<usize> {
        match self.models.provider(model) {
            Some(provider) => provider.dimensions(),
            None => self.engine.dimensions(model),
        }
    }

    /// Most tokens of a text for an embedding model; `None` where that is not known.
    pub fn max_text_tokens(&self, model: &str) -> Option<usize> {
        self.engine.max_text_tokens(model)
    }

    /// Where the tokens of a text lie. The tokenizer of a provider is not known: words and parts of them stand for it.
    pub fn token_offsets(&self, model: &str, text: &str) -> std::result::Result<Vec<(usize, usize)>, ModelError> {
        if self.models.provider(model).is_some() {
            return Ok(providers::pieces(text));
        }
        self.engine.token_offsets(model, text).map_err(ModelError::Engine)
    }

    /// Lets a model write. Pieces go to `tokens` as they come.
    pub async fn generate(
        &self,
        model: &str,
        request: GenerateRequest,
        tokens: Option<mpsc::UnboundedSender<String>>,
        guard: &Guard,
    ) -> std::result::Result<Generated, ModelError> {
        if let Some(provider) = self.models.provider(model) {
            let written = provider.generate(&request, tokens, guard.breaker.unwrap_or_default()).await;
            let providers::Written { text, finish, prompt_tokens, completion_tokens } =
                written.map_err(ModelError::Provider)?;
            return Ok(Generated { text, finish, prompt_tokens, completion_tokens });
        }
        let asked = self.ask(guard)?;
        let generated = self.engine.generate(model, request, Class::Normal, None, tokens).await;
        tell(asked, generated.as_ref().err());
        let engine::generation::Generated { text, finish, prompt_tokens, completion_tokens, .. } =
            generated.map_err(ModelError::Engine)?;
        let (prompt_tokens, completion_tokens) = (prompt_tokens as u64, completion_tokens as u64);
        Ok(Generated { text, finish, prompt_tokens, completion_tokens })
    }

    /// Leave to ask one of the engine's models, where the pipeline has a breaker.
    fn ask(&self, guard: &Guard) -> std::result::Result<Option<Asked>, ModelError> {
        let Some(breaker) = guard.breaker.filter(|_| !guard.model.is_empty()) else { return Ok(None) };
        let asked = self.models.circuits().of(&guard.model).ask(breaker);
        asked.map(Some).map_err(|open| ModelError::Provider(open.into()))
    }

    /// Vectors of texts by a model; what was computed before is not computed again.
    pub async fn embed(
        &self,
        model: &str,
        texts: &[String],
        class: Class,
        deadline: Option<Instant>,
    ) -> std::result::Result<Vec<Vec<f32>>, ModelError> {
        let embedded = self.embed_guarded(model, texts, (class, deadline), &Guard::default()).await;
        embedded.map(|embedded| embedded.vectors)
    }

    /// The same under a pipeline's breaker, and what it takes.
    pub async fn embed_guarded(
        &self,
        model: &str,
        texts: &[String],
        (class, deadline): (Class, Option<Instant>),
        guard: &Guard,
    ) -> std::result::Result<Embedded, ModelError> {
        let provider = self.models.provider(model);
        let mut tokens = 0;
        let known = self.vectors.get(model);
        let mut vectors: Vec<Option<Vec<f32>>> =
            texts.iter().map(|text| known.and_then(|known| known.get(text))).collect();
        let mut missing: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, text) in texts.iter().enumerate() {
            if vectors[index].is_none() {
                missing.entry(text).or_default().push(index);
            }
        }
        let missing: Vec<(&str, Vec<usize>)> = missing.into_iter().collect();
        for part in missing.chunks(EMBED_REQUEST) {
            let request: Vec<String> = part.iter().map(|(text, _)| (*text).to_owned()).collect();
            let made = match provider {
                Some(provider) => {
                    let made = provider.embed(&request, guard.breaker.unwrap_or_default()).await;
                    let (made, read) = made.map_err(ModelError::Provider)?;
                    tokens += read;
                    made
                }
                None => {
                    let asked = self.ask(guard)?;
                    let made = self.engine.embed(model, request, class, deadline).await;
                    tell(asked, made.as_ref().err());
                    made.map_err(ModelError::Engine)?.vectors
                }
            };
            if let Some(known) = known {
                known.put(part.iter().map(|(text, _)| *text).zip(made.iter().map(Vec::as_slice)));
            }
            for ((_, places), vector) in part.iter().zip(made) {
                places.iter().for_each(|&place| vectors[place] = Some(vector.clone()));
            }
        }
        Ok(Embedded { vectors: vectors.into_iter().flatten().collect(), tokens })
    }

    /// A knowledge base of a plan, opened once.
    pub async fn knowledge(&self, plan: &Plan, name: &str, pool: &str) -> Result<Base> {
        let action = || format!("open the knowledge base \"{name}\"");
        let spec = plan.spec.knowledge.iter().find(|knowledge| knowledge.name == name);
        let spec = spec.ok_or_else(|| Error::usage(format!("the pipeline has no knowledge base \"{name}\"")))?;
        let model = self.models.get(plan, pool, &spec.embedder).ok_or_else(|| {
            Error::usage(format!("pool \"{pool}\" holds no model \"{}\", which embeds \"{name}\"", spec.embedder))
        })?;
        let folder = if spec.uri == "default" { self.folder.join("knowledge") } else { PathBuf::from(&spec.uri) };
        let key = format!("{}/{name} by {model}", folder.display());
        let mut bases = self.bases.lock().await;
        let base = match bases.get(&key) {
            Some(base) => base.clone(),
            None => {
                let (dimensions, digest) = (self.dimensions(&model).unwrap_or(0), self.digest(&model));
                let opened = KnowledgeBase::open(&folder, name, dimensions, &digest).await;
                let opened = opened.map_err(Error::system(action()))?;
                bases.insert(key, opened.clone());
                opened
            }
        };
        let identity = identity(&folder.join(format!("{name}.id"))).map_err(Error::system(action()))?;
        Ok(Base { base, identity, model, chunking: spec.chunking.clone() })
    }

    /// Forgets the vectors of all texts, also those of models that are not held any more; how many vectors and files there were.
    pub fn clear_vectors(&self) -> std::io::Result<u64> {
        let cleared: u64 = self.vectors.values().map(|vectors| vectors.clear()).sum::<std::io::Result<u64>>()?;
        let held = self.vectors.values().map(Arc::as_ref);
        Ok(cleared + vectors::remove_others(&self.folder.join("vectors"), held)?)
    }

    /// A payload as JSON.
    pub async fn json(&self, digest: &str) -> std::result::Result<serde_json::Value, queue::Error> {
        payload_json(self.ports.payloads.as_ref(), digest).await
    }

    /// Stores a JSON value.
    pub async fn put_json(&self, value: &serde_json::Value) -> std::result::Result<String, queue::Error> {
        self.ports.payloads.put(Bytes::from(value.to_string())).await
    }
}

/// A payload as JSON.
pub async fn payload_json(
    payloads: &dyn Payloads,
    digest: &str,
) -> std::result::Result<serde_json::Value, queue::Error> {
    let bytes = payloads.get(digest).await?;
    serde_json::from_slice(&bytes).map_err(|_| queue::Error::Damaged { digest: digest.to_owned() })
}

/// An open knowledge base with what is needed to add to it.
#[derive(Clone)]
pub struct Base {
    /// The table.
    pub base: KnowledgeBase,
    /// Another one for a table that was deleted and made again, whose versions count from the start.
    pub identity: String,
    /// The engine's name of its embedder.
    pub model: String,
    /// How text is cut.
    pub chunking: crds::Chunking,
}

/// The random name beside a table, made with it and deleted with its folder.
fn identity(path: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let identity = uuid::Uuid::now_v7().to_string();
            std::fs::write(path, &identity)?;
            Ok(identity)
        }
        other => other,
    }
}

/// Tells the circuit of one of the engine's models how it went. That a request cannot be answered at all is no failure.
fn tell(asked: Option<Asked>, error: Option<&engine::Error>) {
    let works = |error: &engine::Error| matches!(error, engine::Error::Generate(_) | engine::Error::Tokenise(_));
    if let Some(asked) = asked {
        asked.tell(error.is_none_or(works));
    }
}

/// A model as the knowledge crate wants it.
pub struct Embedder {
    services: Arc<Services>,
    model: String,
    guard: Guard,
    tokens: AtomicU64,
}

impl Embedder {
    /// One that asks a model under a breaker.
    pub fn new(services: &Arc<Services>, model: &str, guard: Guard) -> Self {
        Self { services: Arc::clone(services), model: model.to_owned(), guard, tokens: AtomicU64::new(0) }
    }

    /// Tokens that a provider has read so far.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl knowledge::Embedder for Embedder {
    async fn embed(&self, texts: Vec<String>) -> std::result::Result<Vec<Vec<f32>>, knowledge::BoxError> {
        let embedded = self.services.embed_guarded(&self.model, &texts, (Class::Bulk, None), &self.guard).await?;
        self.tokens.fetch_add(embedded.tokens, Ordering::Relaxed);
        Ok(embedded.vectors)
    }

    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        self.services.token_offsets(&self.model, text).unwrap_or_default()
    }
}
