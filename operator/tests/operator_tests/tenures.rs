//! A process that leads, then does not, then leads again: what it knows by then, with a real broker that has accounts.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use operator::{
    broker::Brokers,
    client::Clients,
    condition::{Observed, State},
    config::{Config, Credentials},
    context::Context,
    lease::Leadership,
    names,
    run::{Controller, work},
    scaling::{CONDITION, board::Report},
};
use queue::{
    Message, Ports, Priority,
    jetstream::{self, Keys, Role, Settings},
};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "tenures";
const POOL: &str = "readers";
const AGENTS: Role<'static> = Role::Agents { pool: POOL, orders: flow::keys::ORDERS };

fn leading(epoch: u32) -> Leadership {
    Leadership::Leading { epoch, until: Instant::now() + Duration::from_secs(3_600) }
}

/// A process that leads when it is told to.
fn process(config: Config) -> (Arc<Context>, watch::Sender<Leadership>) {
    let (leads, leadership) = watch::channel(Leadership::Following { holder: None });
    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().expect("a URL"));
    let clients = Clients::new(&nowhere).expect("clients");
    (Arc::new(crate::support::context(clients, config, leadership)), leads)
}

/// Does its work and ends.
async fn tenure(ctx: &Arc<Context>, controllers: &[Controller]) {
    let over = CancellationToken::new();
    over.cancel();
    work(controllers, Arc::clone(ctx), over).await.expect("it was told to end");
}

fn makes_the_pool() -> Controller {
    let run = |ctx: Arc<Context>, over: CancellationToken| {
        async move {
            ctx.brokers.make_pool(NAMESPACE, POOL).await.expect("the broker answers");
            over.cancelled().await;
        }
        .boxed()
    };
    Controller { name: "maker", run }
}

/// The pool's agents, who may make nothing.
async fn agents(url: &str, keys: &Keys) -> Ports {
    let prefix = names::broker_prefix(NAMESPACE);
    let creds = keys.account(&prefix).user(&AGENTS).creds;
    let settings = Settings {
        bucket_prefix: prefix,
        credentials: Some(jetstream::Credentials::Creds(creds)),
        inbox: Some(AGENTS.inbox()),
        makes_streams: false,
        // A test waits for it to pass.
        timeout: Duration::from_secs(15),
        ..Settings::new(url)
    };
    jetstream::open(settings).await.expect("the operator has made all").ports
}

async fn publish(agents: &Ports, id: &str) -> Result<(), queue::Error> {
    let (id, pool) = (id.to_owned(), POOL.to_owned());
    let message = Message { id, pool, priority: Priority::Normal, body: Vec::new().into() };
    agents.queue.publish(vec![message]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_again_makes_what_another_leader_removed() {
    let Some(program) = crate::nats::program(crate::nats::Version::Newest) else { return };
    let (folder, keys) = (tempfile::tempdir().expect("a folder"), Keys::generate());
    let trust = keys.server_configuration(&folder.path().join("accounts").display().to_string());
    let port = crate::nats::free_port();
    let server = crate::nats::Server::start_with(&program, folder.path(), (port, false), &trust);
    let config = Config {
        nats_servers: vec![server.url.clone()],
        nats_replicas: 1,
        nats_credentials: Some(Credentials::Keys(Box::new(keys.clone()))),
        ..crate::support::config()
    };
    let (ctx, leads) = process(config.clone());
    let controllers = [makes_the_pool()];

    leads.send_replace(leading(1));
    tenure(&ctx, &controllers).await;
    let agents = agents(&server.url, &keys).await;
    publish(&agents, "of the first pool").await.expect("it was made");

    leads.send_replace(Leadership::Following { holder: None });
    let (_other_leads, leadership) = watch::channel(leading(2));
    Brokers::new(config, leadership).remove_pool(NAMESPACE, POOL).await.expect("it leads");
    assert!(publish(&agents, "of no pool").await.is_err());

    leads.send_replace(leading(3));
    tenure(&ctx, &controllers).await;
    publish(&agents, "of the second pool").await.expect("it was made again");
}

#[tokio::test]
async fn who_leads_again_repeats_nothing_that_it_said_of_pools() {
    let (ctx, _leads) = process(crate::support::config());
    let (pool, uid) = ((NAMESPACE.to_owned(), POOL.to_owned()), Some("uid".to_owned()));
    let active = Observed::new(CONDITION, State::True, "Active", "of the tenure before".to_owned());
    ctx.scaling.say(pool.clone(), Report { uid, generation: None, scaling: crds::ScalingStatus::default(), active });
    tenure(&ctx, &[]).await;
    assert_eq!(ctx.scaling.of(&pool, Some("uid")), None);
}
