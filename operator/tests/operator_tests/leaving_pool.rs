//! A pool is deleted while its agents work: with an API server over real HTTP, and a real broker.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use crds::AgentPool;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use operator::{
    agent_pool::clean_up::clean_up, client::Clients, config::Config, context::Context, held::Held, lease::Leadership,
    names, pipeline,
};
use queue::{
    Message, Ports, Priority,
    jetstream::{self, Settings},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::http;

const POOL: &str = "readers";
const UID: &str = "11111111-1111-1111-1111-111111111111";
/// What a broker may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the API server has.
#[derive(Default)]
struct Objects {
    /// That is deleted, or a pipeline.
    pool: Value,
    deployment: Option<Value>,
    pods: Vec<Value>,
    /// Whether the pool is the last of its namespace.
    alone: bool,
    /// The Deployment of another pool, which went without it.
    orphan: Option<Value>,
    /// Bodies of the requests to delete the Deployment.
    deletions: Vec<Value>,
    /// Reasons of Events.
    events: Vec<String>,
}

type Shared = Arc<Mutex<Objects>>;

/// A pool that is being deleted, its agents, and the operator.
struct Scene {
    objects: Shared,
    ctx: Context,
    agents: Ports,
    pool: AgentPool,
    _leads: watch::Sender<Leadership>,
}

impl Scene {
    /// In a namespace of its own, for the broker is shared. None where there is no broker.
    async fn new(namespace: &str, owner: &Value) -> Option<Self> {
        let server = crate::nats::shared(crate::nats::Version::Newest)?;
        let pool = leaving_pool(namespace);
        let objects = Objects {
            pool: serde_json::to_value(&pool).expect("plain data"),
            deployment: Some(agents_of(POOL, namespace, owner)),
            pods: vec![pod(json!({"name": "readers-agents-1"}))],
            ..Objects::default()
        };
        let objects = Arc::new(Mutex::new(objects));
        let (ctx, leads) = leader(&objects, &server.url).await;
        let agents = connect(&server.url, namespace).await;
        Some(Self { objects, ctx, agents, pool, _leads: leads })
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("no handler panics")
    }

    async fn publish(&self, id: &str) {
        let (id, pool) = (id.to_owned(), POOL.to_owned());
        let message = Message { id, pool, priority: Priority::Normal, body: Vec::new().into() };
        self.agents.queue.publish(vec![message]).await.expect("the broker takes it");
    }

    async fn waiting(&self) -> u64 {
        self.agents.queue.depth(POOL).await.expect("the broker answers").total()
    }

    /// Whether all is removed; else it is to be tried again.
    async fn is_removed(&self) -> bool {
        match clean_up(&self.ctx, &self.pool).await {
            Ok(_) => true,
            Err(Held::Waiting) => false,
            Err(Held::Failed(error)) => panic!("{}", operator::chain(&error)),
        }
    }

    /// Its agents have ended, and it is the last of its namespace.
    fn leaves_alone(&self) {
        let mut objects = self.objects();
        objects.pods.clear();
        objects.deployment = None;
        objects.alone = true;
    }

    fn leaving(&self) -> Value {
        let pool = self.objects().pool.clone();
        let conditions = pool["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == "Leaving").unwrap_or_default()
    }
}

fn leaving_pool(namespace: &str) -> AgentPool {
    let mut pool = crate::support::pool(json!({"replicas": 1}));
    pool.metadata.namespace = Some(namespace.to_owned());
    pool.metadata.deletion_timestamp = serde_json::from_value(json!(Timestamp::now().to_string())).expect("a time");
    pool.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
    pool
}

/// An operator that leads.
async fn leader(objects: &Shared, broker: &str) -> (Context, watch::Sender<Leadership>) {
    let clients = Clients::new(&serve(Arc::clone(objects)).await).expect("clients");
    let config = Config { nats_servers: vec![broker.to_owned()], nats_replicas: 1, ..crate::support::config() };
    let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
    let (leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    (crate::support::context(clients, config, leadership), leads)
}

/// Its connection makes what is missing.
async fn connect(url: &str, namespace: &str) -> Ports {
    let settings = Settings { bucket_prefix: names::broker_prefix(namespace), ..Settings::new(url) };
    jetstream::open(settings).await.expect("the broker answers").ports
}

fn agents_of(pool: &str, namespace: &str, owner: &Value) -> Value {
    let metadata = json!({"name": names::agents(pool), "namespace": namespace, "uid": "of-the-deployment",
        "resourceVersion": "7", "labels": names::labels(names::Component::Agents, pool), "ownerReferences": owner});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
}

fn ours() -> Value {
    json!([{"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "name": POOL, "uid": UID, "controller": true}])
}

fn pod(metadata: Value) -> Value {
    json!({"metadata": metadata, "status": {"phase": "Running"},
        "spec": {"containers": [], "nodeName": "node", "terminationGracePeriodSeconds": 30}})
}

/// A pod that was told to end, so that it should be gone so many seconds ago.
fn overdue(seconds: i64) -> Value {
    let at = Timestamp::now() - SignedDuration::from_secs(seconds);
    pod(json!({"name": "readers-agents-1", "deletionTimestamp": at.to_string(), "deletionGracePeriodSeconds": 30}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_stay_until_the_agents_have_ended_and_what_they_have_in_hand_is_settled() {
    let Some(scene) = Scene::new("leaving-agents", &ours()).await else { return };
    scene.publish("in hand").await;
    let in_hand = scene.agents.queue.pull(POOL, 1, PATIENCE).await.expect("the broker answers");
    assert_eq!(in_hand.len(), 1);
    scene.publish("waits").await;

    assert!(!scene.is_removed().await);
    let asked = scene.objects().deletions.clone();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["preconditions"], json!({"uid": "of-the-deployment", "resourceVersion": "7"}));
    assert_eq!(asked[0]["propagationPolicy"], "Background");
    let message = scene.leaving()["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("1 of its agents (readers-agents-1)"), "{message}");

    scene.objects().pods = vec![overdue(-25)];
    assert!(!scene.is_removed().await);
    assert_eq!(scene.objects().deletions.len(), 1, "it is gone already");
    assert_eq!(scene.waiting().await, 2, "nothing was taken away");
    scene.agents.queue.ack(&in_hand[0].receipt).await.expect("what it has in hand counts");

    scene.objects().pods.clear();
    assert!(scene.is_removed().await);
    assert_eq!(scene.waiting().await, 0);
    assert_eq!(scene.objects().events, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_goes_without_an_agent_whose_node_is_gone_and_says_so() {
    let Some(scene) = Scene::new("leaving-dead-node", &ours()).await else { return };
    scene.publish("waits").await;
    assert!(!scene.is_removed().await);
    scene.objects().pods = vec![overdue(30)];
    assert!(!scene.is_removed().await, "its time is over, a minute more is not");
    assert_eq!(scene.waiting().await, 1);
    scene.objects().pods = vec![overdue(65)];
    assert!(scene.is_removed().await);
    assert_eq!(scene.waiting().await, 0);
    assert_eq!(scene.objects().events, ["AgentsNotEnded"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_are_to_outlive_their_pool_keep_their_tasks() {
    let Some(scene) = Scene::new("leaving-orphans", &Value::Null).await else { return };
    scene.publish("waits").await;
    assert!(scene.is_removed().await);
    assert_eq!(scene.waiting().await, 1);
    assert!(scene.objects().deletions.is_empty());
    assert_eq!(scene.objects().events, ["AgentsKept"]);

    // Also the last pool of its namespace, and a later one that has agents no more, leave them what they work with.
    let document = scene.agents.payloads.put("a document".into()).await.expect("the broker takes it");
    scene.objects().alone = true;
    assert!(scene.is_removed().await);
    assert_eq!(scene.waiting().await, 1);
    scene.leaves_alone();
    scene.objects().orphan = Some(agents_of("writers", "leaving-orphans", &Value::Null));
    assert!(scene.is_removed().await);
    assert_eq!(scene.waiting().await, 0);
    assert!(scene.agents.payloads.contains(&document).await.expect("the broker answers"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_pool_takes_along_what_its_namespace_has_at_the_broker() {
    const LAST: &str = "leaving-last";
    let Some(scene) = Scene::new(LAST, &ours()).await else { return };
    let Some(other) = Scene::new("leaving-last-but-one", &ours()).await else { return };
    let mut documents = Vec::new();
    for ports in [&scene.agents, &other.agents] {
        documents.push(ports.payloads.put("a document".into()).await.expect("the broker takes it"));
        ports.records.create("plans/1", "a plan".into()).await.expect("the broker takes it");
    }
    scene.publish("waits").await;
    scene.objects().pods.clear();
    scene.objects().deployment = None;
    assert!(scene.is_removed().await);
    assert!(scene.agents.payloads.contains(&documents[0]).await.expect("another pool is there"));

    scene.leaves_alone();
    assert!(scene.is_removed().await);
    assert!(scene.agents.payloads.list(None, 1).await.is_err(), "its stream is gone");
    let looked = scene.ctx.brokers.agents(LAST).await;
    assert!(looked.is_err(), "a look at numbers makes nothing again: {looked:?}");
    assert!(scene.agents.payloads.list(None, 1).await.is_err());
    let anew = connect(&scene.ctx.config.nats_servers[0], LAST).await;
    assert!(anew.payloads.list(None, 1).await.expect("the broker answers").is_empty());
    assert!(anew.records.get("plans/1").await.expect("the broker answers").is_none());

    assert!(other.agents.payloads.contains(&documents[1]).await.expect("the broker answers"));
    assert!(other.agents.records.get("plans/1").await.expect("the broker answers").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_gone_takes_nothing_from_one_of_its_name() {
    let Some(scene) = Scene::new("leaving-successor", &ours()).await else { return };
    scene.publish("of the successor").await;
    {
        let mut objects = scene.objects();
        objects.pool["metadata"]["uid"] = json!("of-the-successor");
        objects.pods.clear();
        objects.deployment = None;
    }
    assert!(!scene.is_removed().await);
    assert_eq!(scene.waiting().await, 1);
}

#[tokio::test]
async fn a_deletion_that_hangs_on_the_broker_says_so_on_pools_and_pipelines() {
    const BROKER: &str = "nats://127.0.0.1:1";
    let condition = |kind: &str, reason: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": "said before",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let conditions = [condition("Ready", "Said"), condition("Leaving", "AgentsEnd")];
    let ready = |objects: &Shared| {
        let said = locked(objects).pool["status"]["conditions"].clone();
        assert_eq!(said[1], conditions[1], "what else is known stays");
        let field = |name: &str| said[0][name].as_str().unwrap_or_default().to_owned();
        (field("status"), field("reason"), field("message"))
    };

    let mut pool = serde_json::to_value(leaving_pool("leaving-no-broker")).expect("plain data");
    pool["status"] = json!({"conditions": conditions});
    let objects = Arc::new(Mutex::new(Objects { pool: pool.clone(), ..Objects::default() }));
    let (ctx, _leads) = leader(&objects, BROKER).await;
    let pool: AgentPool = serde_json::from_value(pool).expect("a pool");
    assert!(matches!(clean_up(&ctx, &pool).await, Err(Held::Failed(_))));
    let (status, reason, message) = ready(&objects);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "BrokerUnavailable"));
    assert!(message.contains("failed to remove the pool's tasks") && message.contains(BROKER), "{message}");
    assert_eq!(locked(&objects).events, ["BrokerUnavailable"]);

    let mut pipeline =
        crate::support::pipeline(json!({"stages": [{"name": "a", "pool": POOL, "transform": {"template": "x"}}]}));
    pipeline.status = Some(serde_json::from_value(json!({"conditions": conditions})).expect("a status"));
    let objects = Arc::new(Mutex::new(Objects::default()));
    locked(&objects).pool = serde_json::to_value(&pipeline).expect("plain data");
    let (ctx, _leads) = leader(&objects, BROKER).await;
    assert!(matches!(pipeline::clean_up(&ctx, &pipeline).await, Err(Held::Failed(_))));
    let (status, reason, message) = ready(&objects);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "BrokerUnavailable"));
    assert!(message.contains("failed to remove the pipeline's records") && message.contains(BROKER), "{message}");
    assert_eq!(locked(&objects).events, ["BrokerUnavailable"]);
}

/// Serves it.
async fn serve(objects: Shared) -> kube::Config {
    const KINDS: &str = "/apis/docket.dev/v1alpha1/namespaces/{namespace}";
    let routes = Router::new()
        .route(&format!("{KINDS}/agentpools"), get(pools))
        .route(&format!("{KINDS}/agentpools/{{name}}"), get(pool))
        .route(&format!("{KINDS}/agentpools/{{name}}/status"), patch(status))
        .route(&format!("{KINDS}/pipelines"), get(async || http::list(&[])))
        .route(&format!("{KINDS}/pipelines/{{name}}"), get(pool))
        .route(&format!("{KINDS}/pipelines/{{name}}/status"), patch(status))
        .route("/apis/apps/v1/namespaces/{namespace}/deployments", get(deployments))
        .route("/apis/apps/v1/namespaces/{namespace}/deployments/{name}", get(deployment).delete(delete))
        .route("/api/v1/namespaces/{namespace}/pods", get(pods))
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", post(event))
        .fallback(async || http::not_found())
        .with_state(objects);
    http::serve(routes).await
}

fn locked(objects: &Shared) -> MutexGuard<'_, Objects> {
    objects.lock().expect("no handler panics")
}

/// Unless it is alone, another one stays in the namespace, whose objects are therefore kept.
async fn pools(State(objects): State<Shared>) -> Response {
    let objects = locked(&objects);
    let pool = objects.pool.clone();
    if objects.alone {
        return http::list(&[pool]);
    }
    let mut other = pool.clone();
    other["metadata"] = json!({"name": "writers", "namespace": pool["metadata"]["namespace"], "uid": "another"});
    http::list(&[pool, other])
}

async fn pool(State(objects): State<Shared>) -> Response {
    Json(locked(&objects).pool.clone()).into_response()
}

async fn status(State(objects): State<Shared>, Json(change): Json<Value>) -> Response {
    let mut objects = locked(&objects);
    let fields = change["status"].as_object().cloned().unwrap_or_default();
    for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
        objects.pool["status"][field] = value;
    }
    Json(objects.pool.clone()).into_response()
}

async fn deployments(State(objects): State<Shared>) -> Response {
    let objects = locked(&objects);
    let found: Vec<Value> = objects.deployment.iter().chain(&objects.orphan).cloned().collect();
    http::list(&found)
}

async fn deployment(State(objects): State<Shared>, Path((_, name)): Path<(String, String)>) -> Response {
    let found = locked(&objects).deployment.clone().filter(|found| found["metadata"]["name"] == name.as_str());
    found.map_or_else(http::not_found, |found| Json(found).into_response())
}

async fn delete(State(objects): State<Shared>, Path(_): Path<(String, String)>, Json(body): Json<Value>) -> Response {
    let mut objects = locked(&objects);
    objects.deletions.push(body);
    objects.deployment = None;
    Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}})).into_response()
}

async fn pods(State(objects): State<Shared>) -> Response {
    http::list(&locked(&objects).pods)
}

async fn event(State(objects): State<Shared>, Json(event): Json<Value>) -> Response {
    locked(&objects).events.push(event["reason"].as_str().unwrap_or_default().to_owned());
    Json(event).into_response()
}
