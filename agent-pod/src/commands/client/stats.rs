//! `docket stats`: what waits at a gateway, who works there and how long work takes.

use std::process::ExitCode;

use reqwest::Method;
use serde_json::Value;

use super::connection::Connection;
use crate::{
    Result,
    args::{Format, StatsArguments},
    commands::{print, run::summary::word, table},
};

/// Prints the gateway's numbers.
pub(in crate::commands) async fn stats(arguments: StatsArguments) -> Result<ExitCode> {
    let connection = Connection::to(&arguments.gateway, arguments.token.as_deref(), &arguments.tls)?;
    let stats = connection.ask(|| connection.request(Method::GET, &["v1", "stats"], &[])).await??;
    match arguments.format {
        Format::Table => print(&tables(&stats)),
        Format::Json | Format::Jsonl => print(&stats.to_string()),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a gateway says of its pools, as tables.
pub fn tables(stats: &Value) -> String {
    let pools = items(&stats["pools"]);
    let pool = |pool: &Value| {
        let waiting = ["critical", "high", "normal", "low"].map(|priority| word(&pool["waiting"][priority]));
        let workers = items(&pool["workers"]).len().to_string();
        let work = format!("{}/{}", word(&pool["inWork"]), word(&pool["slots"]));
        [vec![word(&pool["name"])], waiting.to_vec(), vec![seconds(&pool["oldestSeconds"]), workers, work]].concat()
    };
    let worker = |worker: &Value| {
        let says = |word: &str| worker[word] == true;
        let state = match (says("ready"), says("cordoned"), says("resting")) {
            (_, true, true) => "resting",
            (_, true, false) => "stopping",
            (true, false, _) => "ready",
            (false, false, _) => "loading",
        };
        let models: Vec<String> = items(&worker["models"]).iter().map(|model| word(&model["name"])).collect();
        let work = format!("{}/{}", word(&worker["inWork"]), word(&worker["slots"]));
        let cells = [&worker["pool"], &worker["name"]].map(word);
        [&cells[..], &[state.to_owned(), work, word(&worker["interactive"]), models.join(" ")]].concat()
    };
    let time = |(pool, time): (&Value, &Value)| {
        let cells = [&pool["name"], &time["pipeline"], &time["stage"], &time["count"]].map(word);
        let times = ["mean", "p50", "p95"].map(|key| seconds(&time[key]));
        [cells.to_vec(), times.to_vec()].concat()
    };
    let cached = |pool: &Value| {
        let levels = pool["cache"].as_object().into_iter().flatten();
        let row = |(level, counts): (&String, &Value)| {
            let rate =
                counts["hitRate"].as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{:.0} %", rate * 100.0));
            let cells = [&counts["hits"], &counts["misses"], &counts["errors"]].map(word);
            [vec![word(&pool["name"]), level.clone()], cells.to_vec(), vec![rate]].concat()
        };
        levels.map(row).collect::<Vec<_>>()
    };
    let learned = |worker: &Value| {
        let row = |head: &Value| {
            [&worker["pool"], &worker["name"], &head["pipeline"], &head["head"], &head["examples"]].map(word).to_vec()
        };
        items(&worker["heads"]).iter().map(row).collect::<Vec<_>>()
    };
    let pipeline = |pipeline: &Value| vec![word(&pipeline["name"]), word(&pipeline["open"])];
    let workers = || pools.iter().flat_map(|pool| items(&pool["workers"]));
    let times = pools.iter().flat_map(|pool| items(&pool["serviceTimes"]).iter().map(move |time| (pool, time)));
    let parts: [(&[&str], Vec<Vec<String>>); 6] = [
        (
            &["POOL", "CRITICAL", "HIGH", "NORMAL", "LOW", "OLDEST", "WORKERS", "IN WORK"],
            pools.iter().map(pool).collect(),
        ),
        (&["POOL", "WORKER", "STATE", "IN WORK", "CLIENTS", "MODELS"], workers().map(worker).collect()),
        (&["POOL", "PIPELINE", "STAGE", "TASKS", "MEAN", "P50", "P95"], times.map(time).collect()),
        (&["POOL", "CACHE", "HITS", "MISSES", "ERRORS", "RATE"], pools.iter().flat_map(cached).collect()),
        (&["POOL", "WORKER", "PIPELINE", "HEAD", "EXAMPLES"], workers().flat_map(learned).collect()),
        (&["PIPELINE", "OPEN"], items(&stats["pipelines"]).iter().map(pipeline).collect()),
    ];
    let parts = parts.iter().filter(|(_, rows)| !rows.is_empty()).map(|(head, rows)| table(head, rows));
    parts.collect::<Vec<_>>().join("\n\n")
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3} s"))
}
