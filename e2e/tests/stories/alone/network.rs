//! Who reaches whom: every pod of Docket, and pods that are none, against every port that Docket's listen on and what lies around
//! them. The cluster enforces NetworkPolicies.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Elsewhere, HOME, Kind, Process, condition, condition_of, field, processes_of, with_namespace,
    with_namespace_only,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{DynamicObject, ListParams};
use serde_json::json;
use tokio::{sync::OnceCell, time::timeout};

use crate::documents::letters;

/// The address of the machines' metadata services.
pub const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
/// Somewhere in the internet.
const OUTSIDE: [SocketAddrV4; 3] = [
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 80),
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 443),
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), 8000),
];
/// The API server and the name server, as the cluster's scripts lay them.
const NODE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// Longest time until all policies count on the node: several rounds, of which each waits some half a minute for what is closed.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_secs(1);
/// Seconds in which a connection is made, if nobody keeps it out: all is on one machine.
const SOON: u32 = 2;
/// The same for those that were not as they should be: the machine may have stood still.
const LATE: u32 = 10;
/// Connections that are tried at a time.
const AT_A_TIME: usize = 8;

/// What each may reach; nothing else. Pods of the namespace `theirs` have the same names as those of `ours`. `docs/install.md` has
/// the same as a table.
const OPEN: [(&str, &[&str]); 8] = [
    ("our agent", &["names", "nats 4222"]),
    // It has a model at a provider.
    ("our caller", &["names", "nats 4222", "outside 80", "outside 443"]),
    ("our gateway", &["names", "nats 4222", "our agent 8080", "our caller 8080"]),
    ("their agent", &["names", "nats 4222"]),
    ("their gateway", &["names", "nats 4222", "their agent 8080"]),
    // A policy cannot know the address of an API server, so its ports are open wherever they are.
    ("operator", &["names", "nats 4222", "API server", "outside 443"]),
    ("nats", &[]),
    // Somebody's pod beside ours: no policy of Docket's is about what it reaches. Metrics want a token, the gateway too.
    (
        "stranger",
        &[
            "names",
            "API server",
            "metadata",
            "outside 80",
            "outside 443",
            "outside 8000",
            "our agent 9090",
            "our caller 9090",
            "our gateway 8080",
            "our gateway 8081",
            "our gateway 9090",
            "their agent 9090",
            "their gateway 8080",
            "their gateway 8081",
            "their gateway 9090",
        ],
    ),
];

/// The machines' metadata service: one for all stories of this process.
pub async fn metadata_service() -> Result<&'static Elsewhere> {
    static SERVICE: OnceCell<Elsewhere> = OnceCell::const_new();
    SERVICE.get_or_try_init(|| Elsewhere::at(METADATA)).await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn pods_reach_what_they_need_and_nothing_else() -> Result<()> {
    metadata_service().await?;
    for address in OUTSIDE {
        Elsewhere::at(address).await?;
    }
    with_namespace(async |ours| {
        letters(ours).await?;
        callers(ours).await?;
        stranger(ours).await?;
        with_namespace_only(async |theirs| {
            letters(theirs).await?;
            let deadline = Instant::now() + PATIENCE;
            loop {
                // A round sees one state of things: a pod may be replaced meanwhile, as the gateway is when a pool is added.
                match round(ours, theirs).await {
                    Err(error) if Instant::now() > deadline => return Err(error),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                    Ok(()) => return Ok(()),
                }
            }
        })
        .await
    })
    .await
}

/// Looks for the pods, and tries all connections between them: an error where one is not as it should be.
async fn round(ours: &Cluster, theirs: &Cluster) -> Result<()> {
    let places = places(ours, theirs).await?;
    let targets = targets(&places)?;
    all_listen(&targets).await?;
    let expected = expected(&targets)?;
    let mut open = open(&places, &targets, SOON, |_| true).await?;
    let wrong: BTreeSet<Pair> = open.symmetric_difference(&expected).cloned().collect();
    open.retain(|pair| !wrong.contains(pair));
    open.extend(self::open(&places, &targets, LATE, |pair| wrong.contains(pair)).await?);
    let wrong: Vec<String> = open.symmetric_difference(&expected).map(|pair| told(pair, &open)).collect();
    ensure!(wrong.is_empty(), "connections are not as they should be:\n{}", wrong.join("\n"));
    Ok(())
}

/// A pool whose agents ask a provider in the internet.
async fn callers(cluster: &Cluster) -> Result<()> {
    let openai = json!({"baseUrl": "https://203.0.113.7/v1", "model": "m"});
    let pool = json!({
        "apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": "callers"},
        "spec": {
            "replicas": 1,
            "models": [{"name": "m", "task": "Generate", "source": {"openai": openai}}],
            "template": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
        },
    });
    cluster.apply(&pool).await?;
    cluster.wait(Kind::AgentPool, "callers", condition("Ready", "True")).await.map(drop)
}

/// A pod that is nobody's, of the only image that every cluster has.
async fn stranger(cluster: &Cluster) -> Result<()> {
    let own = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "labels": {"app": "stranger"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "idle", "image": "registry.local/pause:3.10", "securityContext": own}],
        },
    });
    cluster.apply(&pod).await?;
    cluster.wait(Kind::Pod, "stranger", field("/status/phase", json!("Running"))).await.map(drop)
}

/// A pod that connections are made from, and to.
struct Place {
    name: &'static str,
    process: Process,
    address: IpAddr,
}

async fn places(ours: &Cluster, theirs: &Cluster) -> Result<Vec<Place>> {
    let pool = |name: &str| format!("app.kubernetes.io/component=agents,docket.dev/pool={name}");
    let component = |name: &str| format!("app.kubernetes.io/component={name}");
    let places = [
        ("our agent", ours.namespace.as_str(), pool("clerks")),
        ("our caller", ours.namespace.as_str(), pool("callers")),
        ("our gateway", ours.namespace.as_str(), component("gateway")),
        ("their agent", theirs.namespace.as_str(), pool("clerks")),
        ("their gateway", theirs.namespace.as_str(), component("gateway")),
        ("operator", HOME, component("operator")),
        ("nats", HOME, component("nats")),
        ("stranger", ours.namespace.as_str(), "app=stranger".to_owned()),
    ];
    stream::iter(places).then(|(name, namespace, labels)| place(ours, name, namespace, labels)).try_collect().await
}

async fn place(cluster: &Cluster, name: &'static str, namespace: &str, labels: String) -> Result<Place> {
    let found = Kind::Pod.within(&cluster.client, namespace).list(&ListParams::default().labels(&labels)).await;
    let is_ready = |pod: &DynamicObject| {
        let ready = condition_of(pod, "Ready").is_some_and(|ready| ready["status"] == "True");
        ready && pod.metadata.deletion_timestamp.is_none()
    };
    let mut pods = found.with_context(|| format!("list pods {labels}"))?.items.into_iter().filter(is_ready);
    let pod = pods.next().with_context(|| format!("{name} is not ready ({namespace}, {labels})"))?;
    let address = pod.data["status"]["podIP"].as_str().context("a running pod without an address")?;
    let address = address.parse().with_context(|| format!("read the address of {name}"))?;
    // Policies let a new pod through some time after it runs: it waits for that, and does not end over it. Those that all share
    // were crashed by other stories.
    let restarts = &pod.data["status"]["containerStatuses"][0]["restartCount"];
    ensure!(namespace == HOME || restarts == 0, "{name} was started {restarts} times again");
    let process = processes_of(&pod)?.into_iter().next().context("a running pod without a process")?;
    Ok(Place { name, process, address })
}

/// What can be connected to: by its name, which begins with that of its pod.
fn targets(places: &[Place]) -> Result<Vec<(String, SocketAddr)>> {
    let mut targets: Vec<(String, SocketAddr)> = OUTSIDE
        .iter()
        .map(|outside| (format!("outside {}", outside.port()), (*outside).into()))
        .chain([("metadata".to_owned(), METADATA.into())])
        .chain([("API server", 6443), ("names", 53)].map(|(name, port)| (name.to_owned(), (NODE, port).into())))
        .collect();
    for place in places {
        let ports: &[u16] = match place.name {
            "our agent" | "our caller" | "their agent" => &[8080, 9090],
            "our gateway" | "their gateway" => &[8080, 8081, 9090],
            "operator" => &[9090],
            "nats" => &[4222, 8222],
            _ => &[],
        };
        targets.extend(ports.iter().map(|port| (format!("{} {port}", place.name), (place.address, *port).into())));
    }
    Ok(targets)
}

/// The node, which no policy keeps out, is let in everywhere: whatever is closed is closed by a policy.
async fn all_listen(targets: &[(String, SocketAddr)]) -> Result<()> {
    let late = Duration::from_secs(LATE.into());
    for (name, address) in targets {
        let connected = timeout(late, tokio::net::TcpStream::connect(address)).await;
        let connected = connected.with_context(|| format!("{name}, {address}, does not answer"))?;
        connected.with_context(|| format!("nothing listens at {name}, {address}"))?;
    }
    Ok(())
}

/// A connection: from whom, to what.
type Pair = (String, String);

fn expected(targets: &[(String, SocketAddr)]) -> Result<BTreeSet<Pair>> {
    let pairs = OPEN.iter().flat_map(|(from, to)| to.iter().map(move |to| ((*from).to_owned(), (*to).to_owned())));
    let pairs: BTreeSet<Pair> = pairs.collect();
    for (_, to) in &pairs {
        ensure!(targets.iter().any(|(name, _)| name == to), "{to} is not among what is tried");
    }
    Ok(pairs)
}

/// All that is let through within so many seconds, of what could be and is asked for.
async fn open(
    places: &[Place],
    targets: &[(String, SocketAddr)],
    within: u32,
    asked: impl Fn(&Pair) -> bool,
) -> Result<BTreeSet<Pair>> {
    let pairs = places.iter().flat_map(|from| targets.iter().map(move |to| (from, to)));
    // A pod reaches itself.
    let pairs = pairs.filter(|(from, (_, address))| from.address != address.ip());
    let pairs = pairs.map(|(from, (name, address))| (from, *address, (from.name.to_owned(), name.clone())));
    let pairs = pairs.filter(|(_, _, pair)| asked(pair));
    let tried = stream::iter(pairs).map(|(from, address, pair)| async move {
        Ok::<_, anyhow::Error>(from.process.connects(address, within).await?.then_some(pair))
    });
    let open: Vec<Option<Pair>> = tried.buffer_unordered(AT_A_TIME).try_collect().await?;
    Ok(open.into_iter().flatten().collect())
}

fn told((from, to): &Pair, open: &BTreeSet<Pair>) -> String {
    let how = if open.contains(&(from.clone(), to.clone())) { "open" } else { "closed" };
    format!("from {from} to {to}: {how}")
}
