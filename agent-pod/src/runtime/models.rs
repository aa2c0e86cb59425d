//! From the models that pools name to the engine that holds them. A model that several pools hold is loaded once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use crds::{AgentPoolSpec, Model, ModelTask, OpenAiSource};
use engine::{
    Engine, ModelFiles, ModelSpec, Settings,
    catalogue::{self, Catalogue, PullSettings},
    reach::Reach,
};
use flow::Plan;

use super::{
    devices,
    providers::{Circuits, Meters, Provider},
};
use crate::{Error, Result, args, error::chain, stages::Failure};

/// Which of the engine's models a pool's model is. What a pool calls a model and in which plan does not matter, only what
/// the model is: so a plan that came later finds the models that it shares with the ones that were loaded.
#[derive(Clone, Default)]
pub struct ModelNames {
    names: BTreeMap<String, String>,
    providers: BTreeMap<String, Arc<Provider>>,
    meters: Meters,
    circuits: Circuits,
    embeds: bool,
}

impl ModelNames {
    fn measured() -> Self {
        let meters = Meters::default();
        Self { circuits: Circuits::new(meters.clone()), meters, ..Self::default() }
    }

    /// The models of others, by the names that stages know them by.
    pub fn providers(&self) -> impl Iterator<Item = (&String, &Arc<Provider>)> {
        self.providers.iter()
    }

    /// The model of others that has this name.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// Whether one of the pools holds a model that turns text into vectors.
    pub fn embeds(&self) -> bool {
        self.embeds
    }

    /// The circuits in front of all models.
    pub fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    /// What is measured of models of others.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Takes a model of others in. Blocks where `reach` wants names looked up.
    fn add_provider(&mut self, model: &Model, source: &OpenAiSource, reach: &Reach) -> std::result::Result<(), String> {
        let known = identity(model);
        if self.names.contains_key(&known) {
            return Ok(());
        }
        let provider = Provider::open(source, reach, (&self.circuits, &self.meters), args::variable)?;
        let base = provider.name();
        let taken = self.providers.keys().filter(|name| name.split('#').next() == Some(base.as_str())).count();
        let name = if taken == 0 { base } else { format!("{base}#{}", taken + 1) };
        self.providers.insert(name.clone(), Arc::new(provider));
        self.names.insert(known, name);
        Ok(())
    }

    /// The engine's name of a pool's model.
    pub fn get(&self, plan: &Plan, pool: &str, model: &str) -> Option<String> {
        let model = plan.pools.get(pool)?.models.iter().find(|candidate| candidate.name == model)?;
        self.names.get(&identity(model)).cloned()
    }

    /// The engine's name of a model, whatever its pool calls it.
    pub fn of(&self, model: &Model) -> Option<&str> {
        self.names.get(&identity(model)).map(String::as_str)
    }

    /// The engine's name of the model that a stage uses: the one it names, or its pool's first of the task.
    pub fn stage_model(
        &self,
        plan: &Plan,
        pool: &str,
        model: Option<&str>,
        task: ModelTask,
    ) -> std::result::Result<String, Failure> {
        let first = || {
            let models = &plan.pools.get(pool)?.models;
            models.iter().find(|candidate| candidate.task == task).map(|model| model.name.as_str())
        };
        let name = model.or_else(first).and_then(|model| self.get(plan, pool, model));
        name.ok_or_else(|| {
            let wanted =
                model.map_or_else(|| format!("a model of task {task:?}"), |model| format!("the model \"{model}\""));
            Failure::permanent("UnknownModel", format!("pool \"{pool}\" does not hold {wanted}"))
        })
    }
}

/// A model without the name that a pool gives it, and without what it costs.
pub fn identity(model: &Model) -> String {
    let unnamed = Model { name: String::new(), price: None, ..model.clone() };
    serde_json::to_string(&unnamed).expect("a model is read from JSON or YAML, so JSON can hold it")
}

/// Loads the models of all pools of the plans, from servers that are called.
pub async fn start(plans: &[Arc<Plan>], folder: Option<&Path>, reach: &Reach) -> Result<(Engine, ModelNames)> {
    let (engine, names) = start_pools(plans.iter().flat_map(|plan| &plan.pools), folder, reach).await?;
    check_chunking(plans, &engine, &names)?;
    Ok((engine, names))
}

/// Loads the models of pools, from servers that are called.
pub async fn start_pools<'a>(
    pools: impl Iterator<Item = (&'a String, &'a AgentPoolSpec)>,
    folder: Option<&Path>,
    reach: &Reach,
) -> Result<(Engine, ModelNames)> {
    let folder = folder.map_or_else(catalogue::models_folder, Path::to_path_buf);
    let catalogue = Catalogue::load(None).map_err(Error::system("read the model catalogue"))?;
    let mut names = ModelNames::measured();
    let mut specs: Vec<ModelSpec> = Vec::new();
    let pools: Vec<(&String, &AgentPoolSpec)> = pools.collect();
    let device = devices::Chosen::of(pools.iter().map(|(_, pool)| *pool));
    let settings = shared(device, pools.iter().map(|(_, pool)| *pool));
    let mut problems = Vec::new();
    for (pool_name, pool) in pools {
        for model in &pool.models {
            names.embeds |= model.task == ModelTask::Embed;
            let added = match &model.source.openai {
                Some(source) if reach.is_guarded() => {
                    tokio::task::block_in_place(|| names.add_provider(model, source, reach))
                }
                Some(source) => names.add_provider(model, source, reach),
                None => files(&catalogue, &folder, model, reach).map(|(base, files)| {
                    let name = add(&mut specs, base, model, files);
                    names.names.insert(identity(model), name);
                }),
            };
            match added {
                Ok(()) => {}
                Err(problem) => problems.push(format!("model \"{}\" of pool \"{pool_name}\": {problem}", model.name)),
            }
        }
    }
    if !problems.is_empty() {
        problems.dedup();
        return Err(Error::Usage(problems));
    }
    Ok((start_engine(device, settings, specs).await?, names))
}

/// The end of a chunk that is longer than its embedder reads would be found by nobody.
fn check_chunking(plans: &[Arc<Plan>], engine: &Engine, names: &ModelNames) -> Result<()> {
    let mut problems = Vec::new();
    for (plan, knowledge) in plans.iter().flat_map(|plan| plan.spec.knowledge.iter().map(move |part| (plan, part))) {
        let models = plan.pools.keys().filter_map(|pool| names.get(plan, pool, &knowledge.embedder));
        let Some(most) = models.filter_map(|model| engine.max_text_tokens(&model)).min() else { continue };
        let tokens = knowledge.chunking.tokens;
        if tokens as usize > most {
            let (name, embedder) = (&knowledge.name, &knowledge.embedder);
            problems.push(format!(
                "knowledge \"{name}\": chunking.tokens is {tokens}; its embedder \"{embedder}\" reads at most {most}"
            ));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::Usage(problems)) }
}

/// Loads models of the catalogue under their own names.
pub async fn start_catalogue(names: &[&str], folder: Option<&Path>) -> Result<Engine> {
    let folder = folder.map_or_else(catalogue::models_folder, Path::to_path_buf);
    let catalogue = Catalogue::load(None).map_err(Error::system("read the model catalogue"))?;
    let mut specs = Vec::new();
    for name in names {
        let (entry, files) = catalogued(&catalogue, &folder, name).map_err(Error::usage)?;
        specs.push(ModelSpec {
            name: (*name).to_owned(),
            task: entry,
            files,
            dtype: None,
            context_tokens: Some(CONTEXT_TOKENS),
        });
    }
    let device = devices::Chosen::of(std::iter::empty());
    start_engine(device, shared(device, std::iter::empty()), specs).await
}

/// Context of a model whose pool names none, at most.
const CONTEXT_TOKENS: usize = 4_096;

async fn start_engine(device: devices::Chosen, settings: Settings, specs: Vec<ModelSpec>) -> Result<Engine> {
    let started = tokio::task::spawn_blocking(move || device.start(settings, specs)).await;
    started.map_err(Error::system("load the models"))?.map_err(|error| match error {
        error if error.is_of_device() => Error::usage(format!("device.kind Gpu: {}", chain(&error))),
        engine::Error::ChooseDtype { .. }
        | engine::Error::FitWeights { .. }
        | engine::Error::LoadGenerator { source: engine::generation::Error::FitCache { .. }, .. }
        | engine::Error::LoadEmbedder { source: engine::embedding::LoadError::ChooseDtype { .. }, .. } => {
            Error::usage(chain(&error))
        }
        other => Error::system("load the models")(other),
    })
}

/// In one process all pools share one engine: it takes the widest bounds that one of those with models writes.
fn shared<'a>(device: devices::Chosen, pools: impl Iterator<Item = &'a AgentPoolSpec>) -> Settings {
    let mut bounds: Vec<_> = pools.filter(|pool| !pool.models.is_empty()).map(AgentPoolSpec::effective).collect();
    if bounds.is_empty() {
        bounds.push(crds::Profile::default().defaults());
    }
    Settings {
        device: device.kind,
        threads: engine::threads::available_threads(),
        max_batch: bounds.iter().map(|pool| pool.max_batch as usize).max().unwrap_or(1),
        max_wait: bounds.iter().map(|pool| pool.max_wait).max().unwrap_or_default(),
        token_budget: bounds.iter().filter_map(|pool| pool.token_budget).max().map(|tokens| tokens as usize),
        memory_fraction: device.memory_fraction,
    }
}

/// Adds a model unless the same files in the same format are there; its name.
fn add(specs: &mut Vec<ModelSpec>, base: String, model: &Model, files: ModelFiles) -> String {
    let task = match model.task {
        ModelTask::Embed => engine::ModelTask::Embed,
        ModelTask::Generate => engine::ModelTask::Generate,
    };
    let dtype = model.dtype.map(|dtype| match dtype {
        crds::Dtype::F32 => engine::Dtype::F32,
        crds::Dtype::F16 => engine::Dtype::F16,
        crds::Dtype::BF16 => engine::Dtype::Bf16,
        crds::Dtype::Q8_0 => engine::Dtype::Q8_0,
        crds::Dtype::AsStored => engine::Dtype::AsStored,
    });
    let context_tokens = match model.task {
        ModelTask::Generate => Some(model.context_tokens.map_or(CONTEXT_TOKENS, |tokens| tokens as usize)),
        ModelTask::Embed => model.context_tokens.map(|tokens| tokens as usize),
    };
    let same = |spec: &&ModelSpec| {
        spec.task == task && spec.files == files && spec.dtype == dtype && spec.context_tokens == context_tokens
    };
    if let Some(spec) = specs.iter().find(same) {
        return spec.name.clone();
    }
    let taken = specs.iter().filter(|spec| spec.name.split('#').next() == Some(base.as_str())).count();
    let name = if taken == 0 { base } else { format!("{base}#{}", taken + 1) };
    specs.push(ModelSpec { name: name.clone(), task, files, dtype, context_tokens });
    name
}

/// A name for people and the files of a model; the problem in words where they cannot be had.
fn files(
    catalogue: &Catalogue,
    folder: &Path,
    model: &Model,
    reach: &Reach,
) -> std::result::Result<(String, ModelFiles), String> {
    let source = &model.source;
    if let Some(name) = &source.catalog {
        let (task, files) = catalogued(catalogue, folder, name)?;
        let fits = matches!(
            (task, model.task),
            (engine::ModelTask::Embed, ModelTask::Embed) | (engine::ModelTask::Generate, ModelTask::Generate)
        );
        return if fits {
            Ok((name.clone(), files))
        } else {
            Err(format!("\"{name}\" of the catalogue is for {task:?}"))
        };
    }
    if let Some(path) = &source.file {
        let files = catalogue::files_at(Path::new(path)).map_err(|error| chain(&error))?;
        let stem = Path::new(path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok((stem, files));
    }
    if let Some(http) = &source.http {
        let cache: PathBuf = folder.to_path_buf();
        let settings = PullSettings { reach: reach.clone(), ..PullSettings::default() };
        let files =
            tokio::task::block_in_place(|| catalogue::pull_url(&http.url, &http.sha256, &cache, &settings, &|_| {}));
        let name = http.url.rsplit('/').next().unwrap_or("model").to_owned();
        return Ok((name, files.map_err(|error| format!("source.http.url: {}", chain(&error)))?));
    }
    Err("source names no place".to_owned())
}

fn catalogued(
    catalogue: &Catalogue,
    folder: &Path,
    name: &str,
) -> std::result::Result<(engine::ModelTask, ModelFiles), String> {
    let Some(entry) = catalogue.entry(name) else {
        let known: Vec<&str> = catalogue.list().map(|entry| entry.name.as_str()).collect();
        return Err(format!("the catalogue has no \"{name}\"; it has: {}", known.join(", ")));
    };
    let files = catalogue::installed(entry, &folder.join(name));
    let files = files.ok_or_else(|| {
        format!("\"{name}\" is not in {}, or not whole; get it with: docket model pull {name}", folder.display())
    })?;
    Ok((entry.task, files))
}
