//! A folder of what is derived: kept results, vectors, knowledge bases; and the Redis server that belongs to it.
//!
//! Vectors are kept by a digest of their text, which does not tell whose text it was. So all of them go: they can be made again.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use knowledge::erasing::{self, Erased, Rows};

use super::{Order, Place, PlaceReport, Traces};
use crate::{
    error::chain,
    runtime::{
        cache::{ErasedResults, RedisSettings, SETTLE, inventory},
        services::Services,
    },
};

/// The place of a report.
const ON_REDIS: &str = "cache on Redis";

/// A folder, in use by this process or by none.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// What this process holds of it in memory and in open files.
    pub services: Option<Arc<Services>>,
    /// The server that keeps results too, where one is named.
    pub redis: Option<RedisSettings>,
    /// Documents without a record, beside those that traces are given of.
    pub also: Order,
}

#[async_trait]
impl Place for Folder {
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport> {
        self.carry_out(&Order::of(traces).with(self.also.clone())).await
    }
}

impl Folder {
    /// The folder that this process works with.
    pub fn live(path: &Path, services: &Arc<Services>) -> Self {
        let redis = services.cache.redis_settings().cloned();
        Self { path: path.to_path_buf(), services: Some(Arc::clone(services)), redis, also: Order::default() }
    }

    /// Erases and looks again.
    pub async fn carry_out(&self, order: &Order) -> Vec<PlaceReport> {
        let mut reports = Vec::new();
        let results = Arc::new(order.results.clone());
        if let Some(services) = &self.services {
            // What is on its way to the server is there before it is looked for.
            services.cache.settle(SETTLE).await;
        }
        // The server first: the folder and memory take from it, and memory from the folder.
        reports.extend(self.redis(order, &results).await);
        reports.extend(self.results(&results).await);
        reports.push(self.vectors());
        reports.extend(self.knowledge(order).await);
        reports
    }

    /// What is kept in the folder, and in the memory of the process that uses it.
    async fn results(&self, results: &Arc<ErasedResults>) -> Vec<PlaceReport> {
        let (on_disk, in_memory) = match &self.services {
            Some(services) => {
                let (on_disk, in_memory) = services.cache.erase(results).await;
                (on_disk, Some(in_memory))
            }
            None => (inventory::erase_disk(&self.path.join("cache"), results), None),
        };
        let place = "cache on disk";
        let on_disk =
            on_disk.map_or_else(|error| PlaceReport::failed(place, &error), |found| of_results(place, results, found));
        in_memory.map(|found| of_results("cache in memory", results, found)).into_iter().chain([on_disk]).collect()
    }

    async fn redis(&self, order: &Order, results: &ErasedResults) -> Option<PlaceReport> {
        let Some(settings) = &self.redis else {
            // A process that was given no server has put nothing there.
            let unknown = self.services.is_none() && order.on_redis && !results.is_empty();
            let left = vec!["cache.levels of a pipeline name Redis: say with --redis where it is".to_owned()];
            return unknown.then(|| PlaceReport { left, ..PlaceReport::of(ON_REDIS) });
        };
        Some(on_redis(settings, results).await)
    }

    fn vectors(&self) -> PlaceReport {
        let cleared = match &self.services {
            Some(services) => services.clear_vectors(),
            None => remove_files(&self.path.join("vectors")),
        };
        match cleared {
            Ok(removed) => PlaceReport { removed, absent: removed, ..PlaceReport::of("kept vectors") },
            Err(error) => PlaceReport::failed("kept vectors", &error),
        }
    }

    async fn knowledge(&self, order: &Order) -> Vec<PlaceReport> {
        let own = self.path.join("knowledge");
        let mut work: Vec<(PathBuf, Option<&str>, Rows)> = Vec::new();
        if order.tenant.is_some() || !order.everywhere.is_empty() {
            let rows = Rows { documents: order.everywhere.clone(), tenant: order.tenant.clone() };
            work.push((own.clone(), None, rows));
        }
        for (uri, tables) in &order.knowledge {
            let folder = if uri == "default" { own.clone() } else { PathBuf::from(uri) };
            for (name, documents) in tables {
                let rows = Rows { documents: documents.clone(), tenant: order.tenant.clone() };
                work.push((folder.clone(), Some(name.as_str()), rows));
            }
        }
        let mut reports = Vec::new();
        for (folder, table, rows) in work {
            match erasing::erase(&folder, table, &rows).await {
                Ok(erased) => reports.extend(erased.iter().map(|erased| of_table(&folder, erased))),
                Err(error) => reports.push(PlaceReport::failed(format!("knowledge {}", folder.display()), &error)),
            }
        }
        reports
    }
}

/// A server that keeps results, for a process that has no folder of its own.
pub struct SharedCache(pub RedisSettings);

#[async_trait]
impl Place for SharedCache {
    async fn erase(&self, traces: &Traces) -> Vec<PlaceReport> {
        vec![on_redis(&self.0, &Order::of(traces).results).await]
    }
}

async fn on_redis(settings: &RedisSettings, results: &ErasedResults) -> PlaceReport {
    match inventory::erase_redis(settings, results).await {
        Ok(found) => of_results(ON_REDIS, results, found),
        Err(error) => PlaceReport {
            left: vec![format!("{} cannot be reached: {}", settings.address(), chain(&error))],
            ..PlaceReport::of(ON_REDIS)
        },
    }
}

/// Of results, how many were removed and how many the second look found.
fn of_results(place: &str, results: &ErasedResults, (removed, left): (u64, u64)) -> PlaceReport {
    let looked_for = removed.max(results.keys.len() as u64);
    let again = (left > 0).then(|| format!("{left} results are there again; erase them again"));
    PlaceReport {
        removed,
        absent: looked_for.saturating_sub(left),
        left: again.into_iter().collect(),
        ..PlaceReport::of(place)
    }
}

fn of_table(folder: &Path, erased: &Erased) -> PlaceReport {
    let place = format!("knowledge \"{}\" in {}", erased.table, folder.display());
    let left = (erased.left > 0).then(|| format!("{} rows are there again; erase them again", erased.left));
    PlaceReport {
        removed: erased.rows,
        absent: if erased.left > 0 { 0 } else { erased.rows },
        left: left.into_iter().collect(),
        ..PlaceReport::of(place)
    }
}

/// Removes the files of a folder; how many there were.
fn remove_files(folder: &Path) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.iter().try_for_each(std::fs::remove_file)?;
    Ok(paths.len() as u64)
}
