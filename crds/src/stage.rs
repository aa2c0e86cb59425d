//! One stage of a pipeline: what is done, by which pool, after what.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Approve, Cite, Classify, Embed, Extract, Fallback, Generate, Parse, Retrieve, Retry, Score, Span, StageTimeout,
    Transform,
};

/// One stage: a name, a pool, its place in the graph and exactly one kind of work.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.parse) ? 1 : 0) + \
     (has(self.embed) ? 1 : 0) + \
     (has(self.retrieve) ? 1 : 0) + \
     (has(self.generate) ? 1 : 0) + \
     (has(self.extract) ? 1 : 0) + \
     (has(self.classify) ? 1 : 0) + \
     (has(self.cite) ? 1 : 0) + \
     (has(self.transform) ? 1 : 0) + \
     (has(self.approve) ? 1 : 0) + \
     (has(self.score) && has(self.score.head) ? 1 : 0) == 1")
    .message("set exactly one of parse, embed, retrieve, generate, extract, classify, score.head, cite, transform, approve"))]
#[x_kube(validation = Rule::new("!has(self.score) || !has(self.score.path) || has(self.generate) || has(self.extract)")
    .message("score.path reads the output of the same stage's generate or extract; this stage has neither").field_path(".score.path"))]
#[x_kube(validation = Rule::new("!has(self.cache) || self.cache != 'Semantic' || has(self.generate) || has(self.extract)")
    .message("only generate and extract can be answered by what is nearly the same; write Exact or None").field_path(".cache"))]
pub struct Stage {
    /// Name of the stage; unique in the pipeline.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// AgentPool that does the work.
    #[schemars(length(min = 1, max = 63))]
    pub pool: String,
    /// Stages that come before; none makes this a first stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub after: Vec<String>,
    /// Expression over `document` and `stages`; where it is false the stage is skipped, for example `document.metadata.review`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub when: Option<String>,
    /// Whether the document goes on without this stage when the stage fails for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// When a stage with several predecessors starts. Default: when all have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// Longest time for one attempt, or `Adaptive`, instead of the pipeline's `stageTimeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<StageTimeout>,
    /// How failed attempts of this stage are repeated, instead of the pipeline's `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What is done instead when this stage fails for good or its circuit is open, tried in this order. Default: for
    /// generate and extract the pipeline's `fallback`; `[]` turns that off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    pub fallback: Option<Vec<Fallback>>,
    /// Which results may answer this stage. Default: as the pipeline says, for generate and extract also those of nearly the
    /// same prompt where it has `cache.semantic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<StageCache>,
    /// Turns the document's bytes into text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse: Option<Parse>,
    /// Cuts the text into chunks and turns them into vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embed: Option<Embed>,
    /// Finds chunks of a knowledge base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieve: Option<Retrieve>,
    /// Lets a model write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// Lets a model fill a JSON schema; the answer always matches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
    /// Labels the document by a trained head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classify: Option<Classify>,
    /// Scores the document: by a head, or by a number in the output of this stage's generate or extract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Finds the places in the source that support a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cite: Option<Cite>,
    /// Makes a new value from earlier ones by a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// Waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
}

/// When a stage with several predecessors starts.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.quorum) == (self.mode == 'Quorum')").message("quorum is set exactly when mode is Quorum").field_path(".quorum"))]
pub struct Join {
    /// How many predecessors must have delivered.
    #[serde(default)]
    pub mode: JoinMode,
    /// With mode Quorum: how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub quorum: Option<u32>,
    /// Longest wait after the first predecessor has delivered. Default: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// What happens then.
    #[serde(default)]
    pub on_timeout: OnTimeout,
}

/// How many predecessors must have delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JoinMode {
    /// All that were not skipped.
    #[default]
    All,
    /// The first one.
    Any,
    /// As many as `quorum` says.
    Quorum,
}

/// What happens when a join has waited too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// The stage counts as failed; an optional one is left out, otherwise the document is dead-lettered.
    #[default]
    Fail,
    /// The stage starts with what is there and the document ends as partial.
    Partial,
    /// The document is dead-lettered.
    DeadLetter,
}

/// Which results may answer a stage. Default: as the pipeline says, for generate and extract also those of nearly the same
/// prompt where it has `cache.semantic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StageCache {
    /// Only those of the same request, whatever `cache.semantic` of the pipeline says.
    Exact,
    /// Also those of nearly the same prompt; the pipeline's `cache.semantic` says how near.
    Semantic,
    /// None, and its result is not kept.
    None,
}

/// The one kind of work of a stage.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// See [`Parse`].
    Parse(&'a Parse),
    /// See [`Embed`].
    Embed(&'a Embed),
    /// See [`Retrieve`].
    Retrieve(&'a Retrieve),
    /// See [`Generate`].
    Generate(&'a Generate),
    /// See [`Extract`].
    Extract(&'a Extract),
    /// See [`Classify`].
    Classify(&'a Classify),
    /// A score made by the named head.
    Score(&'a str),
    /// See [`Cite`].
    Cite(&'a Cite),
    /// See [`Transform`].
    Transform(&'a Transform),
    /// See [`Approve`].
    Approve(&'a Approve),
}

impl Work<'_> {
    /// The field's name, as a person writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Parse(_) => "parse",
            Self::Embed(_) => "embed",
            Self::Retrieve(_) => "retrieve",
            Self::Generate(_) => "generate",
            Self::Extract(_) => "extract",
            Self::Classify(_) => "classify",
            Self::Score(_) => "score",
            Self::Cite(_) => "cite",
            Self::Transform(_) => "transform",
            Self::Approve(_) => "approve",
        }
    }
}

impl Stage {
    /// The stage's work; `None` where the rule "exactly one" is broken.
    pub fn work(&self) -> Option<Work<'_>> {
        let mut found = [
            self.parse.as_ref().map(Work::Parse),
            self.embed.as_ref().map(Work::Embed),
            self.retrieve.as_ref().map(Work::Retrieve),
            self.generate.as_ref().map(Work::Generate),
            self.extract.as_ref().map(Work::Extract),
            self.classify.as_ref().map(Work::Classify),
            self.score.as_ref().and_then(|score| score.head.as_deref()).map(Work::Score),
            self.cite.as_ref().map(Work::Cite),
            self.transform.as_ref().map(Work::Transform),
            self.approve.as_ref().map(Work::Approve),
        ]
        .into_iter()
        .flatten();
        let work = found.next()?;
        found.next().is_none().then_some(work)
    }
}
