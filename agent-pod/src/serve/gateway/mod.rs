//! `docket gateway`: takes documents over HTTP and gRPC, tells what becomes of them, and does what must happen although no
//! worker may run: timers, and the sweep of documents that do not move.

mod api;
mod caches;
mod credits;
mod http;
mod keeping;
mod refusal;
mod rpc;
mod tokens;
mod watch;

use std::{
    collections::BTreeMap,
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use flow::Plan;
use queue::{Ports, jetstream};
use tokio::sync::Semaphore;

use self::{api::Api, credits::Credits, tokens::Tokens};
use super::{
    config::GatewayConfig,
    health::{self, Health},
    listen::{self, Bounds},
    parts::Parts,
    worker,
};
use crate::{
    Error, Result,
    args::GatewayArguments,
    commands::note,
    runtime::{
        cache::orders,
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
    let config = GatewayConfig::read(&arguments.serve, arguments.http.as_deref(), arguments.grpc.as_deref())?;
    let signals = Signals::listen().map_err(Error::system("listen for signals"))?;
    let tokens = Tokens::open(config.tokens.as_deref())?;
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
    if let Store::Folder(state) = &store {
        let opened = spawn_workers(&mut parts, &config, state, &drivers, &stop).await?;
        let _ = services.set(opened);
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
        redis: config.process.redis.clone(),
        limits,
        stop: stop.clone(),
    });
    // Before anyone can submit: what is in flight from before counts.
    keeping::count(&api).await.map_err(Error::system("count the documents in flight"))?;
    keeping::spawn(&mut parts, &api);
    serve(&mut parts, &api, &config).await?;
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

/// Without a broker there are no other processes: the gateway works all pools itself.
async fn spawn_workers(
    parts: &mut Parts,
    config: &GatewayConfig,
    state: &State,
    drivers: &Drivers,
    stop: &Stop,
) -> Result<Arc<Services>> {
    let plans: Vec<Arc<Plan>> = config.plans.values().cloned().map(Arc::new).collect();
    let models: Option<&Path> = config.process.models.as_deref();
    let (engine, names) = models::start(&plans, models).await?;
    let mut services = Services::open(state, engine, names)?;
    if let Some(settings) = &config.process.redis {
        services.cache.use_redis(settings.clone()).await;
    }
    let services = Arc::new(services);
    let obeyed = orders::catch_up(&services.cache, services.ports.records.as_ref()).await;
    let (listening, name, until) = (Arc::clone(&services), config.process.name.clone(), stop.clone());
    parts.spawn(async move {
        orders::listen(&listening.cache, &listening.ports, &name, (obeyed, until)).await;
        Ok(())
    });
    let pools: BTreeMap<_, _> = plans.iter().flat_map(|plan| &plan.pools).collect();
    let alone = Arc::default();
    for (pool, spec) in pools {
        let worker = worker::build(&config.process.name, pool, spec, (drivers.clone(), Arc::clone(&services)), &alone);
        let (pool, stop) = (pool.clone(), stop.clone());
        parts.spawn(async move {
            worker.run(stop).await.map_err(Error::system(format!("work the tasks of pool \"{pool}\"")))
        });
    }
    Ok(services)
}

async fn serve(parts: &mut Parts, api: &Arc<Api>, config: &GatewayConfig) -> Result<()> {
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
    let (routes, bounds, stop) = (http::routes(api), bounds(), api.stop.clone());
    parts.spawn(async move { listen::serve(listener, routes, &bounds, stop).await });
    Ok(())
}
