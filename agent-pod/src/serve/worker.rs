//! `docket worker`: works the tasks of one pool.

use std::{process::ExitCode, sync::Arc, time::Instant};

use queue::jetstream;
use tokio::sync::RwLock;

use super::{config::WorkerConfig, health, health::Health, parts::Parts};
use crate::{
    Error, Result,
    args::WorkerArguments,
    commands::note,
    runtime::{
        cache::orders,
        drivers::Drivers,
        metrics::Metrics,
        models,
        services::Services,
        stop::{Signals, Stop},
        worker::{OnFailure, Worker},
    },
};

/// Works until a signal comes.
pub(crate) async fn worker(arguments: WorkerArguments) -> Result<ExitCode> {
    let config = WorkerConfig::read(&arguments)?;
    // From the very beginning: a pod may be asked to stop while its models are loading.
    let signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    let (stop, health_stop) = (Stop::default(), Stop::default());
    let metrics = Arc::new(Metrics::default().with_process());
    let services: Arc<std::sync::OnceLock<Arc<Services>>> = Arc::default();
    let for_metrics = Arc::clone(&services);
    let health = Health::new(&stop, &metrics, move |metrics| {
        if let Some(services) = for_metrics.get() {
            metrics.cache(&services.cache.statistics());
        }
    });
    let mut parts = Parts::default();
    health::spawn(&health, config.process.health, &health_stop).await?;
    let grace = config.process.grace;
    let stopping = stop.clone();
    parts.spawn(async move {
        let store = jetstream::open(config.nats).await.map_err(Error::system("open the broker's ports"))?;
        let begun = Instant::now();
        let pools = [(config.pool.clone(), config.spec.clone())];
        let (engine, names) =
            models::start_pools(pools.iter().map(|(name, spec)| (name, spec)), config.process.models.as_deref())
                .await?;
        metrics.models_loaded(begun.elapsed());
        let folder = &config.process.state;
        std::fs::create_dir_all(folder).map_err(Error::system(format!("make the folder {}", folder.display())))?;
        let mut opened = Services::open_at(folder, store.ports.clone(), engine, names)?;
        if let Some(settings) = config.process.redis {
            opened.cache.use_redis(settings).await;
        }
        let opened = Arc::new(opened);
        // Before anything is answered from it.
        let obeyed = orders::catch_up(&opened.cache, store.ports.records.as_ref()).await;
        let _ = services.set(Arc::clone(&opened));
        let drivers = Drivers::of_store(store.ports.clone(), metrics);
        let (caches, until) = (Arc::clone(&opened), stopping.clone());
        let worker = build(&config.process.name, &config.pool, &config.spec, (drivers, opened), &Arc::default());
        health.ready();
        note(&format!("worker {} takes tasks of pool {}", config.process.name, config.pool));
        let listening = async {
            orders::listen(&caches.cache, &caches.ports, &config.process.name, (obeyed, until)).await;
            Ok(())
        };
        let working = async { worker.run(stopping).await.map_err(Error::system("work")) };
        tokio::try_join!(working, listening).map(drop)
    });
    let ended = parts.run(&stop, signals, grace).await;
    health_stop.cordon();
    ended.map(|()| ExitCode::SUCCESS)
}

/// The worker of one pool.
pub(super) fn build(
    name: &str,
    pool: &str,
    spec: &crds::AgentPoolSpec,
    (drivers, services): (Drivers, Arc<Services>),
    alone: &Arc<RwLock<()>>,
) -> Worker {
    Worker {
        name: name.to_owned(),
        pool: pool.to_owned(),
        concurrency: spec.effective().concurrency as usize,
        drivers,
        services,
        alone: Arc::clone(alone),
        on_failure: OnFailure::GoOn,
    }
}
