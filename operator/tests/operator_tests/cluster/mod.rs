//! A cluster with one pool, over real HTTP: objects that can be listed, watched and patched, a ReplicaSet that makes and takes
//! pods, and pods whose agents pull from a real broker, say how they are, and rest when told to.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use flow::{PodStatus, PoolOrders, ServiceTime, WaitCounts, keys};
use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use queue::{Delivery, Ports};
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};

pub const NAMESPACE: &str = "documents";
pub const POOL: &str = "readers";
/// From a pod's creation to ready, and in work a task.
const START: Duration = Duration::from_millis(1_500);
const SERVICE: Duration = Duration::from_millis(700);
const SLOTS: usize = 2;
/// A write that is held is refused after this: before its client gives it up, so that who is being written is known here.
const HOLD: Duration = Duration::from_secs(5);
const MARK: &str = "/metadata/annotations/controller.kubernetes.io~1pod-deletion-cost";

#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    objects: Mutex<Objects>,
    changes: broadcast::Sender<(&'static str, Value)>,
    ports: Ports,
    /// Tasks that were in hand when their pod was taken.
    pub interrupted: AtomicUsize,
    pub finished: AtomicUsize,
}

/// A pod that was taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Those that are not are taken first, whatever they bear.
    pub is_ready: bool,
    /// Whether it bore a mark.
    pub is_marked: bool,
}

#[derive(Default)]
struct Objects {
    version: u64,
    kinds: BTreeMap<&'static str, BTreeMap<String, Value>>,
    made: u32,
    events: Vec<String>,
    taken: Vec<Taken>,
    /// Whether Deployments change all the time, so that only who has just read one knows its version, and which that was.
    restless: bool,
    read: Option<String>,
    holding: BTreeMap<String, usize>,
    /// The newest version from which a kind was watched.
    watched: BTreeMap<&'static str, u64>,
    /// Whether writes of Deployments wait until the test lets them go, those that do, and how often the pool's was written.
    holds: bool,
    held: BTreeMap<String, oneshot::Sender<bool>>,
    writes: usize,
}

impl Cluster {
    /// A pool with this `scaling`, whose Deployment asks for no pods.
    pub fn new(ports: Ports, scaling: Value) -> Self {
        let inner = Inner {
            objects: Mutex::default(),
            changes: broadcast::channel(10_000).0,
            ports,
            interrupted: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
        };
        let cluster = Self(Arc::new(inner));
        cluster.add(POOL, scaling);
        cluster
    }

    /// Another pool, whose Deployment gets no pods.
    pub fn add(&self, pool: &str, scaling: Value) {
        let metadata = |name: &str| json!({"name": name, "namespace": NAMESPACE, "uid": format!("uid-{name}"), "generation": 1, "labels": labels(pool)});
        self.put(
            "agentpools",
            json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": metadata(pool),
                "spec": {"concurrency": SLOTS, "scaling": scaling}}),
        );
        self.put(
            "deployments",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(&agents(pool)),
                "spec": {"replicas": 0, "selector": {}, "template": {}}}),
        );
    }

    /// Serves it.
    pub async fn serve(&self) -> kube::Config {
        let group = |path: &str| format!("{path}/namespaces/{NAMESPACE}/{{kind}}");
        let one = |path: &str| format!("{path}/namespaces/{NAMESPACE}/{{kind}}/{{name}}");
        let mut routes = Router::new();
        for path in ["/api/v1", "/apis/apps/v1", "/apis/docket.dev/v1alpha1"] {
            routes = routes.route(&group(path), get(list)).route(&one(path), get(read).patch(patch));
        }
        let events = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
        let routes = routes.route(&events, axum::routing::post(event)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        kube::Config::new(format!("http://{address}").parse().expect("a URL"))
    }

    pub fn replicas(&self) -> u64 {
        self.replicas_of(POOL)
    }

    pub fn replicas_of(&self, pool: &str) -> u64 {
        self.objects().kinds["deployments"][&agents(pool)]["spec"]["replicas"].as_u64().expect("a number")
    }

    pub fn pods(&self) -> usize {
        self.objects().kinds.get("pods").map_or(0, BTreeMap::len)
    }

    pub fn finished(&self) -> usize {
        self.0.finished.load(Ordering::Relaxed)
    }

    pub fn interrupted(&self) -> usize {
        self.0.interrupted.load(Ordering::Relaxed)
    }

    /// Reasons of the Events that were published.
    pub fn events(&self) -> Vec<String> {
        self.objects().events.clone()
    }

    /// Pods that bear a mark.
    pub fn marked(&self) -> usize {
        let objects = self.objects();
        objects.kinds.get("pods").into_iter().flatten().filter(|(_, pod)| pod.pointer(MARK).is_some()).count()
    }

    /// The pods that were taken.
    pub fn taken(&self) -> Vec<Taken> {
        self.objects().taken.clone()
    }

    /// Somebody changes the pool.
    pub fn set_scaling(&self, field: &str, value: Value) {
        let mut pool = self.objects().kinds["agentpools"][POOL].clone();
        pool["spec"]["scaling"][field] = value;
        pool["metadata"]["generation"] = json!(pool["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        self.put("agentpools", pool);
    }

    /// The pool's uid and generation.
    pub fn pool(&self) -> (String, Option<i64>) {
        let metadata = self.objects().kinds["agentpools"][POOL]["metadata"].clone();
        (metadata["uid"].as_str().expect("a uid").to_owned(), metadata["generation"].as_i64())
    }

    /// Whether Deployments are written only when the test lets a write go. Those that wait go when they need not any more.
    pub fn hold_writes(&self, holds: bool) {
        let mut objects = self.objects();
        objects.holds = holds;
        if !holds {
            // One that was given up meanwhile waits for nothing.
            std::mem::take(&mut objects.held).into_values().for_each(|held| held.send(true).unwrap_or_default());
        }
    }

    /// Pools of which a write is held.
    pub fn held(&self) -> Vec<String> {
        let objects = self.objects();
        let held = objects.held.iter().filter(|(_, held)| !held.is_closed());
        held.filter_map(|(name, _)| name.strip_suffix("-agents").map(str::to_owned)).collect()
    }

    /// Ends the wait of a pool's write, which is then done or refused; says whether it still waited.
    pub fn let_go(&self, pool: &str, is_done: bool) -> bool {
        let held = self.objects().held.remove(&agents(pool));
        held.is_some_and(|held| held.send(is_done).is_ok())
    }

    /// How often somebody began to write the pool's Deployment.
    pub fn writes(&self) -> usize {
        self.objects().writes
    }

    /// Returns when who watches a kind knows of all that has changed: his watch is ended, and with the next one he says how far he
    /// has come.
    pub async fn until_seen(&self, kind: &'static str) {
        let newest = self.objects().kinds[kind].values().map(version).max().unwrap_or_default();
        while self.objects().watched.get(kind).is_none_or(|seen| *seen < newest) {
            drop(self.0.changes.send((kind, Value::Null)));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether a write of a Deployment may be done, which it may not before the test says so where writes are held.
    async fn may_be_written(&self, name: &str) -> bool {
        let said = {
            let mut objects = self.objects();
            objects.writes += usize::from(name == agents(POOL));
            if !objects.holds {
                return true;
            }
            let (held, said) = oneshot::channel();
            objects.held.insert(name.to_owned(), held);
            said
        };
        let said = tokio::time::timeout(HOLD, said).await;
        if said.is_err() {
            self.objects().held.remove(name);
        }
        matches!(said, Ok(Ok(true)))
    }

    /// Whether the Deployment's status changes all the time, as it does while pods come and go.
    pub fn set_restless(&self, restless: bool) {
        self.objects().restless = restless;
    }

    /// Somebody deletes the pool and makes it again.
    pub fn remake(&self, uid: &str) {
        let mut pool = self.remove("agentpools", POOL).expect("it is there");
        pool["metadata"]["uid"] = json!(uid);
        self.put("agentpools", pool);
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.objects.lock().expect("nobody panics with it")
    }

    fn put(&self, kind: &'static str, mut object: Value) -> Value {
        let mut objects = self.objects();
        objects.version += 1;
        object["metadata"]["resourceVersion"] = json!(objects.version.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let before = objects.kinds.entry(kind).or_default().insert(name, object.clone());
        let type_ = if before.is_some() { "MODIFIED" } else { "ADDED" };
        drop(self.0.changes.send((kind, json!({"type": type_, "object": object}))));
        object
    }

    fn remove(&self, kind: &'static str, name: &str) -> Option<Value> {
        let mut objects = self.objects();
        objects.version += 1;
        let version = objects.version.to_string();
        let mut object = objects.kinds.get_mut(kind)?.remove(name)?;
        object["metadata"]["resourceVersion"] = json!(version);
        drop(self.0.changes.send((kind, json!({"type": "DELETED", "object": object}))));
        Some(object)
    }

    /// What a ReplicaSet does: makes pods, or takes those that are not ready first, then those with the lowest mark.
    fn scale(&self, replicas: usize) {
        while self.pods() < replicas {
            let made = {
                let mut objects = self.objects();
                objects.made += 1;
                objects.made
            };
            let name = format!("pod-{made}");
            self.put(
                "pods",
                json!({"apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": labels(POOL),
                        "creationTimestamp": Timestamp::now().to_string()},
                    "spec": {"nodeName": "node", "containers": []}}),
            );
            tokio::spawn(agent(self.clone(), name));
        }
        while self.pods() > replicas {
            let first = {
                let objects = self.objects();
                let order = |pod: &&Value| {
                    let mark = pod.pointer(MARK).and_then(Value::as_str).and_then(|mark| mark.parse::<i32>().ok());
                    (pod["status"].is_object(), mark.unwrap_or(0))
                };
                let first = objects.kinds["pods"].values().min_by_key(order).expect("there are some");
                first["metadata"]["name"].as_str().expect("a name").to_owned()
            };
            let pod = self.remove("pods", &first).expect("it is there");
            let mut objects = self.objects();
            objects.taken.push(Taken { is_ready: pod["status"].is_object(), is_marked: pod.pointer(MARK).is_some() });
            let held = objects.holding.remove(&first).unwrap_or(0);
            self.0.interrupted.fetch_add(held, Ordering::Relaxed);
        }
    }
}

fn labels(pool: &str) -> Value {
    json!({"docket.dev/pool": pool, "app.kubernetes.io/managed-by": "docket-operator"})
}

/// The name of a pool's Deployment.
fn agents(pool: &str) -> String {
    format!("{pool}-agents")
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// An agent, until its pod is gone.
async fn agent(cluster: Cluster, name: String) {
    tokio::time::sleep(START).await;
    {
        let Some(mut pod) = cluster.objects().kinds["pods"].get(&name).cloned() else { return };
        pod["status"] = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::now().to_string()}]});
        cluster.put("pods", pod);
    }
    let ports = cluster.0.ports.clone();
    let key = format!("{POOL}/{name}");
    let mut said = Instant::now() - Duration::from_secs(1);
    let mut hand: Vec<(Instant, Delivery)> = Vec::new();
    let (mut waits, mut rests) = (WaitCounts::default(), false);
    let began = Timestamp::now().as_millisecond() as u64;
    while cluster.objects().kinds["pods"].contains_key(&name) {
        for (_, done) in hand.extract_if(.., |(done, _)| *done <= Instant::now()) {
            ports.queue.ack(&done.receipt).await.expect("the lease holds");
            cluster.0.finished.fetch_add(1, Ordering::Relaxed);
        }
        let orders = ports.statuses.all(keys::ORDERS).await.expect("the broker answers");
        let orders = orders.first().and_then(|(_, orders)| PoolOrders::decode(orders).ok()).unwrap_or_default();
        rests = orders.resting.contains(&name);
        if !rests && hand.len() < SLOTS {
            let wait = Duration::from_millis(100);
            for delivery in ports.queue.pull(POOL, SLOTS - hand.len(), wait).await.expect("the broker answers") {
                let now = Timestamp::now().as_millisecond() as u64;
                waits.start(now.saturating_sub(delivery.published_at) as f64 / 1_000.0);
                hand.push((Instant::now() + SERVICE, delivery));
            }
        }
        if cluster.objects().kinds["pods"].contains_key(&name) {
            cluster.objects().holding.insert(name.clone(), hand.len());
        }
        if said.elapsed() > Duration::from_millis(300) {
            said = Instant::now();
            let mean = SERVICE.as_secs_f64();
            let status = PodStatus {
                name: name.clone(),
                pool: POOL.to_owned(),
                slots: SLOTS as u32,
                in_work: hand.len() as u32,
                ready: true,
                cordoned: rests,
                service_times: vec![ServiceTime { count: 5, mean, p50: mean, p95: mean, ..ServiceTime::default() }],
                waits: Some(waits.clone()),
                began,
                at: Timestamp::now().as_millisecond() as u64,
                ..PodStatus::default()
            };
            ports.statuses.publish(&key, status.encode().into()).await.expect("the broker answers");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(ports.statuses.remove(&key).await);
    let _ = rests;
}

fn known(kind: &str) -> Option<&'static str> {
    ["pods", "deployments", "agentpools", "pipelines"].into_iter().find(|known| *known == kind)
}

async fn list(
    State(cluster): State<Cluster>,
    Path(kind): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let Some(kind) = known(&kind) else { return StatusCode::NOT_FOUND.into_response() };
    if query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
        let since: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or_default();
        let changes = cluster.0.changes.subscribe();
        // What changed between the list and now.
        let missed: Vec<Value> = {
            let mut objects = cluster.objects();
            objects.watched.insert(kind, since);
            let there = objects.kinds.get(kind).map(|there| there.values().cloned().collect::<Vec<_>>());
            there.unwrap_or_default().into_iter().filter(|object| version(object) > since).collect()
        };
        let missed = stream::iter(missed.into_iter().map(|object| json!({"type": "MODIFIED", "object": object})));
        let later = stream::unfold(changes, move |mut changes| async move {
            loop {
                match changes.recv().await {
                    // The end of all watches.
                    Ok((of, Value::Null)) if of == kind => return None,
                    Ok((of, change)) if of == kind => return Some((change, changes)),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        });
        let lines = missed.chain(later).map(|change| Ok::<_, Infallible>(format!("{change}\n")));
        return Response::new(Body::from_stream(lines));
    }
    let objects = cluster.objects();
    let items: Vec<Value> = objects.kinds.get(kind).map(|there| there.values().cloned().collect()).unwrap_or_default();
    Json(json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": objects.version.to_string()}, "items": items}))
        .into_response()
}

async fn read(State(cluster): State<Cluster>, Path((kind, name)): Path<(String, String)>) -> Response {
    let mut objects = cluster.objects();
    let found = known(&kind).and_then(|kind| objects.kinds.get(kind)?.get(&name).cloned());
    objects.read = found.as_ref().and_then(|found| found["metadata"]["resourceVersion"].as_str().map(str::to_owned));
    found.map_or_else(|| refusal(StatusCode::NOT_FOUND), |found| Json(found).into_response())
}

/// A merge patch, under the conditions that it names.
async fn patch(
    State(cluster): State<Cluster>,
    Path((kind, name)): Path<(String, String)>,
    Json(change): Json<Value>,
) -> Response {
    let Some(kind) = known(&kind) else { return refusal(StatusCode::NOT_FOUND) };
    if kind == "deployments" && !cluster.may_be_written(&name).await {
        return refusal(StatusCode::SERVICE_UNAVAILABLE);
    }
    let found = cluster.objects().kinds.get(kind).and_then(|there| there.get(&name).cloned());
    let Some(mut object) = found else { return refusal(StatusCode::NOT_FOUND) };
    if kind == "deployments" && cluster.objects().restless {
        let read = cluster.objects().read.take();
        if read.as_deref() != object["metadata"]["resourceVersion"].as_str() {
            object = cluster.put(kind, object);
        }
    }
    for condition in ["uid", "resourceVersion"] {
        let wanted = &change["metadata"][condition];
        if !wanted.is_null() && *wanted != object["metadata"][condition] {
            return refusal(StatusCode::CONFLICT);
        }
    }
    merge(&mut object, &change);
    if change["spec"].is_object() {
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_u64().unwrap_or_default() + 1);
    }
    let object = cluster.put(kind, object);
    if kind == "deployments" && name == agents(POOL) {
        let replicas = object["spec"]["replicas"].as_u64().expect("a number");
        cluster.scale(usize::try_from(replicas).expect("a small number"));
    }
    Json(object).into_response()
}

/// A merge patch, as RFC 7396 says.
pub(crate) fn merge(object: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        *object = change.clone();
        return;
    };
    for (field, change) in fields {
        if change.is_null() {
            if let Some(object) = object.as_object_mut() {
                object.remove(field);
            }
        } else {
            merge(&mut object[field], change);
        }
    }
}

async fn event(State(cluster): State<Cluster>, Json(event): Json<Value>) -> Response {
    cluster.objects().events.push(event["reason"].as_str().unwrap_or_default().to_owned());
    Json(event).into_response()
}

fn refusal(code: StatusCode) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(),
        "message": "refused", "reason": "refused"});
    (code, Json(body)).into_response()
}
