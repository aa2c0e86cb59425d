//! The autoscaler's loop with a real nats-server and a played cluster: from nothing to work and back, over a change of leaders.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::cluster::{Cluster, NAMESPACE, POOL};
use crate::guarded::Guarded;
use flow::keys;
use operator::{
    client::Clients,
    condition::State,
    config::{Config, Credentials},
    context::Context,
    lease::Leadership,
    names, scaling,
    watching::Scope,
};
use queue::{
    Message, Ports, Priority,
    jetstream::{self, JetStream, Settings},
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; generous, because nothing here measures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn ports(url: &str) -> Ports {
    ports_as(None, url).await
}

/// The same, as a user of the broker.
async fn ports_as(credentials: Option<jetstream::Credentials>, url: &str) -> Ports {
    open_as(credentials, url).await.ports
}

async fn open_as(credentials: Option<jetstream::Credentials>, url: &str) -> JetStream {
    let settings = Settings {
        bucket_prefix: names::broker_prefix(NAMESPACE),
        scoped: keys::OF_ONE_PIPELINE.to_vec(),
        credentials,
        ..Settings::new(url)
    };
    jetstream::open(settings).await.expect("the broker answers")
}

/// The agents of a guarded server, and its operator.
fn agents() -> jetstream::Credentials {
    jetstream::Credentials::User {
        name: crate::guarded::AGENTS.to_owned(),
        password: crate::guarded::PASSWORD.to_owned(),
    }
}

fn operator() -> Credentials {
    Credentials::User { user: crate::guarded::OPERATOR.to_owned(), password: crate::guarded::PASSWORD.to_owned() }
}

/// A leader's autoscaler.
pub(crate) struct Leader {
    pub(crate) ctx: Arc<Context>,
    stop: CancellationToken,
    running: JoinHandle<()>,
    leadership: watch::Sender<Leadership>,
}

impl Leader {
    pub(crate) async fn start(api: &kube::Config, url: &str, epoch: u32) -> Self {
        Self::start_as(None, api, url, epoch).await
    }

    /// The same, as a user of the broker.
    async fn start_as(credentials: Option<Credentials>, api: &kube::Config, url: &str, epoch: u32) -> Self {
        let config = Config {
            nats_servers: vec![url.to_owned()],
            nats_replicas: 1,
            nats_credentials: credentials,
            ..crate::support::config()
        };
        let clients = Clients::new(api).expect("clients");
        let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
        let (leadership, leads) = watch::channel(Leadership::Leading { epoch, until });
        let ctx = Arc::new(crate::support::context(clients, config, leads));
        let stop = CancellationToken::new();
        let running =
            tokio::spawn(scaling::run(Arc::clone(&ctx), Scope::Namespace(NAMESPACE.to_owned()), stop.clone()));
        Self { ctx, stop, running, leadership }
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("it ends").expect("no panic");
        drop(self.leadership);
    }

    fn reason(&self) -> Option<(State, String)> {
        let report = self.ctx.scaling.of(&(NAMESPACE.to_owned(), POOL.to_owned()), Some("uid-readers"))?;
        Some((report.active.state, report.active.reason.into_owned()))
    }
}

/// A pool that sleeps a second after its last task, and its leader.
async fn scaled(url: &str) -> (Ports, Cluster, kube::Config, Leader) {
    let ports = ports_as(Some(agents()), url).await;
    let cluster = Cluster::new(ports.clone(), json!({"maxReplicas": 6, "cooldownToZero": "1s"}));
    let api = cluster.serve().await;
    let leader = Leader::start_as(Some(operator()), &api, url, 7).await;
    (ports, cluster, api, leader)
}

async fn publish(ports: &Ports, tasks: std::ops::Range<usize>) {
    let messages = tasks.map(|task| Message {
        id: format!("task-{task}"),
        pool: POOL.to_owned(),
        priority: Priority::Normal,
        body: Vec::new().into(),
    });
    ports.queue.publish(messages.collect()).await.expect("the broker takes them");
}

pub(crate) async fn until(what: &str, cluster: &Cluster, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let seen = (cluster.replicas(), cluster.pods(), cluster.finished());
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}; (replicas, pods, finished) are {seen:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_wakes_works_and_sleeps_again_and_a_next_leader_goes_on() {
    let Some(server) = crate::nats::shared(crate::nats::Version::Newest) else { return };
    let ports = ports(&server.url).await;
    let cluster = Cluster::new(ports.clone(), json!({"maxReplicas": 6, "cooldownToZero": "3s"}));
    let api = cluster.serve().await;
    let leader = Leader::start(&api, &server.url, 7).await;
    let active = || leader.reason() == Some((State::True, "Active".to_owned()));
    until("the pool was looked at", &cluster, active).await;
    assert_eq!(cluster.replicas(), 0, "nothing is to be done");

    publish(&ports, 0..40).await;
    until("the first pods come", &cluster, || cluster.pods() > 0).await;
    until("some of it is done", &cluster, || cluster.finished() > 4).await;
    // The next leader finds what the first one left, and takes no step of its own accord.
    let before = cluster.replicas();
    leader.end().await;
    let leader = Leader::start(&api, &server.url, 8).await;
    until("the next leader decided", &cluster, || leader.reason().is_some()).await;
    let (replicas, finished) = (cluster.replicas(), cluster.finished());
    // On a busy machine all may be done by now, and then the pool may sleep.
    assert!(finished == 40 || replicas >= before.min(1), "from {before} to {replicas}, with {finished} done");
    until("all is done", &cluster, || cluster.finished() == 40).await;
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;
    assert_eq!(cluster.interrupted(), 0);
    let ready: Vec<_> = cluster.taken().into_iter().filter(|pod| pod.is_ready).collect();
    assert!(!ready.is_empty() && ready.iter().all(|pod| pod.is_marked), "all that were ready were chosen: {ready:?}");
    let events = cluster.events();
    for reason in ["ScaledUp", "ScaledToZero"] {
        assert!(events.iter().any(|event| event == reason), "{reason} is not among {events:?}");
    }

    let kept = ports.records.get(&format!("{}{POOL}", keys::DECISIONS)).await.expect("the broker answers");
    let kept: Value = serde_json::from_slice(&kept.expect("it is kept").bytes).expect("JSON");
    assert_eq!((&kept["pool"], &kept["mode"], &kept["epoch"]), (&json!(POOL), &json!("Apply"), &json!(8)));
    let first = &kept["decisions"][0];
    assert_eq!((&first["to"], &first["reason"]), (&json!(0), &json!("ToZero")), "{kept:#}");
    assert!(kept["decisions"].as_array().is_some_and(|all| all.len() > 1 && all.len() <= 10));
    let of_pool = "namespace=\"documents\",pool=\"readers\"";
    for line in [
        format!("docket_scaler_desired_replicas{{mode=\"Apply\",{of_pool}}} 0"),
        // Once the last agent has gone.
        format!("docket_scaler_pulling_replicas{{{of_pool}}} 0"),
        format!("docket_scaler_held{{{of_pool}}} 0"),
        format!("docket_scaler_decisions_total{{{of_pool},reason=\"ToZero\"}} "),
    ] {
        let is_told = || leader.ctx.metrics.text().is_ok_and(|text| text.contains(&line));
        until(&line, &cluster, is_told).await;
    }

    // Another owner: what is wanted is only told.
    cluster.set_scaling("mode", json!("Advise"));
    // Work that comes before the watch has shown the change would still wake some. A pool that sleeps tells of it at its next look.
    until("it is told", &cluster, || leader.reason() == Some((State::False, "Advising".to_owned()))).await;
    publish(&ports, 40..50).await;
    let desired = || {
        let report = leader.ctx.scaling.of(&(NAMESPACE.to_owned(), POOL.to_owned()), Some("uid-readers"));
        report.and_then(|report| report.scaling.desired)
    };
    until("more are wanted", &cluster, || desired().is_some_and(|desired| desired > 0)).await;
    assert_eq!(cluster.replicas(), 0);
    cluster.set_scaling("mode", json!("Apply"));
    until("the rest is done", &cluster, || cluster.finished() == 50).await;
    assert_eq!(cluster.interrupted(), 0);

    // One who does not lead any more writes nothing.
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;
    leader.leadership.send_replace(Leadership::Following { holder: None });
    publish(&ports, 50..60).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(cluster.replicas(), 0);
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_agents_are_not_heard_the_number_stays_and_they_work_on() {
    let Some(broker) = Guarded::start() else { return };
    let url = &broker.server.url;
    let (ports, cluster, _, leader) = scaled(url).await;
    let active = || leader.reason() == Some((State::True, "Active".to_owned()));
    until("the pool was looked at", &cluster, active).await;
    publish(&ports, 0..80).await;
    until("some of it is done", &cluster, || cluster.finished() > 0).await;

    // What waits is in another stream, which it still reads.
    broker.deny(&["$JS.API.STREAM.INFO.docket-documents-status"]);
    until("it holds", &cluster, || leader.reason() == Some((State::False, "Held:Missing".to_owned()))).await;
    let held = cluster.replicas();
    assert!(held > 0, "there was work for some");
    publish(&ports, 80..100).await;
    let stays = || assert_eq!(cluster.replicas(), held, "without agents' words");
    until("all is done", &cluster, || {
        stays();
        cluster.finished() == 100
    })
    .await;
    // Several looks, and much longer than an idle pool keeps its agents.
    let done = Instant::now();
    until("it was looked at again", &cluster, || {
        stays();
        done.elapsed() > Duration::from_secs(12)
    })
    .await;
    until("it still holds", &cluster, || leader.reason() == Some((State::False, "Held:Missing".to_owned()))).await;

    broker.deny(&[]);
    until("it acts again", &cluster, active).await;
    let report = leader.ctx.scaling.of(&(NAMESPACE.to_owned(), POOL.to_owned()), Some("uid-readers"));
    let said = report.expect("it acts").active.message;
    assert!(!said.contains("held"), "{said}");
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;
    assert_eq!(cluster.interrupted(), 0);
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_is_missing_and_no_empty_one() {
    let Some(broker) = Guarded::start() else { return };
    let url = &broker.server.url;
    let (ports, cluster, api, leader) = scaled(url).await;
    let active = || leader.reason() == Some((State::True, "Active".to_owned()));
    until("nothing waits before the first task", &cluster, active).await;
    publish(&ports, 0..4).await;
    until("all is done", &cluster, || cluster.finished() == 4).await;
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;
    leader.end().await;

    open_as(Some(agents()), url).await.remove_pool(POOL).await.expect("somebody removes the stream");
    // One who was not there when it was knows of it all the same.
    let leader = Leader::start_as(Some(operator()), &api, url, 8).await;
    // A broker that is slow at the first look is another reason to hold.
    until("it holds", &cluster, || {
        let reason = leader.reason();
        assert!(
            reason.as_ref().is_none_or(|(state, _)| *state == State::False),
            "the stream is no empty one: {reason:?}"
        );
        reason.is_some_and(|(_, reason)| reason == "Held:Missing")
    })
    .await;
    publish(&ports, 4..8).await;
    let seen = || leader.reason().is_some_and(|(_, reason)| reason != "Held:Missing");
    until("the stream that was made again is seen", &cluster, seen).await;
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_sleeps_wakes_before_the_work_that_its_days_foretell() {
    let Some(broker) = Guarded::start() else { return };
    let url = &broker.server.url;
    let ports = ports_as(Some(agents()), url).await;
    // Days of before on which a task came each second, and nothing foretold it as well.
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let season = json!({"day": vec![1.0; 48], "week": vec![1.0; 56], "since": now - 5 * 86_400, "bin": now / 1_800,
        "count": 0.0, "previous": 0.0, "errors": [1.0, 0.0, 1.0]});
    let memory = json!({"epoch": 6, "history": {"season": season}}).to_string();
    let key = format!("{}{POOL}", keys::SCALING);
    ports.records.create(&key, memory.into_bytes().into()).await.expect("the broker takes it");
    let cluster = Cluster::new(ports.clone(), json!({"maxReplicas": 6, "preWarm": false}));
    let api = cluster.serve().await;
    let leader = Leader::start_as(Some(operator()), &api, url, 7).await;
    let active = || leader.reason() == Some((State::True, "Active".to_owned()));
    until("the pool was looked at", &cluster, active).await;
    // It sleeps from its first look on.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.replicas(), 0);
    cluster.set_scaling("preWarm", json!(true));
    until("the first agents come", &cluster, || cluster.replicas() > 0).await;
    assert_eq!(cluster.finished(), 0, "no task has come");
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_deployments_status_changes_all_the_time_agents_come_and_none_go() {
    let Some(broker) = Guarded::start() else { return };
    let url = &broker.server.url;
    let (ports, cluster, _, leader) = scaled(url).await;
    cluster.set_restless(true);
    publish(&ports, 0..8).await;
    until("all is done", &cluster, || cluster.finished() == 8).await;
    let marked = || cluster.marked() > 0;
    until("somebody is to go", &cluster, marked).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(cluster.taken().is_empty(), "who is taken stands in the status");
    cluster.set_restless(false);
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;
    assert_eq!(cluster.interrupted(), 0);
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_keeps_what_was_learned_while_it_cannot_be_read_and_one_that_is_made_again_begins_anew() {
    let Some(broker) = Guarded::start() else { return };
    let url = &broker.server.url;
    let (ports, cluster, _, leader) = scaled(url).await;
    publish(&ports, 0..4).await;
    until("all is done", &cluster, || cluster.finished() == 4).await;
    until("the pool sleeps", &cluster, || cluster.pods() == 0).await;

    cluster.set_scaling("maxReplicas", json!("as many as it takes"));
    // Several looks.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let key = format!("{}{POOL}", keys::SCALING);
    let kept = ports.records.get(&key).await.expect("the broker answers");
    assert!(kept.is_some(), "what was learned is gone");
    cluster.set_scaling("maxReplicas", json!(5));

    // What a pass does for one that is deleted.
    open_as(Some(agents()), url).await.remove_pool(POOL).await.expect("the stream goes");
    cluster.remake("uid-again");
    // For the one before, a stream that is gone would mean that nothing is known.
    let of_next = || leader.ctx.scaling.of(&(NAMESPACE.to_owned(), POOL.to_owned()), Some("uid-again"));
    until("the next one is looked at", &cluster, || of_next().is_some_and(|report| report.active.reason == "Active"))
        .await;
    leader.end().await;
}
