//! `docket gateway`: takes documents over HTTP and gRPC, tells what becomes of them, and does what must happen although no
//! worker may run: timers, and the sweep of documents that do not move.

pub mod api;
mod approvals;
mod caches;
pub mod credits;
pub mod erasing;
pub mod estimate;
mod feedback;
mod gate;
mod http;
mod in_flight;
pub mod intake;
mod keeping;
pub mod refusal;
pub mod retaining;
mod rpc;
mod scaling;
pub mod stats;
pub mod tally;
pub mod tokens;
mod watch;

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crds::AgentPoolSpec;
use flow::Plan;
use queue::{Ports, jetstream};
use tokio::sync::Semaphore;

use self::{api::Api, credits::Credits, intake::Intake, stats::Loads, tally::Tallies, tokens::Tokens};
use super::{
    config::GatewayConfig,
    cpu::CpuMeter,
    health::{self, Health},
    inference::{self, Backend, Directory, Inference, Workers},
    listen::{self, Bounds, Protocols, Tls},
    loading,
    parts::Parts,
    status::{self, Live, Loaded, Speaker},
    worker,
};
use crate::{
    Error, Result,
    args::GatewayArguments,
    commands::note,
    error::chain,
    results::{self, Rows, Sinks},
    runtime::{
        cache::orders,
        drivers::Drivers,
        erasure::Opinions,
        learner::Learner,
        metrics::Metrics,
        models, now,
        services::Services,
        state::State,
        stop::{Signals, Stop},
        worker::OnFailure,
    },
};

/// What keeps a store open.
enum Store {
    Broker(jetstream::JetStream),
    Folder(State),
}

impl Store {
    fn ports(&self) -> &Ports {
        match self {
            Self::Broker(store) => &store.ports,
            Self::Folder(state) => &state.ports,
        }
    }
}

/// Serves until a signal comes.
pub(crate) async fn gateway(arguments: GatewayArguments) -> Result<ExitCode> {
    let started = Instant::now();
    let config = GatewayConfig::read(&arguments.serve, arguments.http.as_deref(), arguments.grpc.as_deref())?;
    super::arm(&arguments.serve)?;
    let mut signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    let tls = config.tls.clone().map(Tls::open).transpose();
    let tls = tls.map_err(|error| Error::usage(format!("tls: {}", chain(&error))))?.map(Arc::new);
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
    health::spawn(&health, &config.process, &health_stop).await?;
    let store = tokio::select! {
        store = open(&config) => store?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let drivers = Drivers::of_store(store.ports().clone(), Arc::clone(&metrics));
    let mut plans = BTreeMap::new();
    for (name, plan) in &config.plans {
        plans.insert(name.clone(), drivers.plans().put(plan.clone()).await?);
    }
    let mut parts = Parts::default();
    let mut working = config.plans.values().cloned().map(Arc::new).collect::<Vec<Arc<Plan>>>();
    let live = Live::new(Arc::clone(&store.ports().statuses));
    let (backend, opened) = match &store {
        Store::Folder(state) => {
            let begun = Instant::now();
            // Documents go on by the plan that they began with: with its models, and in its pools, also where no file names them.
            let in_flight = in_flight::plans(&state.ports, drivers.plans()).await?;
            let differs = |plan: &Arc<Plan>| config.plans.get(&plan.name).is_none_or(|now| now.digest != plan.digest);
            let earlier: Vec<Arc<Plan>> = in_flight.into_iter().filter(differs).collect();
            for plan in &earlier {
                note(&format!("documents of pipeline \"{}\" go on by their earlier plan {}", plan.name, plan.digest));
            }
            working.extend(earlier);
            let opened = tokio::select! {
                opened = open_services(&working, &config, state) => opened?,
                () = signals.next() => return Ok(ExitCode::SUCCESS),
            };
            metrics.with_providers(opened.models.meters());
            let _ = services.set(Arc::clone(&opened));
            (Backend::Engine(opened.engine.clone()), Some((opened, begun.elapsed())))
        }
        Store::Broker(_) => (Backend::Workers(Workers::new(Arc::clone(&live), config.inference.time.0)?), None),
    };
    let inference = Inference::new(inference::Settings {
        directory: directory(&config, opened.as_ref().map(|(services, _)| services.as_ref())),
        backend,
        tokens: Arc::clone(&tokens),
        limits: config.inference.clone(),
        metrics: Arc::clone(&metrics),
        stop: stop.clone(),
    });
    if let Some((services, models_took)) = opened {
        let loaded = |spec: &AgentPoolSpec| Loaded {
            models_took,
            ready_after: started.elapsed(),
            models: status::held_models(spec, &services),
            services: Arc::clone(&services),
            inference: Some(Arc::clone(&inference)),
        };
        spawn_caches(&mut parts, &config.process.name, &services, &stop).await;
        spawn_workers(&mut parts, (&config.process.name, &working), &drivers, &stop, &services, loaded);
    }
    let limits = config.limits.clone();
    let sinks = Sinks::new(Arc::clone(&store.ports().payloads), &config.process.state, Arc::clone(&metrics));
    let sinks = Arc::new(sinks.reaching(&config.reach));
    spawn_results(&mut parts, &config.process.name, (&drivers, &sinks), &stop);
    let mut places = erasing::places(&store, services.get(), config.process.redis.as_ref());
    places.push(Arc::new(Rows { sinks: Arc::clone(&sinks), plans: plans.values().cloned().collect() }));
    places.push(Arc::new(Opinions { records: Arc::clone(&store.ports().records) }));
    let api = Arc::new(Api {
        eraser: erasing::eraser(&drivers, store.ports(), places),
        passes: config.retention.clone(),
        drivers,
        ports: store.ports().clone(),
        plans,
        closed: config.closed.clone(),
        credits: Credits::new(limits.in_flight),
        tokens,
        watchers: Arc::new(Semaphore::new(limits.watchers as usize)),
        intake: Intake::new(&limits),
        live,
        loads: Loads::default(),
        tallies: Tallies::default(),
        redis: config.process.redis.clone(),
        limits,
        stop: stop.clone(),
        sinks,
        works_alone: matches!(store, Store::Folder(_)),
    });
    // Before anyone can submit: what is in flight from before counts.
    let counted = tokio::select! {
        counted = keeping::count(&api) => Some(counted),
        () = signals.next() => None,
    };
    let Some(counted) = counted else {
        let ended = parts.stop(&stop, signals, config.process.grace).await;
        return ended.map(|()| ExitCode::SUCCESS);
    };
    counted.map_err(Error::system("count the documents in flight"))?;
    keeping::spawn(&mut parts, &api, &config.process.name);
    retaining::spawn(&mut parts, &api, matches!(store, Store::Broker(_)));
    serve(&mut parts, &api, &inference, tls, &config).await?;
    health.ready();
    let names: Vec<&str> = api.plans.keys().map(String::as_str).collect();
    note(&format!("gateway {} serves {}", config.process.name, names.join(", ")));
    // Who sends clients here hears a little later than this process that it is to end.
    let times = (config.farewell, config.process.grace);
    let ended = parts.run_with_farewell(&stop, signals, times).await;
    health_stop.cordon();
    drop(store);
    ended.map(|()| ExitCode::SUCCESS)
}

async fn open(config: &GatewayConfig) -> Result<Store> {
    match &config.nats {
        Some(settings) => {
            let store = jetstream::open(settings.clone()).await;
            store.map(Store::Broker).map_err(Error::system("open the broker's ports"))
        }
        None => State::open(&config.process.state).map(Store::Folder),
    }
}

/// Everything that stages use, for a gateway that works its pools itself.
async fn open_services(plans: &[Arc<Plan>], config: &GatewayConfig, state: &State) -> Result<Arc<Services>> {
    let (plans, folder, reach) = (plans.to_vec(), config.process.models.clone(), config.reach.clone());
    let loading = loading::aside(move || async move { models::start(&plans, folder.as_deref(), &reach).await });
    let (engine, names) = loading.await?;
    let mut services = Services::open(state, engine, names)?;
    if let Some(settings) = &config.process.redis {
        services.cache.use_redis(settings.clone()).await;
    }
    Ok(Arc::new(services))
}

/// Obeys what caches are told: at first what came while the process was away, before anything is answered from its cache.
async fn spawn_caches(parts: &mut Parts, name: &str, services: &Arc<Services>, stop: &Stop) {
    let obeyed = orders::catch_up(&services.cache, services.ports.records.as_ref()).await;
    let (services, name, until) = (Arc::clone(services), name.to_owned(), stop.clone());
    parts.spawn(async move {
        orders::listen(&services.cache, &services.ports, &name, (obeyed, until)).await;
        Ok(())
    });
}

/// The models of all pools, and which pipelines use them.
fn directory(config: &GatewayConfig, services: Option<&Services>) -> Directory {
    let mut directory = Directory::default();
    // Agents hold what pools say now.
    for plan in config.plans.values().filter(|plan| !config.former.contains(&plan.name)) {
        for (pool, spec) in &plan.pools {
            directory.add(pool, spec, [plan.name.clone()], services.map(|services| &services.models));
        }
    }
    directory
}

/// Without a broker there are no other processes: the gateway works all pools itself.
fn spawn_workers(
    parts: &mut Parts,
    (name, plans): (&str, &[Arc<Plan>]),
    drivers: &Drivers,
    stop: &Stop,
    services: &Arc<Services>,
    loaded: impl Fn(&AgentPoolSpec) -> Loaded,
) {
    let mut pools = BTreeMap::new();
    for (pool, spec) in plans.iter().flat_map(|plan| &plan.pools) {
        pools.entry(pool).or_insert(spec);
    }
    let learner = Learner {
        drivers: drivers.clone(),
        services: Arc::clone(services),
        pools: pools.keys().map(|pool| (*pool).clone()).collect(),
    };
    let until = stop.clone();
    parts.spawn(async move {
        learner.run(until).await;
        Ok(())
    });
    let (alone, began) = (Arc::default(), now());
    for (pool, spec) in pools {
        let loaded = loaded(spec);
        let (services, statuses) = (Arc::clone(services), Arc::clone(&services.ports.statuses));
        let speaker = Speaker {
            name: name.to_owned(),
            pool: pool.clone(),
            slots: spec.effective().concurrency,
            standing: Arc::default(),
            stop: stop.clone(),
            cpu: CpuMeter::of_this_process(),
            began,
            address: None,
            loaded: OnceLock::from(loaded),
        };
        let needed = (drivers.clone(), services, Arc::clone(&speaker.standing));
        let worker = worker::build(name, pool, spec, needed, &alone);
        let (pool, stop) = (pool.clone(), stop.clone());
        parts.spawn(async move {
            let worked = tokio::select! {
                worked = worker.run(stop) => worked,
                never = speaker.speak(statuses.as_ref()) => match never {},
            };
            speaker.fall_silent(statuses.as_ref()).await;
            worked.map_err(Error::system(format!("work the tasks of pool \"{pool}\"")))
        });
    }
}

/// Results are written here, since a gateway runs although no worker may. Of all pipelines, also those whose plan of today
/// writes none: documents keep the plan that they began with.
fn spawn_results(parts: &mut Parts, name: &str, (drivers, sinks): (&Drivers, &Arc<Sinks>), stop: &Stop) {
    let worker = results::worker(name.to_owned(), drivers.clone(), Arc::clone(sinks), OnFailure::GoOn);
    // Later the next gateway writes them; where there is none, what a worker asks the broker for would be made again.
    let stop = stop.of_work();
    parts.spawn(async move { worker.run(stop).await.map_err(Error::system("write results")) });
}

async fn serve(
    parts: &mut Parts,
    api: &Arc<Api>,
    inference: &Arc<Inference>,
    tls: Option<Arc<Tls>>,
    config: &GatewayConfig,
) -> Result<()> {
    let bounds = || Bounds {
        connections: api.limits.connections,
        streams: api.limits.streams,
        header_bytes: api.limits.header_bytes,
    };
    let acceptor = |protocols| tls.clone().map(|tls| (tls, protocols));
    if let Some(address) = config.grpc {
        let listener = listen::bind("grpc", address).await?;
        let (routes, bounds, stop, tls) = (rpc::routes(api)?, bounds(), api.stop.clone(), acceptor(Protocols::Grpc));
        parts.spawn(async move { listen::serve(listener, routes, (&bounds, tls), stop).await });
    }
    let listener = listen::bind("http", config.http).await?;
    let routes = http::routes(api).merge(inference::routes(inference));
    let (bounds, stop, secret) = (bounds(), api.stop.clone(), acceptor(Protocols::Http));
    parts.spawn(async move { listen::serve(listener, routes, (&bounds, secret), stop).await });
    if let Some(tls) = tls {
        api.drivers.metrics().has_certificate();
        let api = Arc::clone(api);
        parts.spawn(async move {
            tls.follow(api.drivers.metrics(), &api.stop).await;
            Ok(())
        });
    }
    Ok(())
}
