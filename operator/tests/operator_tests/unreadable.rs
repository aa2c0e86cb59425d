//! Objects that this version cannot read: what is said of them, how they are deleted, and that they hold up nobody.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use crate::cluster::merge;
use crate::support::http;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use crds::{AgentPool, DeletionPolicy, Pipeline};
use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use operator::{
    agent_pool,
    client::Clients,
    condition::{Observed, State as Is},
    config::Config,
    context::Context,
    lease::Leadership,
    names,
    pipeline::{self, pools::named_pools},
    unreadable::{stand_in, with_condition},
    watching::Scope,
};
use queue::{
    Message, Priority,
    jetstream::{self, Settings},
};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);
const BEFORE: &str = "2026-01-01T00:00:00Z";

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "AllReady", "message": "said before", "observedGeneration": 1,
        "lastTransitionTime": BEFORE})
}

fn ready(message: &str) -> Observed {
    Observed::new("Ready", Is::False, "Unreadable", message)
}

#[test]
fn a_condition_is_said_beside_others_which_stay_as_they_are_written_and_once() {
    let mut novel = condition("Novel");
    novel["since"] = json!("a newer version");
    let now: Timestamp = "2026-02-01T00:00:00Z".parse().expect("a time");
    let said = with_condition(&json!([novel, condition("Ready")]), ready("no"), Some(2), now).expect("it is new");
    assert_eq!(said[0], novel);
    let expected = json!({"type": "Ready", "status": "False", "reason": "Unreadable", "message": "no",
        "observedGeneration": 2, "lastTransitionTime": "2026-02-01T00:00:00Z"});
    assert_eq!(said[1..], [expected.clone()]);

    let later: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
    assert_eq!(with_condition(&json!(said), ready("no"), Some(2), later), None);
    let other = with_condition(&json!(said), ready("another"), Some(3), later).expect("it is new");
    assert_eq!(
        (&other[1]["message"], &other[1]["lastTransitionTime"]),
        (&json!("another"), &json!("2026-02-01T00:00:00Z"))
    );
    assert_eq!(with_condition(&Value::Null, ready("no"), Some(2), now), Some(vec![expected]));
}

fn object(kind: &str, spec: &Value, status: &Value) -> DynamicObject {
    let metadata = json!({"name": "readers", "namespace": "documents", "uid": "of-readers", "generation": 2});
    let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
        "status": status});
    serde_json::from_value(object).expect("an object")
}

#[test]
fn of_a_pipeline_that_leaves_is_known_what_becomes_of_its_documents_and_who_works_them() {
    let of = |policy: &str| {
        let stages = json!([{"name": "a", "pool": "clerks", "dream": {}, "fallback": [{"pool": "reserve"}, {"dream": {}}]},
                {"name": "b", "pool": "writers"}, {"name": "c"}]);
        let spec =
            json!({"stages": stages, "fallback": [{"pool": "spare"}], "deletionPolicy": policy, "retry": "Never"});
        let pipeline: Pipeline = stand_in(&object("Pipeline", &spec, &json!({})));
        let pools: Vec<&str> = named_pools(&pipeline.spec).into_iter().collect();
        assert_eq!(pools, ["clerks", "reserve", "spare", "writers"]);
        assert_eq!(pipeline.metadata.uid.as_deref(), Some("of-readers"));
        pipeline.spec.deletion_policy
    };
    assert_eq!(of("Cancel"), DeletionPolicy::Cancel);
    assert_eq!(of("Sell"), DeletionPolicy::Drain, "nothing is given up that nobody has given up");
}

#[test]
fn since_when_a_pool_leaves_is_known_also_where_its_status_cannot_be_read() {
    for status in [
        json!({"conditions": [condition("Leaving")]}),
        json!({"replicas": "all", "conditions": [condition("Leaving")]}),
    ] {
        let pool: AgentPool = stand_in(&object("AgentPool", &json!({"profile": "Newest"}), &status));
        let now = Timestamp::now();
        assert_eq!(agent_pool::leaving::since(&pool, now).to_string(), BEFORE, "{status}");
    }
}

/// A cluster of plain JSON: whatever is written can be read, listed and watched.
#[derive(Clone)]
struct Cluster(Arc<Inner>);

struct Inner {
    objects: Mutex<Objects>,
    changes: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct Objects {
    version: u64,
    /// By path.
    there: BTreeMap<String, Value>,
    /// Reason, and who it is about.
    events: Vec<(String, String)>,
}

/// A cluster, and an operator at work in one namespace of it.
struct Scene {
    namespace: &'static str,
    cluster: Cluster,
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
    _leads: watch::Sender<Leadership>,
}

impl Scene {
    /// With two pools and a pipeline; what is in `metadata` is in that of those two that cannot be read.
    async fn new(namespace: &'static str, broker: &str, metadata: Value) -> Self {
        let cluster = Cluster(Arc::new(Inner { objects: Mutex::default(), changes: broadcast::channel(10_000).0 }));
        let of = |plural: &str, kind: &str, name: &str, spec: Value, more: &Value| {
            let mut object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": kind, "spec": spec,
                "metadata": {"name": name, "namespace": namespace, "uid": format!("of-{name}"), "generation": 2,
                    "finalizers": [names::FINALIZER]}});
            merge(&mut object["metadata"], more);
            if name != "writers" {
                object["status"] =
                    json!({"newer": {"than": "this"}, "conditions": [condition("Novel"), condition("Ready")]});
            }
            cluster.put(&path(namespace, plural, name), object);
        };
        of("agentpools", "AgentPool", "readers", json!({"profile": "Newest"}), &metadata);
        of("agentpools", "AgentPool", "writers", json!({}), &json!({}));
        let stages = json!([{"name": "a", "pool": "readers", "transform": {"template": "x"}}]);
        let review = json!({"stages": stages, "priorityDefault": "Newest"});
        of("pipelines", "Pipeline", "review", review, &metadata);

        let clients = Clients::new(&cluster.serve().await).expect("clients");
        let config = Config { nats_servers: vec![broker.to_owned()], nats_replicas: 1, ..crate::support::config() };
        let until = tokio::time::Instant::now() + Duration::from_secs(3_600);
        let (leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
        let ctx: Arc<Context> = Arc::new(crate::support::context(clients, config, leadership));
        let (scope, stop) = (Scope::Namespace(namespace.to_owned()), CancellationToken::new());
        let running = vec![
            tokio::spawn(agent_pool::run(Arc::clone(&ctx), scope.clone(), stop.clone())),
            tokio::spawn(pipeline::run(ctx, scope, stop.clone())),
        ];
        Self { namespace, cluster, stop, running, _leads: leads }
    }

    fn found(&self, plural: &str, name: &str) -> Option<Value> {
        self.cluster.objects().there.get(&path(self.namespace, plural, name)).cloned()
    }

    fn reason(&self, plural: &str, name: &str) -> Option<String> {
        let found = self.found(plural, name)?;
        let conditions = found["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        ready["reason"].as_str().map(str::to_owned)
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let objects = self.cluster.objects();
            panic!("it is not so in time: {:#?}, {:?}", objects.there, objects.events);
        }
    }

    async fn ends(self) {
        self.stop.cancel();
        for running in self.running {
            running.await.expect("it ends");
        }
    }
}

fn path(namespace: &str, plural: &str, name: &str) -> String {
    format!("/apis/docket.dev/v1alpha1/namespaces/{namespace}/{plural}/{name}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wrote_an_object_that_cannot_be_read_is_told_and_others_are_brought_to_their_state() {
    let scene = Scene::new("unreadable-told", "nats://127.0.0.1:1", json!({})).await;
    scene.until(|scene| scene.reason("agentpools", "writers").as_deref() == Some("Starting")).await;
    for (plural, name) in [("agentpools", "readers"), ("pipelines", "review")] {
        scene.until(|scene| scene.reason(plural, name).as_deref() == Some("Unreadable")).await;
        let status = scene.found(plural, name).unwrap_or_default()["status"].clone();
        assert_eq!(status["newer"], json!({"than": "this"}), "{status}");
        assert_eq!(status["conditions"][0], condition("Novel"));
        let said = &status["conditions"][1];
        assert_eq!((&said["status"], &said["observedGeneration"]), (&json!("False"), &json!(2)));
        let message = said["message"].as_str().unwrap_or_default();
        assert!(message.contains("Newest") && message.contains("kubectl explain"), "{message}");
        let event = ("Unreadable".to_owned(), name.to_owned());
        scene.until(|scene| scene.cluster.objects().events.contains(&event)).await;
    }
    scene.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_cannot_be_read_are_deleted_with_what_they_have_at_the_broker() {
    const NAMESPACE: &str = "unreadable-leaving";
    let Some(server) = crate::nats::shared(crate::nats::Version::Newest) else { return };
    let settings = Settings { bucket_prefix: names::broker_prefix(NAMESPACE), ..Settings::new(server.url.as_str()) };
    let agents = jetstream::open(settings).await.expect("the broker answers").ports;
    let (id, pool) = ("waits".to_owned(), "readers".to_owned());
    let message = Message { id, pool, priority: Priority::Normal, body: Vec::new().into() };
    agents.queue.publish(vec![message]).await.expect("the broker takes it");

    let scene = Scene::new(NAMESPACE, &server.url, json!({"deletionTimestamp": BEFORE})).await;
    for (plural, name) in [("agentpools", "readers"), ("pipelines", "review")] {
        scene.until(|scene| scene.found(plural, name).is_none()).await;
    }
    assert_eq!(agents.queue.depth("readers").await.expect("the broker answers").total(), 0);
    assert!(scene.found("agentpools", "writers").is_some());
    scene.ends().await;
}

impl Cluster {
    async fn serve(&self) -> kube::Config {
        let routes = Router::new().fallback(answer).with_state(self.clone());
        http::serve(routes).await
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.objects.lock().expect("nobody panics with it")
    }

    /// Writes an object; one that leaves and has no finalizer any more is gone.
    fn put(&self, path: &str, mut object: Value) -> Value {
        let mut objects = self.objects();
        objects.version += 1;
        object["metadata"]["resourceVersion"] = json!(objects.version.to_string());
        let metadata = &object["metadata"];
        let is_gone =
            metadata["deletionTimestamp"].is_string() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty);
        let before =
            if is_gone { objects.there.remove(path) } else { objects.there.insert(path.to_owned(), object.clone()) };
        let type_ = if is_gone {
            "DELETED"
        } else if before.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let (kind, _) = path.rsplit_once('/').expect("a kind and a name");
        drop(self.0.changes.send((kind.to_owned(), json!({"type": type_, "object": object}))));
        object
    }

    fn of_kind(&self, kind: &str) -> Vec<Value> {
        let objects = self.objects();
        let is_of = |path: &str| path.rsplit_once('/').is_some_and(|(of, _)| of == kind);
        objects.there.iter().filter(|(path, _)| is_of(path)).map(|(_, object)| object.clone()).collect()
    }

    fn list(&self, kind: &str) -> Response {
        let items = self.of_kind(kind);
        let version = self.objects().version.to_string();
        Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}))
            .into_response()
    }

    fn watch(&self, kind: String, since: u64) -> Response {
        let changes = self.0.changes.subscribe();
        let version = |object: &Value| {
            let version = object["metadata"]["resourceVersion"].as_str();
            version.and_then(|version| version.parse::<u64>().ok()).unwrap_or_default()
        };
        let missed: Vec<Value> = self.of_kind(&kind).into_iter().filter(|object| version(object) > since).collect();
        let missed = stream::iter(missed.into_iter().map(|object| json!({"type": "MODIFIED", "object": object})));
        let later = stream::unfold((changes, kind), |(mut changes, kind)| async move {
            loop {
                match changes.recv().await {
                    Ok((of, change)) if of == kind => return Some((change, (changes, kind))),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        let lines = missed.chain(later).map(|change| Ok::<_, Infallible>(format!("{change}\n")));
        Response::new(Body::from_stream(lines))
    }

    fn event(&self, event: Value) -> Response {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.objects().events.push((text(&event["reason"]), text(&event["regarding"]["name"])));
        Json(event).into_response()
    }

    fn patch(&self, path: &str, how: &str, change: &Value) -> Response {
        let there = self.objects().there.get(path).cloned();
        let mut object = match there {
            Some(there) => there,
            None if how.contains("apply-patch") => json!({"metadata": {"uid": path}}),
            None => return refusal(StatusCode::NOT_FOUND),
        };
        if !how.contains("json-patch") {
            merge(&mut object, change);
        } else if !patched(&mut object, change) {
            return refusal(StatusCode::UNPROCESSABLE_ENTITY);
        }
        Json(self.put(path, object)).into_response()
    }
}

async fn answer(State(cluster): State<Cluster>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = parts.uri.path().trim_end_matches("/status");
    let query = parts.uri.query().unwrap_or_default();
    let since = query.split('&').find_map(|word| word.strip_prefix("resourceVersion=")?.parse().ok());
    let how = parts.headers.get("content-type").and_then(|how| how.to_str().ok()).unwrap_or_default();
    let Some((_, in_namespace)) = path.split_once("/namespaces/") else { return refusal(StatusCode::NOT_FOUND) };
    match (parts.method.as_str(), in_namespace.split('/').count()) {
        ("GET", 2) if query.contains("watch=true") => cluster.watch(path.to_owned(), since.unwrap_or_default()),
        ("GET", 2) => cluster.list(path),
        ("GET", 3) => {
            let found = cluster.objects().there.get(path).cloned();
            found.map_or_else(|| refusal(StatusCode::NOT_FOUND), |found| Json(found).into_response())
        }
        ("POST", 2) if path.ends_with("/events") => cluster.event(body),
        ("POST", 2) => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            Json(cluster.put(&format!("{path}/{name}"), body)).into_response()
        }
        ("PATCH", 3) => cluster.patch(path, how, &body),
        _ => refusal(StatusCode::NOT_FOUND),
    }
}

/// A JSON patch, as finalizers are changed by: whether its tests hold.
fn patched(object: &mut Value, operations: &Value) -> bool {
    for operation in operations.as_array().into_iter().flatten() {
        let path = operation["path"].as_str().unwrap_or_default();
        match operation["op"].as_str() {
            Some("test") if object.pointer(path).unwrap_or(&Value::Null) == &operation["value"] => {}
            Some("remove") => {
                let (list, index) = path.rsplit_once('/').expect("an item of a list");
                let list = object.pointer_mut(list).and_then(Value::as_array_mut).expect("a list");
                list.remove(index.parse().expect("an index"));
            }
            _ => return false,
        }
    }
    true
}

fn refusal(code: StatusCode) -> Response {
    let reason = if code == StatusCode::NOT_FOUND { "NotFound" } else { "Invalid" };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "message": "refused", "reason": reason});
    (code, Json(body)).into_response()
}
