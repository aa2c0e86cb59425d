//! `docket worker`: works the tasks of one pool, and answers clients of its models.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Instant,
};

use queue::jetstream;
use tokio::{
    net::TcpListener,
    sync::{RwLock, oneshot},
};

use super::{
    config::WorkerConfig,
    cpu::CpuMeter,
    gateway::tokens::Tokens,
    health,
    health::Health,
    inference::{self, Backend, Directory, Inference},
    listen::{self, Bounds},
    loading,
    parts::Parts,
    status::{self, Loaded, Speaker},
};
use crate::{
    Error, Result,
    args::WorkerArguments,
    commands::note,
    runtime::{
        cache::orders,
        drivers::Drivers,
        erasure::{Folder, Follower},
        learner::Learner,
        metrics::Metrics,
        models, now,
        rest::Rest,
        services::Services,
        standing::Standing,
        stop::{Signals, Stop},
        worker::{OnFailure, Work, Worker},
    },
};

/// Connections at once: gateways keep some each, clients of the pool come beside them.
const CONNECTIONS: u32 = 1_024;

/// Works until a signal comes.
pub(crate) async fn worker(arguments: WorkerArguments) -> Result<ExitCode> {
    let started = Instant::now();
    let config = WorkerConfig::read(&arguments)?;
    super::arm(&arguments.serve)?;
    // From the very beginning: a pod may be asked to stop while its models are loading.
    let signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    let (stop, health_stop) = (Stop::default(), Stop::default());
    let metrics = Arc::new(Metrics::default().with_process());
    let tokens = Arc::new(Tokens::open(config.tokens.as_deref(), config.reviews.clone(), &metrics)?);
    let services: Arc<OnceLock<Arc<Services>>> = Arc::default();
    let for_metrics = Arc::clone(&services);
    let health = Health::new(&stop, &metrics, move |metrics| {
        if let Some(services) = for_metrics.get() {
            metrics.cache(&services.cache.statistics());
        }
    });
    let mut parts = Parts::default();
    health::spawn(&health, &config.process, &health_stop).await?;
    let mut speaker = Speaker {
        name: config.process.name.clone(),
        pool: config.pool.clone(),
        slots: config.spec.effective().concurrency,
        standing: Arc::default(),
        stop: stop.clone(),
        cpu: CpuMeter::of_this_process(),
        began: now(),
        address: None,
        loaded: OnceLock::new(),
    };
    let (loaded, loading) = oneshot::channel();
    let mut answering = None;
    if let Some(address) = config.http {
        let listener = listen::bind("http", address).await?;
        let listens_on = listener.local_addr().unwrap_or(address);
        speaker.address = Some(status::advertised(config.advertise.as_deref(), listens_on));
        answering = Some(loaded);
        parts.spawn(answer_clients(listener, loading, stop.clone()));
        let (tokens, stop) = (Arc::clone(&tokens), stop.clone());
        parts.spawn(async move {
            tokens.follow(&stop).await;
            Ok(())
        });
    }
    let grace = config.process.grace;
    let stopping = stop.clone();
    parts.spawn(async move {
        let store = tokio::select! {
            store = jetstream::open(config.nats) => store.map_err(Error::system("open the broker's ports"))?,
            () = stopping.cordoned() => return Ok(()),
        };
        let statuses = Arc::clone(&store.ports.statuses);
        let working = async {
            let begun = Instant::now();
            let (pool, spec) = (config.pool.clone(), config.spec.clone());
            let (folder, reach) = (config.process.models.clone(), config.reach.clone());
            let loading = loading::aside(move || async move {
                models::start_pools(std::iter::once((&pool, &spec)), folder.as_deref(), &reach).await
            });
            let (engine, names) = tokio::select! {
                loaded = loading => loaded?,
                // A pod that is not wanted any more gives its device back at once.
                () = stopping.cordoned() => return Ok(()),
            };
            let models_took = begun.elapsed();
            metrics.models_loaded(models_took);
            let folder = &config.process.state;
            std::fs::create_dir_all(folder).map_err(Error::system(format!("make the folder {}", folder.display())))?;
            let mut opened = Services::open_at(folder, store.ports.clone(), engine, names)?;
            if let Some(settings) = config.process.redis {
                opened.cache.use_redis(settings).await;
            }
            let opened = Arc::new(opened);
            metrics.with_providers(opened.models.meters());
            let _ = services.set(Arc::clone(&opened));
            // Before the first task: what was erased while this folder was away goes from it too.
            let name = &config.process.name;
            let follower = tokio::select! {
                follower = Follower::open(store.ports.clone(), Folder::live(folder, &opened), name) => follower?,
                () = stopping.cordoned() => return Ok(()),
            };
            let obeyed = orders::catch_up(&opened.cache, store.ports.records.as_ref()).await;
            let inference = answering.map(|answering| {
                let mut directory = Directory::default();
                directory.add(&config.pool, &config.spec, config.pipelines, Some(&opened.models));
                let inference = Inference::new(inference::Settings {
                    directory,
                    backend: Backend::Engine(opened.engine.clone()),
                    tokens,
                    limits: config.inference,
                    metrics: Arc::clone(&metrics),
                    stop: stopping.clone(),
                });
                // Nobody receives it where the process is stopping already.
                let _ = answering.send(Arc::clone(&inference));
                inference
            });
            let drivers = Drivers::of_store(store.ports.clone(), metrics);
            let learner =
                Learner { drivers: drivers.clone(), services: Arc::clone(&opened), pools: vec![config.pool.clone()] };
            let until = stopping.clone();
            tokio::spawn(async move { learner.run(until).await });
            let needed = (drivers, Arc::clone(&opened), Arc::clone(&speaker.standing));
            let rest = Rest::default();
            let worker = build(&config.process.name, &config.pool, &config.spec, needed, &Arc::default());
            let worker = Worker { rest: rest.clone(), ..worker };
            health.ready();
            let models = status::held_models(&config.spec, &opened);
            let ready_after = started.elapsed();
            let _ = speaker.loaded.set(Loaded {
                models_took,
                ready_after,
                services: Arc::clone(&opened),
                models,
                inference,
            });
            note(&format!("worker {} takes tasks of pool {}", config.process.name, config.pool));
            let (following, caches) = (stopping.clone(), (obeyed, stopping.clone()));
            let listening = orders::listen(&opened.cache, &opened.ports, name, caches);
            let obeying = rest.follow(statuses.as_ref(), (config.pool.as_str(), name.as_str()), &following);
            let (worked, (), (), ()) =
                tokio::join!(worker.run(stopping), follower.follow(&following), listening, obeying);
            worked.map_err(Error::system("work"))
        };
        let worked = tokio::select! {
            worked = working => worked,
            never = speaker.speak(statuses.as_ref()) => match never {},
        };
        speaker.fall_silent(statuses.as_ref()).await;
        worked
    });
    let ended = parts.run(&stop, signals, grace).await;
    health_stop.cordon();
    ended.map(|()| ExitCode::SUCCESS)
}

/// Answers clients of the pool's models once these are loaded; until then connections wait.
async fn answer_clients(listener: TcpListener, loading: oneshot::Receiver<Arc<Inference>>, stop: Stop) -> Result<()> {
    let loaded = tokio::select! {
        loaded = loading => loaded,
        () = stop.cordoned() => return Ok(()),
    };
    let Ok(inference) = loaded else {
        // Loading has failed: that part says so and ends the process.
        stop.cordoned().await;
        return Ok(());
    };
    listen::serve(listener, inference::routes_alone(&inference), (&Bounds::of(CONNECTIONS), None), stop).await
}

/// The worker of one pool.
pub(super) fn build(
    name: &str,
    pool: &str,
    spec: &crds::AgentPoolSpec,
    (drivers, services, standing): (Drivers, Arc<Services>, Arc<Standing>),
    alone: &Arc<RwLock<()>>,
) -> Worker {
    Worker {
        name: name.to_owned(),
        pool: pool.to_owned(),
        concurrency: spec.effective().concurrency as usize,
        drivers,
        work: Work::Stages(services),
        alone: Arc::clone(alone),
        on_failure: OnFailure::GoOn,
        standing,
        rest: Rest::default(),
    }
}
