//! `docket cache`: kept results of stages, seen, removed and made ahead.

use std::{process::ExitCode, sync::Arc, time::Duration};

use crds::{CacheLevel, Span};
use flow::Plan;
use serde_json::{Map, Value, json};

use super::{
    client, note, print,
    run::{
        report::Reporter,
        session::{Session, Settings},
        summary::checked_line,
    },
    table, validate,
};
use crate::{
    Error, Result,
    args::{CacheArguments, CacheCommand, Format, RedisArguments, SelectionArguments, WarmArguments},
    runtime::{
        cache::{
            RedisSettings, Selection,
            inventory::{self, Holding},
            semantic::shadow::Checked,
        },
        inputs, now,
        state::{Run, State},
    },
};

pub(super) async fn cache(command: CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Stats(arguments) => match arguments.remote.client(None) {
            Some(gateway) => client::cache_stats(&gateway, arguments.format).await,
            None => stats(&arguments).await,
        },
        CacheCommand::Clear { selection, arguments } => match arguments.remote.client(None) {
            Some(gateway) => client::cache_clear(&gateway, &selection, arguments.format).await,
            None => clear(&selection, &arguments).await,
        },
        CacheCommand::Warm(arguments) => warm(arguments).await,
    }
}

/// The server that the arguments name, for a run of a pipeline.
pub(super) fn redis(arguments: &RedisArguments, plan: &Plan) -> Result<Option<RedisSettings>> {
    let named = plan.spec.cache.levels.contains(&CacheLevel::Redis);
    let Some(url) = &arguments.url else {
        if named {
            note("cache.levels name Redis, and no --redis says where it is: the level is left out");
        }
        return Ok(None);
    };
    // A wrong URL is told also where it would not matter.
    let settings = settings(url, arguments.timeout.0)?;
    if !named {
        note(&format!("--redis is not used: cache.levels of pipeline \"{}\" do not name Redis", plan.name));
        return Ok(None);
    }
    Ok(Some(settings))
}

pub(super) fn settings(url: &str, answer: Duration) -> Result<RedisSettings> {
    RedisSettings::new(url, answer).map_err(|error| {
        Error::usage(format!("--redis: {error}; write it as redis://[user:password@]host[:port][/database]"))
    })
}

async fn stats(arguments: &CacheArguments) -> Result<ExitCode> {
    let (folder, redis) = levels(arguments)?;
    let on_disk = inventory::on_disk(&folder).map_err(Error::system(format!("read {}", folder.display())))?;
    let mut checked = inventory::checked_on_disk(&folder);
    let on_redis = match &redis {
        Some(settings) => {
            // What processes shared counts those of this folder too.
            checked = inventory::checked_on_redis(settings).await.map_err(Error::system(asked(settings)))?;
            Some(inventory::on_redis(settings).await.map_err(Error::system(asked(settings)))?)
        }
        None => None,
    };
    report(on_disk, on_redis, Some(checked), arguments.format);
    Ok(ExitCode::SUCCESS)
}

async fn clear(selection: &SelectionArguments, arguments: &CacheArguments) -> Result<ExitCode> {
    let (folder, redis) = levels(arguments)?;
    // What was made exactly so long ago goes.
    let made_before = selection.older_than.map(before);
    let selection = Selection::of(selection.tenant.as_deref(), selection.payload.as_deref()).made_before(made_before);
    let from_disk = inventory::clear_disk(&folder, &selection);
    let from_disk = from_disk.map_err(Error::system(format!("clear {}", folder.display())))?;
    let from_redis = match &redis {
        Some(settings) => {
            Some(inventory::clear_redis(settings, &selection).await.map_err(Error::system(asked(settings)))?)
        }
        None => None,
    };
    report(from_disk, from_redis, None, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// The time before which everything is so old, or older.
pub(crate) fn before(Span(age): Span) -> u64 {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    now().saturating_sub(age).saturating_add(1)
}

/// A run whose records are forgotten with its process: what stays is the cache, and the payloads that its results name.
async fn warm(arguments: WarmArguments) -> Result<ExitCode> {
    let plan = validate::plan(&arguments.file)?;
    let spec = &plan.spec;
    if spec.cache.levels.iter().all(|level| *level == CacheLevel::Memory) {
        let message = format!("cache.levels of pipeline \"{}\" keep nothing that outlives this process", plan.name);
        return Err(Error::usage(message));
    }
    let adds = |stage: &&crds::Stage| stage.embed.as_ref().is_some_and(|embed| embed.knowledge.is_some());
    if let Some(stage) = spec.stages.iter().find(adds) {
        let message =
            format!("stage \"{}\" adds documents to a knowledge base, which would stay: run the pipeline", stage.name);
        return Err(Error::usage(message));
    }
    if spec.results.is_some() {
        let message = format!("pipeline \"{}\" writes results, which would stay: run it", plan.name);
        return Err(Error::usage(message));
    }
    if let Some(stage) = spec.stages.iter().find(|stage| stage.approve.is_some()) {
        let message = format!("stage \"{}\" asks a person, whose answer nothing would wait for: run it", stage.name);
        return Err(Error::usage(message));
    }
    if spec.suspend {
        return Err(Error::usage(format!("pipeline \"{}\" is suspended: nothing would be worked", plan.name)));
    }
    let redis = redis(&arguments.redis, &plan)?;
    let documents = inputs::inputs(&arguments.input)?;
    let state = State::open(&arguments.state.folder)?.forgetting();
    let run = Run::new(&plan.name, now());
    let mut reporter = Reporter::silent(&run, &plan, arguments.format);
    let models = arguments.models.folder.clone();
    let (replayed, suspended, in_flight) = (Vec::new(), false, None);
    let session = Session::start(Settings { state, run, plan, replayed, models, suspended, in_flight, redis }).await?;
    let session = Arc::new(session);
    let documents = documents.take(arguments.limit.unwrap_or(usize::MAX));
    session.work(documents, false, &mut reporter, "run it again: what it has made is kept").await?;
    let summary = reporter.finish(&session).await?;
    Ok(summary.exit_code())
}

/// The folder of the disk level, and the server where one is named. A state folder that is not there is a mistake.
fn levels(arguments: &CacheArguments) -> Result<(std::path::PathBuf, Option<RedisSettings>)> {
    let state = &arguments.state.folder;
    if !state.is_dir() {
        return Err(Error::usage(format!(
            "there is no state folder {}: run a pipeline first, or name the folder with --state",
            state.display()
        )));
    }
    let redis = arguments.redis.as_deref().map(|url| settings(url, Duration::ZERO)).transpose()?;
    Ok((state.join("cache"), redis))
}

fn asked(settings: &RedisSettings) -> String {
    format!("ask Redis at {}", settings.address())
}

fn report(disk: Holding, redis: Option<Holding>, checked: Option<Checked>, format: Format) {
    let levels: Vec<(&str, Holding)> =
        redis.map(|redis| ("redis", redis)).into_iter().chain([("disk", disk)]).collect();
    let checked = checked.map(checked_json);
    match format {
        Format::Table => {
            print(&holdings(levels.iter().map(|(name, holding)| ((*name).to_owned(), json!(holding)))));
            if let Some(checked) = checked.filter(|checked| checked["checked"] != 0) {
                print(&format!("\nanswers to nearly equal prompts: {}", checked_line(&checked)));
            }
        }
        Format::Json | Format::Jsonl => {
            let levels = levels.iter().map(|(name, holding)| ((*name).to_owned(), json!(holding)));
            let checked = checked.map(|checked| ("checked".to_owned(), checked));
            print(&json!(levels.chain(checked).collect::<Map<_, _>>()).to_string());
        }
    }
}

/// With the measured share, where there is one.
pub(crate) fn checked_json(checked: Checked) -> Value {
    json!({"checked": checked.checked, "wrong": checked.wrong, "wrongRatio": checked.wrong_ratio()})
}

/// A table of what levels hold.
pub(super) fn holdings(levels: impl Iterator<Item = (String, Value)>) -> String {
    let row = |(name, holding): (String, Value)| {
        let number = |value: &Value| value.as_u64().unwrap_or(0).to_string();
        let semantic = number(&holding["semantic"]["entries"]);
        vec![name, number(&holding["entries"]), number(&holding["bytes"]), semantic]
    };
    table(&["LEVEL", "ENTRIES", "BYTES", "OF THEM SEMANTIC"], &levels.map(row).collect::<Vec<_>>())
}
