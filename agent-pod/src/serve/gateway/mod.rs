//! `docket gateway`: takes documents over HTTP and gRPC, tells what becomes of them, and does what must happen although no
//! worker may run: timers, and the sweep of documents that do not move.

mod api;
mod credits;
mod estimate;
mod http;
mod keeping;
mod refusal;
mod rpc;
mod stats;
pub(super) mod tokens;
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

use self::{api::Api, credits::Credits, stats::Loads, tokens::Tokens};
use super::{
    config::GatewayConfig,
    health::{self, Health},
    inference::{self, Backend, Directory, Inference, Workers},
    listen::{self, Bounds},
    parts::Parts,
    status::{self, Live, Loaded, Speaker},
    worker,
};
use crate::{
    Error, Result,
    args::GatewayArguments,
    commands::note,
    runtime::{
        drivers::Drivers,
        metrics::Metrics,
        models,
        services::Services,
        state::State,
        stop::{Signals, Stop},
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
    let signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    let tokens = Arc::new(Tokens::open(config.tokens.as_deref())?);
    let (stop, health_stop) = (Stop::default(), Stop::default());
    let metrics = Arc::new(Metrics::default().with_process());
    let services: Arc<OnceLock<Arc<Services>>> = Arc::default();
    let for_metrics = Arc::clone(&services);
    let health = Health::new(&stop, &metrics, move |metrics| {
        if let Some(services) = for_metrics.get() {
            metrics.cache(&services.cache.statistics());
        }
    });
    health::spawn(&health, config.process.health, &health_stop).await?;
    let store = open(&config).await?;
    let drivers = Drivers::of_store(store.ports().clone(), Arc::clone(&metrics));
    let mut plans = BTreeMap::new();
    for (name, plan) in &config.plans {
        plans.insert(name.clone(), drivers.plans().put(plan.clone()).await?);
    }
    let mut parts = Parts::default();
    let live = Live::new(Arc::clone(&store.ports().statuses));
    let (backend, opened) = match &store {
        Store::Folder(state) => {
            let begun = Instant::now();
            let opened = open_services(&config, state).await?;
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
        spawn_workers(&mut parts, &config, &drivers, &stop, loaded);
    }
    let limits = config.limits.clone();
    let api = Arc::new(Api {
        drivers,
        ports: store.ports().clone(),
        plans,
        credits: Credits::new(limits.in_flight),
        tokens,
        watchers: Arc::new(Semaphore::new(limits.watchers as usize)),
        room: Api::room(&limits),
        live,
        loads: Loads::default(),
        limits,
        stop: stop.clone(),
    });
    // Before anyone can submit: what is in flight from before counts.
    keeping::count(&api).await.map_err(Error::system("count the documents in flight"))?;
    keeping::spawn(&mut parts, &api);
    serve(&mut parts, &api, &inference, &config).await?;
    health.ready();
    let names: Vec<&str> = api.plans.keys().map(String::as_str).collect();
    note(&format!("gateway {} serves {}", config.process.name, names.join(", ")));
    let ended = parts.run(&stop, signals, config.process.grace).await;
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
async fn open_services(config: &GatewayConfig, state: &State) -> Result<Arc<Services>> {
    let plans: Vec<Arc<Plan>> = config.plans.values().cloned().map(Arc::new).collect();
    let (engine, names) = models::start(&plans, config.process.models.as_deref()).await?;
    Services::open(state, engine, names).map(Arc::new)
}

/// The models of all pools, and which pipelines use them.
fn directory(config: &GatewayConfig, services: Option<&Services>) -> Directory {
    let mut directory = Directory::default();
    for plan in config.plans.values() {
        for (pool, spec) in &plan.pools {
            directory.add(pool, spec, [plan.name.clone()], services.map(|services| &services.models));
        }
    }
    directory
}

/// Without a broker there are no other processes: the gateway works all pools itself.
fn spawn_workers(
    parts: &mut Parts,
    config: &GatewayConfig,
    drivers: &Drivers,
    stop: &Stop,
    loaded: impl Fn(&AgentPoolSpec) -> Loaded,
) {
    let pools: BTreeMap<_, _> = config.plans.values().flat_map(|plan| &plan.pools).collect();
    let alone = Arc::default();
    for (pool, spec) in pools {
        let loaded = loaded(spec);
        let (services, statuses) = (Arc::clone(&loaded.services), Arc::clone(&loaded.services.ports.statuses));
        let speaker = Speaker {
            name: config.process.name.clone(),
            pool: pool.clone(),
            slots: spec.effective().concurrency,
            standing: Arc::default(),
            stop: stop.clone(),
            address: None,
            loaded: OnceLock::from(loaded),
        };
        let needed = (drivers.clone(), services, Arc::clone(&speaker.standing));
        let worker = worker::build(&config.process.name, pool, spec, needed, &alone);
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

async fn serve(parts: &mut Parts, api: &Arc<Api>, inference: &Arc<Inference>, config: &GatewayConfig) -> Result<()> {
    let bounds = || Bounds {
        connections: api.limits.connections,
        streams: api.limits.streams,
        header_bytes: api.limits.header_bytes,
    };
    if let Some(address) = config.grpc {
        let listener = listen::bind("grpc", address).await?;
        let (routes, bounds, stop) = (rpc::routes(api)?, bounds(), api.stop.clone());
        parts.spawn(async move { listen::serve(listener, routes, &bounds, stop).await });
    }
    let listener = listen::bind("http", config.http).await?;
    let (routes, bounds, stop) = (http::routes(api).merge(inference::routes(inference)), bounds(), api.stop.clone());
    parts.spawn(async move { listen::serve(listener, routes, &bounds, stop).await });
    Ok(())
}
