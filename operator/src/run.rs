//! The life of an operator process: wait for what it needs, take part in the election, work while leading, hand over.
//!
//! Any part's unexpected end ends the process with an error: a process that does half of its work looks healthy and is not.

use std::{io, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all, pending},
    stream::FuturesUnordered,
};
use kube::Client;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinHandle},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent_pool,
    broker::Brokers,
    client::{self, Clients},
    config::Config,
    context::Context,
    events::Events,
    health::{self, Health},
    keda::{self, decided::Decided},
    lease::{Elector, Ended, Identity, KubeLease, Leadership, Timing, TimingError, while_leading},
    metrics::Metrics,
    namespace::{self, Namespaces},
    pipeline,
    pod_monitor::PodMonitors,
    prepare::{self, CREDENTIALS, DEFINITIONS, LEASE},
    scaling::{self, board::Board},
    watching::Scope,
};

/// Handing the Lease over is worth so much of the time between SIGTERM and the end; without it the successor waits.
const RELEASE: Duration = Duration::from_secs(2);

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system gives no signals.
    #[error("failed to listen for signals")]
    ListenForSignals(#[source] io::Error),
    /// See the source.
    #[error("failed to tell how the operator is")]
    Health(#[source] health::Error),
    /// See the source.
    #[error("failed to offer the external scaler")]
    ExternalScaler(#[source] keda::Error),
    /// See the source.
    #[error("failed to reach a cluster")]
    Connect(#[source] client::Error),
    /// A mistake in the program.
    #[error("failed to begin the election")]
    Elect(#[source] TimingError),
    /// A mistake in the program.
    #[error("the {part} has ended by itself")]
    PartEnded {
        /// Which one.
        part: &'static str,
    },
    /// A mistake in the program.
    #[error("the {part} has broken")]
    PartBroken {
        /// Which one.
        part: &'static str,
        /// How.
        #[source]
        source: JoinError,
    },
}

/// A controller, which runs until its token asks it to end; within two seconds then.
pub struct Controller {
    /// For messages.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(Arc<Context>, CancellationToken) -> BoxFuture<'static, ()>,
}

/// All controllers of the operator.
pub fn controllers() -> Vec<Controller> {
    vec![
        Controller { name: "controller of pools", run: |ctx, stop| each_scope(ctx, stop, agent_pool::run).boxed() },
        Controller { name: "controller of pipelines", run: |ctx, stop| each_scope(ctx, stop, pipeline::run).boxed() },
        Controller { name: "autoscaler", run: |ctx, stop| each_scope(ctx, stop, scaling::run).boxed() },
        Controller { name: "controller of namespaces", run: |ctx, stop| namespace::run(ctx, stop).boxed() },
    ]
}

/// Runs a controller for all that is watched: once for the cluster, or once for each namespace.
async fn each_scope<F: Future<Output = ()>>(
    ctx: Arc<Context>,
    stop: CancellationToken,
    run: fn(Arc<Context>, Scope, CancellationToken) -> F,
) {
    let scopes = Scope::of(&ctx.config.watch_namespaces);
    join_all(scopes.into_iter().map(|scope| run(Arc::clone(&ctx), scope, stop.clone()))).await;
}

/// Runs until SIGTERM or SIGINT. What is served and who is written to is in `config`.
pub async fn run(config: Config, controllers: Vec<Controller>) -> Result<(), Error> {
    let stop = stop_by_signal().map_err(Error::ListenForSignals)?;
    let metrics = Arc::new(Metrics::default().with_process());
    let health = Health::new(&[DEFINITIONS, CREDENTIALS, LEASE], &metrics, &stop);
    let listener = health::listen(config.health).await.map_err(Error::Health)?;
    let clients = Clients::connect().await.map_err(Error::Connect)?;
    // Of port 0 the log says which it became.
    let address = listener.local_addr().unwrap_or(config.health);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), health = %address, "started");

    let (decides, decided) = watch::channel(Decided::default());
    let mut scaler = tokio::spawn(external_scaler(&config, &clients, decided, stop.clone()).await?);
    let mut serving = tokio::spawn(health::serve(listener, Arc::clone(&health), config.metrics_token_file.clone()));
    let process = Process { config, controllers, clients, health, metrics, decides, stop };
    tokio::select! {
        ended = process.live() => ended,
        served = &mut serving => Err(match served {
            Ok(Err(error)) => Error::Health(error),
            Ok(Ok(())) => Error::PartEnded { part: "health server" },
            Err(source) => Error::PartBroken { part: "health server", source },
        }),
        scaled = &mut scaler => Err(match scaled {
            Ok(Err(error)) => Error::ExternalScaler(error),
            Ok(Ok(())) => Error::PartEnded { part: "external scaler" },
            Err(source) => Error::PartBroken { part: "external scaler", source },
        }),
    }
}

/// The external scaler, with its address open already; where none is wanted, what never ends.
async fn external_scaler(
    config: &Config,
    clients: &Clients,
    decided: watch::Receiver<Decided>,
    stop: CancellationToken,
) -> Result<BoxFuture<'static, Result<(), keda::Error>>, Error> {
    let Some(address) = config.external_scaler else { return Ok(pending().boxed()) };
    let listener = keda::listen(address).await.map_err(Error::ExternalScaler)?;
    let clients = (clients.calls.clone(), clients.watches.clone());
    let serving = keda::serve(listener, clients, config.watch_namespaces.clone(), decided, stop);
    // After a stop the process ends by its other parts.
    Ok(async move { if let Err(error) = serving.await { Err(error) } else { pending().await } }.boxed())
}

struct Process {
    config: Config,
    controllers: Vec<Controller>,
    clients: Clients,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    /// For the external scaler.
    decides: watch::Sender<Decided>,
    stop: CancellationToken,
}

impl Process {
    async fn live(mut self) -> Result<(), Error> {
        let prepared = tokio::select! {
            prepared = prepare::wait(&self.clients.calls, self.config, &self.health) => prepared,
            () = self.stop.cancelled() => return Ok(()),
        };
        self.config = prepared;
        tokio::spawn(stop_at_a_change(self.clients.calls.clone(), self.config.clone(), self.stop.clone()));

        let identity = Identity::of_process(&self.config.identity);
        let lease = KubeLease::new(self.clients.lease.clone(), &self.config.namespace, &self.config.lease_name);
        let (mut elector, leadership) = Elector::new(lease, identity.clone(), Timing::USUAL).map_err(Error::Elect)?;
        tokio::spawn(tell(leadership.clone(), Arc::clone(&self.metrics), Arc::clone(&self.health)));
        tokio::spawn(keda::decided::follow(leadership.clone(), self.decides));
        let end_of_election = CancellationToken::new();
        // A task of its own: a controller that computes for long must not make the leader late.
        let mut electing = tokio::spawn({
            let stop = end_of_election.clone();
            async move {
                elector.run(&stop).await;
                elector
            }
        });

        let ctx = Arc::new(Context {
            client: self.clients.calls.clone(),
            watches: self.clients.watches.clone(),
            events: Events::new(self.clients.calls.clone(), identity.as_str(), &self.metrics),
            metrics: self.metrics,
            brokers: Brokers::new(self.config.clone(), leadership.clone()),
            scaling: Board::default(),
            config: self.config,
            namespaces: Namespaces::default(),
            pod_monitors: PodMonitors::default(),
            leadership: leadership.clone(),
        });
        let worked = while_leading(leadership, &self.stop, |_, over| work(&self.controllers, Arc::clone(&ctx), over));
        let ended = tokio::select! {
            ended = worked => ended,
            elector = &mut electing => return Err(ended_by_itself("election", elector.err())),
        };
        end_of_election.cancel();
        match ended {
            Ended::Work(Err(error)) => Err(error),
            Ended::Dropped => {
                tracing::warn!(
                    "controllers did not end in time: the Lease is kept, so that no successor meets their writes"
                );
                Ok(())
            }
            Ended::Work(Ok(())) | Ended::Idle => hand_over(electing).await,
        }
    }
}

/// One tenure: runs all controllers until they have ended, which none may do by itself.
pub async fn work(controllers: &[Controller], ctx: Arc<Context>, over: CancellationToken) -> Result<(), Error> {
    ctx.begin_tenure();
    // Not as tasks: whoever drops this future has stopped them all.
    let mut running: FuturesUnordered<_> = controllers
        .iter()
        .map(|controller| {
            let ended = (controller.run)(Arc::clone(&ctx), over.clone());
            async move {
                ended.await;
                controller.name
            }
        })
        .collect();
    while let Some(part) = running.next().await {
        if !over.is_cancelled() {
            return Err(Error::PartEnded { part });
        }
    }
    over.cancelled().await;
    Ok(())
}

async fn hand_over(electing: JoinHandle<Elector<KubeLease>>) -> Result<(), Error> {
    let elector = electing.await.map_err(|source| Error::PartBroken { part: "election", source })?;
    match timeout(RELEASE, elector.release()).await {
        Ok(true) => tracing::info!("stopped; the Lease is not held by this process"),
        _ => tracing::warn!("stopped; the Lease could not be released, a successor waits until it expires"),
    }
    Ok(())
}

fn ended_by_itself(part: &'static str, broken: Option<JoinError>) -> Error {
    match broken {
        Some(source) => Error::PartBroken { part, source },
        None => Error::PartEnded { part },
    }
}

/// Tells metrics and health how the election stands.
async fn tell(mut leadership: watch::Receiver<Leadership>, metrics: Arc<Metrics>, health: Arc<Health>) {
    loop {
        let now = leadership.borrow_and_update().clone();
        metrics.leadership(&now);
        if now != Leadership::Unknown {
            health.found(LEASE);
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Stops this process when it has credentials of before. It is started again and reads those of now, copies them into namespaces, and
/// replaces the pods that have read the former.
async fn stop_at_a_change(client: Client, config: Config, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        secret = prepare::until_changed(&client, &config, prepare::LOOK_AGAIN) => {
            tracing::info!(%secret, "stopping: the Secret has changed, and is read when a process begins");
            stop.cancel();
        }
    }
}

/// A token that a person (Ctrl-C) or a supervisor (SIGTERM) cancels.
fn stop_by_signal() -> io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let next = async |signal: &mut Signal| signal.recv().await;
    tokio::spawn(async move {
        tokio::select! {
            _ = next(&mut interrupt) => {}
            _ = next(&mut terminate) => {}
        }
        tracing::info!("asked to stop");
        asked.cancel();
    });
    Ok(stop)
}
