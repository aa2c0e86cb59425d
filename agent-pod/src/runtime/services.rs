//! What stages use: the engine, knowledge bases, heads, caches, payloads. Made once a process, shared by all workers.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use engine::{Class, Engine};
use flow::Plan;
use knowledge::{KnowledgeBase, parse::ChildCommand};
use queue::{Payloads, Ports};
use tokio::sync::Mutex;

use super::{
    adaptive::Adaptive, cache::StageCache, heads::Heads, models::ModelNames, state::State, templates::Templates,
    vectors::Vectors,
};
use crate::{Error, Result, error::chain};

/// Texts of one request to the engine; it makes its own batches of these.
const EMBED_REQUEST: usize = 64;

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
            if let (Some(digest), Some(dimensions)) = (engine.digest(&model.name), engine.dimensions(&model.name)) {
                let log = Vectors::open(&folder.join("vectors"), digest, dimensions);
                let log = log.map_err(Error::system("open the kept vectors"))?;
                vectors.insert(model.name.clone(), Arc::new(log));
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

    /// Vectors of texts by one of the engine's models; what was computed before is not computed again.
    pub async fn embed(
        &self,
        model: &str,
        texts: &[String],
        class: Class,
        deadline: Option<Instant>,
    ) -> std::result::Result<Vec<Vec<f32>>, engine::Error> {
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
            let request = part.iter().map(|(text, _)| (*text).to_owned()).collect();
            let made = self.engine.embed(model, request, class, deadline).await?.vectors;
            if let Some(known) = known {
                known.put(part.iter().map(|(text, _)| *text).zip(made.iter().map(Vec::as_slice)));
            }
            for ((_, places), vector) in part.iter().zip(made) {
                places.iter().for_each(|&place| vectors[place] = Some(vector.clone()));
            }
        }
        Ok(vectors.into_iter().flatten().collect())
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
                let dimensions = self.engine.dimensions(&model).unwrap_or(0);
                let digest = self.engine.digest(&model).unwrap_or_default();
                let opened = KnowledgeBase::open(&folder, name, dimensions, digest).await;
                let opened = opened.map_err(Error::system(action()))?;
                bases.insert(key, opened.clone());
                opened
            }
        };
        let identity = identity(&folder.join(format!("{name}.id"))).map_err(Error::system(action()))?;
        Ok(Base { base, identity, model, chunking: spec.chunking.clone() })
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

/// The engine as the knowledge crate wants it.
pub struct Embedder {
    /// Where the engine is.
    pub services: Arc<Services>,
    /// The engine's name of the model.
    pub model: String,
}

#[async_trait]
impl knowledge::Embedder for Embedder {
    async fn embed(&self, texts: Vec<String>) -> std::result::Result<Vec<Vec<f32>>, knowledge::BoxError> {
        self.services.embed(&self.model, &texts, Class::Bulk, None).await.map_err(|error| chain(&error).into())
    }

    fn token_offsets(&self, text: &str) -> Vec<(usize, usize)> {
        self.services.engine.token_offsets(&self.model, text).unwrap_or_default()
    }
}
