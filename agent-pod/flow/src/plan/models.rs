//! Which model of its pool a stage uses, and by what it is led to it.

use crds::{
    AgentPoolSpec, Embed, Fallback, Head, Knowledge, Model, ModelTask, PipelineSpec, SemanticCache, Stage, StageCache,
    Work,
};

/// The model that a stage's work uses.
pub(super) struct UsedModel<'a> {
    /// Its name; `None` means the pool's first with that task.
    pub(super) name: Option<&'a str>,
    /// What it must be able to do.
    pub(super) task: ModelTask,
    /// Field of the stage that leads to it.
    pub(super) field: &'static str,
    /// Whose embedder it is, for messages, for example `knowledge "statutes"`; `None` where the stage names it itself.
    pub(super) embedder_of: Option<String>,
}

/// `None` where the work uses no model, or what should lead to it is missing.
pub(super) fn used<'a>(spec: &'a PipelineSpec, stage: &'a Stage) -> Option<UsedModel<'a>> {
    let named = |name: Option<&'a String>, task, field| UsedModel {
        name: name.map(String::as_str),
        task,
        field,
        embedder_of: None,
    };
    let embedder =
        |name: &'a str, field, of| UsedModel { name: Some(name), task: ModelTask::Embed, field, embedder_of: Some(of) };
    Some(match stage.work()? {
        Work::Embed(Embed { model: Some(model), .. }) => named(Some(model), ModelTask::Embed, "embed.model"),
        Work::Cite(cite) => named(cite.model.as_ref(), ModelTask::Embed, "cite.model"),
        Work::Generate(generate) => named(generate.model.as_ref(), ModelTask::Generate, "generate.model"),
        Work::Extract(extract) => named(extract.model.as_ref(), ModelTask::Generate, "extract.model"),
        Work::Embed(_) | Work::Retrieve(_) => {
            let (name, field) = knowledge_name(stage)?;
            embedder(&knowledge(spec, name)?.embedder, field, format!("knowledge \"{name}\""))
        }
        Work::Classify(_) | Work::Score(_) => {
            let (name, field) = head_name(stage)?;
            embedder(&head(spec, name)?.embedder, field, format!("head \"{name}\""))
        }
        Work::Parse(_) | Work::Transform(_) | Work::Approve(_) => return None,
    })
}

impl<'a> UsedModel<'a> {
    /// The model that a fallback uses in its place.
    pub(super) fn instead(self, fallback: &'a Fallback) -> Self {
        Self { name: fallback.model.as_deref().or(self.name), ..self }
    }

    /// The model in its pool.
    pub(super) fn find<'p>(&self, pool: &'p AgentPoolSpec) -> Option<&'p Model> {
        pool.models.iter().find(|model| model.task == self.task && self.name.is_none_or(|name| model.name == name))
    }
}

/// What a stage falls back to: its own list, or for what lets a model write the pipeline's.
pub fn fallbacks<'a>(spec: &'a PipelineSpec, stage: &'a Stage) -> &'a [Fallback] {
    match &stage.fallback {
        Some(own) => own,
        None if stage.generate.is_some() || stage.extract.is_some() => &spec.fallback,
        None => &[],
    }
}

/// Whether work of the pipeline may come to a pool.
pub(super) fn uses_pool(spec: &PipelineSpec, pool: &str) -> bool {
    let falls_back = |stage| fallbacks(spec, stage).iter().any(|fallback| fallback.pool.as_deref() == Some(pool));
    spec.stages.iter().any(|stage| stage.pool == pool || falls_back(stage))
}

/// How a stage may be answered by nearly the same prompts: it writes, it does not say otherwise, and the pipeline says how.
pub(super) fn semantic<'a>(spec: &'a PipelineSpec, stage: &Stage) -> Option<&'a SemanticCache> {
    let writes = matches!(stage.work()?, Work::Generate(_) | Work::Extract(_));
    let allowed = !matches!(stage.cache, Some(StageCache::Exact | StageCache::None));
    spec.cache.semantic.as_ref().filter(|_| writes && allowed)
}

/// The model of a pool that compares prompts. One of a provider does not: what the cache has costs nothing.
pub(super) fn comparing<'p>(semantic: &SemanticCache, pool: &'p AgentPoolSpec) -> Option<&'p Model> {
    let named = |model: &&Model| semantic.embedder.as_ref().is_none_or(|name| model.name == *name);
    let own = |model: &&Model| model.task == ModelTask::Embed && model.source.openai.is_none();
    pool.models.iter().filter(own).find(named)
}

/// The knowledge base that a stage names, and in which field.
pub(super) fn knowledge_name(stage: &Stage) -> Option<(&str, &'static str)> {
    let retrieve = stage.retrieve.as_ref().map(|retrieve| (retrieve.knowledge.as_str(), "retrieve.knowledge"));
    retrieve.or_else(|| stage.embed.as_ref()?.knowledge.as_deref().map(|name| (name, "embed.knowledge")))
}

/// The head that a stage names, and in which field.
pub(super) fn head_name(stage: &Stage) -> Option<(&str, &'static str)> {
    let classify = stage.classify.as_ref().map(|classify| (classify.head.as_str(), "classify.head"));
    classify.or_else(|| stage.score.as_ref()?.head.as_deref().map(|name| (name, "score.head")))
}

pub(super) fn knowledge<'a>(spec: &'a PipelineSpec, name: &str) -> Option<&'a Knowledge> {
    spec.knowledge.iter().find(|knowledge| knowledge.name == name)
}

pub(super) fn head<'a>(spec: &'a PipelineSpec, name: &str) -> Option<&'a Head> {
    spec.heads.iter().find(|head| head.name == name)
}
