//! A pipeline is deleted while a document is open: with an API server over real HTTP, and a real broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, patch},
};
use crds::Pipeline;
use flow::Submission;
use operator::{client::Clients, config::Config, context::Context, held::Held, lease::Leadership, names, pipeline};
use queue::{
    Ports,
    jetstream::{self, Settings},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::http;

const WENT: &str = "2026-01-01T00:00:00Z";
const RECORD: &str = "documents/review/a.txt";

/// What the API server has.
#[derive(Default)]
struct Objects {
    pipeline: Value,
    /// Beside one that the pipeline does not name, so that the namespace keeps what it has.
    pools: Vec<Value>,
    /// The Deployment of `readers`.
    deployment: Option<Value>,
}

type Shared = Arc<Mutex<Objects>>;

/// A pipeline that is being deleted, a document of it that is open, and an operator that leads.
struct Scene {
    objects: Shared,
    ctx: Context,
    gateway: Ports,
    /// As a watch has shown it.
    seen: Pipeline,
    _leads: watch::Sender<Leadership>,
}

impl Scene {
    /// In a namespace of its own, for the broker is shared. None where there is no broker.
    async fn new(namespace: &str, pools: &[Value]) -> Option<Self> {
        let server = crate::nats::shared(crate::nats::Version::Newest)?;
        let mut seen = crate::support::pipeline(json!({
            "stages": [{"name": "a", "pool": "readers", "transform": {"template": "x"}, "fallback": [{"pool": "reserve"}]}],
        }));
        seen.metadata.namespace = Some(namespace.to_owned());
        seen.metadata.deletion_timestamp = serde_json::from_value(json!(WENT)).expect("a time");
        seen.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
        let objects = Objects { pipeline: json!(seen), pools: pools.to_vec(), deployment: None };
        let objects = Arc::new(Mutex::new(objects));

        let clients = Clients::new(&serve(Arc::clone(&objects)).await).expect("clients");
        let config = Config { nats_servers: vec![server.url.clone()], nats_replicas: 1, ..crate::support::config() };
        let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
        let (leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
        let ctx = crate::support::context(clients, config, leadership);

        let settings = Settings {
            bucket_prefix: names::broker_prefix(namespace),
            scoped: flow::keys::OF_ONE_PIPELINE.to_vec(),
            ..Settings::new(server.url.as_str())
        };
        let gateway = jetstream::open(settings).await.expect("the broker answers").ports;
        gateway.records.create(RECORD, open_document(&seen).into()).await.expect("the broker takes it");
        Some(Self { objects, ctx, gateway, seen, _leads: leads })
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("no handler panics")
    }

    /// Whether all is removed; else the document is still there, and it is to be tried again.
    async fn is_removed(&self) -> bool {
        match pipeline::clean_up(&self.ctx, &self.seen).await {
            Ok(_) => true,
            Err(Held::Waiting) => {
                let record = self.gateway.records.get(RECORD).await.expect("the broker answers");
                assert!(record.is_some(), "it was given up");
                false
            }
            Err(Held::Failed(error)) => panic!("{}", operator::chain(&error)),
        }
    }
}

/// The record of a document that has just begun.
fn open_document(pipeline: &Pipeline) -> Vec<u8> {
    let spec = || crate::support::pool(json!({})).spec;
    let pools = BTreeMap::from(["readers", "reserve"].map(|name| (name.to_owned(), spec())));
    let plan = flow::compile("review", 1, &pipeline.spec, &pools).expect("a plan");
    let submission = Submission {
        document: "a.txt".to_owned(),
        tenant: "default".to_owned(),
        source: "a.txt".to_owned(),
        payload: "0".repeat(64),
        metadata: None,
        priority: crds::Priority::Normal,
        deadline: None,
        bytes: None,
    };
    flow::submit(&plan, submission, 1).record.encode()
}

fn pool(name: &str, metadata: &Value) -> Value {
    let mut pool = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": metadata, "spec": {}});
    pool["metadata"]["name"] = json!(name);
    pool
}

fn staying(name: &str) -> Value {
    pool(name, &json!({}))
}

fn leaving(name: &str) -> Value {
    pool(name, &json!({"deletionTimestamp": WENT, "finalizers": [names::FINALIZER]}))
}

fn agents(metadata: &Value) -> Value {
    let mut deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata});
    deployment["metadata"]["name"] = json!("readers-agents");
    deployment
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_waited_for_while_a_pool_stays_that_may_work_it_also_where_its_agents_are_away() {
    let Some(scene) = Scene::new("drain-absent", &[staying("readers")]).await else { return };
    assert!(!scene.is_removed().await, "somebody has deleted its Deployment, and it is made again");
    scene.objects().deployment =
        Some(agents(&json!({"deletionTimestamp": WENT, "finalizers": ["foregroundDeletion"]})));
    assert!(!scene.is_removed().await, "it is on its way out");

    scene.objects().pools = vec![leaving("readers")];
    scene.objects().deployment = Some(agents(&json!({})));
    assert!(!scene.is_removed().await, "the pool goes, and its agents are there yet");
    scene.objects().deployment = None;
    scene.objects().pools.push(staying("reserve"));
    assert!(!scene.is_removed().await, "another one does its work");

    scene.objects().pools.pop();
    assert!(scene.is_removed().await, "nobody would ever end it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_is_gone_takes_nothing_from_one_of_its_name() {
    let Some(scene) = Scene::new("drain-successor", &[]).await else { return };
    scene.objects().pipeline["metadata"]["uid"] = json!("of-the-successor");
    assert!(!scene.is_removed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_given_up_by_what_the_pipeline_says_now_and_not_when_it_was_seen() {
    let Some(scene) = Scene::new("drain-edited", &[staying("readers")]).await else { return };
    scene.objects().pipeline["spec"]["deletionPolicy"] = json!("Cancel");
    assert!(scene.is_removed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_work_the_documents_that_are_waited_for_is_said_with_what_to_do() {
    let with = |spec: Value, status: Value| {
        let mut pool = staying("readers");
        pool["spec"] = spec;
        pool["status"] = status;
        pool
    };
    let Some(scene) = Scene::new("drain-idle", &[]).await else { return };
    let said = async |pool: Value| {
        scene.objects().pools = vec![pool, staying("reserve")];
        assert!(!scene.is_removed().await);
        let conditions = scene.objects().pipeline["status"]["conditions"].clone();
        let ready = conditions.as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready").cloned();
        ready.unwrap_or_default()["message"].as_str().unwrap_or_default().to_owned()
    };
    let usual =
        "1 documents are worked to their end before the pipeline goes; to give them up, set deletionPolicy to Cancel";
    assert_eq!(said(with(json!({"replicas": 1}), Value::Null)).await, usual);
    let none = said(with(json!({"replicas": 0}), Value::Null)).await;
    assert!(none.contains("readers asks for no agents (set its replicas to 1 or more)"), "{none}");
    let sleeps = json!({"replicas": 0, "scaling": {"minReplicas": 0, "maxReplicas": 2}});
    assert_eq!(said(with(sleeps, Value::Null)).await, usual, "it wakes by itself");
    let refused = json!({"type": "Ready", "status": "False", "reason": "ClaimMissing", "message": "there is no claim",
        "lastTransitionTime": WENT});
    let refused = said(with(json!({}), json!({"conditions": [refused]}))).await;
    assert!(refused.contains("readers is not ready (there is no claim)"), "{refused}");
    let gone = said(leaving("readers")).await;
    assert!(gone.contains("readers is gone, or goes and has no agents any more"), "{gone}");
}

/// Serves it.
async fn serve(objects: Shared) -> kube::Config {
    const KINDS: &str = "/apis/docket.dev/v1alpha1/namespaces/{namespace}";
    let routes = Router::new()
        .route(&format!("{KINDS}/agentpools"), get(pools))
        .route(&format!("{KINDS}/pipelines"), get(pipelines))
        .route(&format!("{KINDS}/pipelines/{{name}}"), get(pipeline_now))
        .route(&format!("{KINDS}/pipelines/{{name}}/status"), patch(status))
        .route("/apis/apps/v1/namespaces/{namespace}/deployments/{name}", get(deployment))
        .fallback(async || http::not_found())
        .with_state(objects);
    http::serve(routes).await
}

fn locked(objects: &Shared) -> MutexGuard<'_, Objects> {
    objects.lock().expect("no handler panics")
}

async fn pools(State(objects): State<Shared>) -> Response {
    let mut all = locked(&objects).pools.clone();
    all.push(staying("of-another-pipeline"));
    http::list(&all)
}

async fn pipelines(State(objects): State<Shared>) -> Response {
    http::list(&[locked(&objects).pipeline.clone()])
}

async fn pipeline_now(State(objects): State<Shared>) -> Response {
    Json(locked(&objects).pipeline.clone()).into_response()
}

async fn status(State(objects): State<Shared>, Json(change): Json<Value>) -> Response {
    let mut objects = locked(&objects);
    crate::cluster::merge(&mut objects.pipeline["status"], &change["status"]);
    Json(objects.pipeline.clone()).into_response()
}

async fn deployment(State(objects): State<Shared>, Path((_, name)): Path<(String, String)>) -> Response {
    let found = locked(&objects).deployment.clone().filter(|found| found["metadata"]["name"] == name.as_str());
    found.map_or_else(http::not_found, |found| Json(found).into_response())
}
