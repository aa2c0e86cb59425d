//! The work of each stage kind: inputs are rendered first, the cache is asked, then the work is done.
//!
//! Stages know the services and nothing of queues or records beyond what they are given.

mod approve;
pub mod cite;
mod context;
mod embed;
mod generate;
mod heads;
mod parse;
mod retrieve;
mod roles;
pub mod semantic;
mod transform;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use crds::{CacheLevel, Fallback, Price, StageCache as StageCacheMode, Work};
use flow::{Completion, DocumentRecord, Plan, PlannedStage, Spent, Task};
use serde_json::Value;

pub use self::heads::{document_vector, plain_text};
pub(crate) use self::{approve::answer, parse::MAX_BYTES, retrieve::search};
use self::{context::Context, semantic::Semantic};
use crate::runtime::{
    cache::{Level, Levels, Output, Owner, Work as Cached, semantic::shadow},
    services::Services,
};

/// What became of a stage.
pub enum Executed {
    /// It delivered.
    Done(Completion),
    /// `when` was false.
    Skipped,
    /// A person is to be asked.
    Asks {
        /// Payload with what is asked.
        request: String,
        /// Payload that becomes the output if nobody answers in time and that counts as approved.
        unanswered: String,
    },
}

/// Why a stage did not deliver.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The document's own: it is retried or dead-lettered.
    Document {
        /// CamelCase word from a closed set.
        reason: &'static str,
        /// For people: what, where, what to do.
        message: String,
        /// Whether trying again can help.
        transient: bool,
        /// The model, where one was used.
        model: Option<String>,
        /// What the attempt took, as far as that is known.
        spent: Spent,
        /// How long the next attempt waits at least, where whoever failed said so.
        after: Option<Duration>,
    },
    /// The system's (disk, store): no document is to blame, the worker stops.
    System(String),
}

impl Failure {
    /// Trying again cannot help.
    pub fn permanent(reason: &'static str, message: impl Into<String>) -> Self {
        Self::document(reason, message.into(), false)
    }

    /// Trying again may help.
    pub fn transient(reason: &'static str, message: impl Into<String>) -> Self {
        Self::document(reason, message.into(), true)
    }

    fn document(reason: &'static str, message: String, transient: bool) -> Self {
        Self::Document { reason, message, transient, model: None, spent: Spent::default(), after: None }
    }

    fn with_model(mut self, name: &str) -> Self {
        if let Self::Document { model: model @ None, .. } = &mut self {
            *model = Some(name.to_owned());
        }
        self
    }

    /// The tokens of an answer that was of no use.
    fn with_tokens(mut self, read: u64, written: u64) -> Self {
        if let Self::Document { spent, .. } = &mut self {
            *spent = Spent::on_tokens(read, written, None);
        }
        self
    }

    fn not_before(mut self, wait: Option<Duration>) -> Self {
        if let Self::Document { after, .. } = &mut self {
            *after = wait;
        }
        self
    }

    fn at_price(mut self, price: Option<&Price>) -> Self {
        if let Self::Document { spent, .. } = &mut self {
            *spent = Spent::on_tokens(spent.prompt_tokens, spent.completion_tokens, price);
        }
        self
    }
}

impl From<queue::Error> for Failure {
    fn from(error: queue::Error) -> Self {
        match error {
            queue::Error::NotFound { .. } | queue::Error::Damaged { .. } => {
                Self::permanent("PayloadLost", format!("{}; submit the document again", crate::error::chain(&error)))
            }
            other => Self::System(crate::error::chain(&other)),
        }
    }
}

/// Work with its inputs rendered: what it says about itself is all that its result depends on.
#[async_trait]
trait Job: Send + Sync {
    /// What the result depends on beside the stage's specification; `None` where a result is never used again.
    fn key(&self, services: &Services) -> Option<Vec<String>>;
    /// Does it.
    async fn run(&self, services: &Arc<Services>) -> Result<Output, Failure>;
}

/// Works one stage of one document.
pub async fn execute(
    services: &Arc<Services>,
    plan: &Arc<Plan>,
    record: &DocumentRecord,
    task: &Task,
) -> Result<Executed, Failure> {
    let stage = plan.stage(&task.stage).ok_or_else(|| {
        Failure::permanent("UnknownStage", format!("the document's plan has no stage \"{}\"", task.stage))
    })?;
    let context = Context::load(services, plan, record, stage, task).await?;
    if let Some(condition) = &stage.spec.when
        && !context.holds(services, condition).await?
    {
        return Ok(Executed::Skipped);
    }
    if let Some(Work::Approve(approve)) = stage.spec.work() {
        return approve::ask(services, approve, &context).await;
    }
    let begun = Instant::now();
    let fallback = stage.fallback(context.level);
    let price = plan.model_at(&stage.name, context.level).and_then(|model| model.price.as_ref());
    let (output, level, cache_key) = match fallback.and_then(|fallback| fallback.constant.as_ref()) {
        Some(constant) => (Output::plain(Value::Object(constant.0.clone())), None, None),
        None => {
            let job = prepare(services, plan, stage, &context).await?;
            let ran = run_cached(services, plan, stage, &context, job).await;
            ran.map_err(|failure| failure.at_price(price))?
        }
    };
    let score = stage.spec.score.as_ref().and_then(|score| match &score.path {
        Some(path) => number_at(&output.value, path),
        None => number_at(&output.value, "score"),
    });
    let (read, written) = if level.is_some() { (0, 0) } else { (output.prompt_tokens, output.completion_tokens) };
    Ok(Executed::Done(Completion {
        output: services.put_json(&output.value).await?,
        references: output.references,
        cache_key,
        score,
        cached: level.is_some(),
        cache_level: level.map(|level| level.word().to_owned()),
        seconds: begun.elapsed().as_secs_f64(),
        prompt_tokens: read,
        completion_tokens: written,
        worker: String::new(),
        model: output.model,
        cost: Spent::on_tokens(read, written, price).cost,
        fallback: fallback.map(Fallback::label),
    }))
}

async fn prepare(
    services: &Arc<Services>,
    plan: &Arc<Plan>,
    stage: &PlannedStage,
    context: &Context,
) -> Result<Box<dyn Job>, Failure> {
    let work = stage.spec.work().ok_or_else(|| {
        Failure::permanent("UnknownStage", format!("stage \"{}\" does not say what it does", stage.name))
    })?;
    Ok(match work {
        Work::Parse(parse) => Box::new(parse::prepare(parse, context)),
        Work::Embed(embed) => Box::new(embed::prepare(services, plan, embed, context).await?),
        Work::Retrieve(retrieve) => Box::new(retrieve::prepare(services, plan, retrieve, context).await?),
        Work::Generate(generate) => Box::new(generate::prepare(services, plan, generate, context).await?),
        Work::Extract(extract) => Box::new(generate::prepare_extract(services, plan, extract, context).await?),
        Work::Classify(classify) => Box::new(heads::prepare(services, plan, &classify.head, context)?),
        Work::Score(head) => Box::new(heads::prepare(services, plan, head, context)?),
        Work::Cite(cite) => Box::new(cite::prepare(services, plan, cite, context).await?),
        Work::Transform(transform) => Box::new(transform::prepare(services, transform, context).await?),
        Work::Approve(_) => return Err(Failure::System("a person's work was to be done by the program".to_owned())),
    })
}

async fn run_cached(
    services: &Arc<Services>,
    plan: &Plan,
    stage: &PlannedStage,
    context: &Context,
    job: Box<dyn Job>,
) -> Result<(Output, Option<Level>, Option<String>), Failure> {
    let cache = &plan.spec.cache;
    let levels = Levels {
        memory: cache.levels.contains(&CacheLevel::Memory),
        redis: cache.levels.contains(&CacheLevel::Redis),
        disk: cache.levels.contains(&CacheLevel::Disk),
        ttl: if stage.spec.embed.is_some() { cache.embeddings.ttl.0 } else { cache.exact.ttl.0 },
    };
    let wanted = stage.spec.cache != Some(StageCacheMode::None) && levels.any();
    let Some(inputs) = job.key(services).filter(|_| wanted) else {
        return Ok((run(services, context, job.as_ref()).await?, None, None));
    };
    let key = cache_key(&plan.stage_digest_at(&stage.name, context.level), &context.tenant, &inputs);
    let work = CachedJob { services, context, owner: Owner::new(&context.tenant, &context.payload), job };
    // What a stage falls back to is not what its kept answers were made with.
    let semantic = if context.level == 0 { Semantic::of(services, plan, stage) } else { None };
    let (output, level) = match semantic {
        Some(semantic) => run_near(&semantic, &work, (plan, stage), (&key, levels, &inputs)).await?,
        None => {
            let answer = services.cache.get_or_compute(&key, levels, &work).await;
            answer.map_err(Arc::unwrap_or_clone)?
        }
    };
    Ok((output, level, Some(key)))
}

/// Does the work, unless the budget is used up: what the cache has costs nothing.
async fn run(services: &Arc<Services>, context: &Context, job: &dyn Job) -> Result<Output, Failure> {
    if context.budget.answer_tokens() == Some(0) {
        return Err(context.budget.exceeded("nothing is left for this stage"));
    }
    job.run(services).await
}

/// The same request first, then one that is nearly the same, then the work. A share of what the second gives is worked all
/// the same, while the document has something left of its budget: then the fresh result counts.
async fn run_near(
    semantic: &Semantic<'_>,
    work: &CachedJob<'_>,
    (plan, stage): (&Plan, &PlannedStage),
    (key, levels, inputs): (&str, Levels, &[String]),
) -> Result<(Output, Option<Level>), Failure> {
    let (services, context, cache) = (work.services, work.context, &work.services.cache);
    if let Some((output, level)) = cache.get(key, levels, work).await? {
        return Ok((output, Some(level)));
    }
    // The first input of a job that uses a model is the model's digest.
    let answering = inputs.first().map_or("", String::as_str);
    let near = semantic.near(services, (plan, stage), context, answering).await?;
    let mut doubted = None;
    if let Some(near) = &near
        && let Some((output, hit)) = cache.nearest(near, levels).await
    {
        let may_be_worked = context.budget.answer_tokens() != Some(0);
        if !may_be_worked || !shadow::is_due(key, hit, semantic.spec.shadow) {
            return Ok((output, Some(Level::Semantic)));
        }
        doubted = Some(output);
    }
    let made = cache.compute(key, levels, work).await;
    let (output, level) = made.map_err(Arc::unwrap_or_clone)?;
    if let Some(doubted) = doubted {
        match semantic.is_wrong(services, &doubted.value, &output.value).await {
            Ok(wrong) => cache.checked(wrong, levels).await,
            // The stage has its result; that the other one could not be judged is no reason to lose it.
            Err(_) => cache.not_compared(),
        }
    }
    if let Some(near) = near
        && level.is_none()
    {
        cache.keep_near(key, &near, (work.owner, output.clone()), levels).await;
    }
    Ok((output, level))
}

/// A job as the cache wants it.
struct CachedJob<'a> {
    services: &'a Arc<Services>,
    context: &'a Context,
    owner: Owner,
    job: Box<dyn Job>,
}

#[async_trait]
impl Cached for CachedJob<'_> {
    type Error = Failure;

    fn owner(&self) -> Owner {
        self.owner
    }

    /// Payloads can be gone, or never have been in this process's store.
    async fn usable(&self, kept: &Output) -> Result<bool, Failure> {
        for digest in &kept.references {
            if !self.services.ports.payloads.contains(digest).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn compute(&self) -> Result<Output, Failure> {
        run(self.services, self.context, self.job.as_ref()).await
    }

    /// What one document has left of its budget says nothing of another's.
    fn is_personal(&self, failure: &Failure) -> bool {
        matches!(failure, Failure::Document { reason, .. } if *reason == flow::reason::BUDGET_EXCEEDED)
    }
}

/// The key of a result: equal for equal work of one tenant alone.
pub fn cache_key(specification: &str, tenant: &str, inputs: &[String]) -> String {
    digest([specification, tenant].into_iter().chain(inputs.iter().map(String::as_str)))
}

fn digest<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The number at a dotted path; text that is a number counts, models write it so.
fn number_at(value: &Value, path: &str) -> Option<f64> {
    let found = path.split('.').try_fold(value, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })?;
    found.as_f64().or_else(|| found.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}
