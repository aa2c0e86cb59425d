//! `docket cache`: kept results of stages, seen and removed.

use std::{process::ExitCode, time::Duration};

use crds::{CacheLevel, Span};
use flow::Plan;
use serde_json::{Map, json};

use super::{note, print, table};
use crate::{
    Error, Result,
    args::{CacheArguments, CacheCommand, Format, RedisArguments},
    runtime::{
        cache::{
            RedisSettings,
            inventory::{self, Holding},
        },
        now,
    },
};

pub(super) async fn cache(command: CacheCommand) -> Result<ExitCode> {
    match command {
        CacheCommand::Stats(arguments) => stats(&arguments).await,
        CacheCommand::Clear { older_than, arguments } => clear(older_than, &arguments).await,
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
    let on_redis = match &redis {
        Some(settings) => Some(inventory::on_redis(settings).await.map_err(Error::system(asked(settings)))?),
        None => None,
    };
    report(on_disk, on_redis, arguments.format);
    Ok(ExitCode::SUCCESS)
}

async fn clear(older_than: Option<Span>, arguments: &CacheArguments) -> Result<ExitCode> {
    let (folder, redis) = levels(arguments)?;
    // What was made exactly so long ago goes.
    let made_before = older_than.map(|Span(age)| {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        now().saturating_sub(age).saturating_add(1)
    });
    let from_disk = inventory::clear_disk(&folder, made_before);
    let from_disk = from_disk.map_err(Error::system(format!("clear {}", folder.display())))?;
    let from_redis = match &redis {
        Some(settings) => {
            Some(inventory::clear_redis(settings, made_before).await.map_err(Error::system(asked(settings)))?)
        }
        None => None,
    };
    report(from_disk, from_redis, arguments.format);
    Ok(ExitCode::SUCCESS)
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

fn report(disk: Holding, redis: Option<Holding>, format: Format) {
    let levels: Vec<(&str, Holding)> =
        redis.map(|redis| ("redis", redis)).into_iter().chain([("disk", disk)]).collect();
    match format {
        Format::Table => {
            let rows: Vec<Vec<String>> = levels
                .iter()
                .map(|(name, holding)| vec![(*name).to_owned(), holding.entries.to_string(), holding.bytes.to_string()])
                .collect();
            print(&table(&["LEVEL", "ENTRIES", "BYTES"], &rows));
        }
        Format::Json | Format::Jsonl => {
            let levels: Map<_, _> = levels.iter().map(|(name, holding)| ((*name).to_owned(), json!(holding))).collect();
            print(&json!(levels).to_string());
        }
    }
}
