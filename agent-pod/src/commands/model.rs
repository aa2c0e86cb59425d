//! `docket model`: what the catalogue offers, and getting it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use engine::catalogue::{self, Catalogue, Progress, PullSettings};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{note, print, run::summary::word, table};
use crate::{
    Error, Result,
    args::{Format, ModelCommand},
    runtime::stop::Signals,
};

/// The hub's mirror.
const MIRROR: &str = "HF_ENDPOINT";
/// Exit status of a process that a signal ended, as shells tell it.
const STOPPED: i32 = 128 + 15;

pub(super) async fn model(command: ModelCommand) -> Result<ExitCode> {
    let catalogue = Catalogue::load(None).map_err(Error::system("read the model catalogue"))?;
    match command {
        ModelCommand::List { models, format } => {
            list(&catalogue, &folder(models.folder), format);
            Ok(ExitCode::SUCCESS)
        }
        ModelCommand::Pull { names, models } => pull(catalogue, names, folder(models.folder)).await,
    }
}

fn folder(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(catalogue::models_folder)
}

fn list(catalogue: &Catalogue, folder: &Path, format: Format) {
    let models: Vec<Value> = catalogue
        .list()
        .map(|entry| {
            json!({
                "name": entry.name, "task": format!("{:?}", entry.task), "bytes": entry.bytes(), "licence": entry.licence,
                "description": entry.description, "here": catalogue::installed(entry, &folder.join(&entry.name)).is_some(),
            })
        })
        .collect();
    match format {
        Format::Json => print(&Value::Array(models).to_string()),
        Format::Jsonl => models.iter().for_each(|model| print(&model.to_string())),
        Format::Table => {
            let rows: Vec<Vec<String>> = models
                .iter()
                .map(|model| {
                    let here = if model["here"] == true { "yes" } else { "no" };
                    let size = format!("{} MB", model["bytes"].as_u64().unwrap_or(0) / 1_000_000);
                    vec![
                        word(&model["name"]),
                        word(&model["task"]),
                        size,
                        here.to_owned(),
                        word(&model["licence"]),
                        word(&model["description"]),
                    ]
                })
                .collect();
            print(&table(&["NAME", "TASK", "SIZE", "HERE", "LICENCE", "DESCRIPTION"], &rows));
        }
    }
}

/// From the hub, or from the mirror that the variable of the hub's own tools names.
fn settings() -> PullSettings {
    let usual = PullSettings::default();
    match std::env::var(MIRROR).ok().filter(|url| !url.is_empty()) {
        Some(url) => PullSettings { hub_url: url.trim_end_matches('/').to_owned(), ..usual },
        None => usual,
    }
}

/// Ends the process at the first signal. An agent's pod pulls in its first container, as process 1, and the kernel keeps
/// signals from process 1 that it does not listen to: the pod would stay for its whole grace period. What was fetched so far
/// has not got its name yet.
fn end_by_signal() -> Result<()> {
    let mut signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    tokio::spawn(async move {
        signals.next().await;
        note("asked to stop: nothing is pulled any more");
        std::process::exit(STOPPED);
    });
    Ok(())
}

async fn pull(catalogue: Catalogue, names: Vec<String>, folder: PathBuf) -> Result<ExitCode> {
    let known: Vec<&str> = catalogue.list().map(|entry| entry.name.as_str()).collect();
    let unknown: Vec<String> = names
        .iter()
        .filter(|name| catalogue.entry(name).is_none())
        .map(|name| format!("the catalogue has no \"{name}\"; it has: {}", known.join(", ")))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::Usage(unknown));
    }
    end_by_signal()?;
    let settings = settings();
    for name in names {
        let Some(entry) = catalogue.entry(&name).cloned() else { continue };
        let place = folder.join(&name);
        if catalogue::installed(&entry, &place).is_some() {
            note(&format!("{name}: here already"));
            continue;
        }
        let bar = ProgressBar::new(entry.bytes());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {bytes}/{total_bytes}  {bytes_per_sec}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        let (shown, settings) = (bar.clone(), settings.clone());
        let pulled = tokio::task::spawn_blocking(move || {
            let tell = |progress: Progress<'_>| {
                shown.set_message(progress.file.to_owned());
                shown.set_length(progress.total.unwrap_or(progress.bytes));
                shown.set_position(progress.bytes);
            };
            catalogue::pull(&entry, &place, &settings, &tell)
        });
        let pulled = pulled.await.map_err(Error::system(format!("pull {name}")))?;
        bar.finish_and_clear();
        pulled.map_err(Error::system(format!("pull {name}")))?;
        note(&format!("{name}: pulled and checked"));
    }
    Ok(ExitCode::SUCCESS)
}
