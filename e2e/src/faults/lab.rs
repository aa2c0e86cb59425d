//! Where trials take place: an API server with its controllers and fake nodes, a broker, and operators that run as processes.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{
    Broker, Proxy,
    process::{Process, free_port},
    upstream::Upstream,
    workload::{self, Step},
};
use crate::{Kind, command, connection::connect};

/// The namespace of the operators' Leases.
pub const HOME: &str = "docket-faults";
/// No pod pulls it: the nodes are fake.
const IMAGE: &str = "registry.local/docket:faults";

/// Longest wait for a first leader.
const START: Duration = Duration::from_secs(30);

/// Longest wait for the garbage collector.
const COLLECTOR: Duration = Duration::from_secs(300);

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A number that nothing else in this process has.
pub fn number() -> usize {
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// All that trials share.
pub struct Lab {
    /// As the administrator, past every proxy.
    pub client: Client,
    /// For proxies.
    pub upstream: Upstream,
    /// For all operators.
    pub broker: Broker,
    /// Logs and files.
    pub folder: PathBuf,
    program: PathBuf,
}

/// How an operator is started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The namespaces that it watches, with commas; all where empty.
    pub namespaces: String,
    /// Name of its Lease; those who share it are rivals.
    pub lease: String,
    /// Whether its writes pass one at a time.
    pub in_turn: bool,
}

impl Start {
    /// For these namespaces, with a Lease of its own.
    pub fn new(namespaces: &str) -> Self {
        Self {
            namespaces: namespaces.to_owned(),
            lease: format!("lease-{}-{}", std::process::id(), number()),
            in_turn: false,
        }
    }
}

/// An operator with the proxy that it speaks through.
pub struct Operator {
    /// What its identity in the Lease begins with.
    pub name: String,
    /// Its way to the API server.
    pub proxy: Proxy,
    /// The process.
    pub process: Process,
}

impl Lab {
    /// Installs Docket's kinds and starts the broker. `KUBECONFIG` names the cluster, which `up.sh --kwok` made.
    pub async fn open(program: PathBuf, nats: &std::path::Path, folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).context("make the folder of logs")?;
        let client = connect().await?;
        let kubeconfig = std::env::var_os("KUBECONFIG").context("find the cluster; use e2e/cluster/run.sh")?;
        let upstream = Upstream::of(PathBuf::from(kubeconfig).as_path())?;
        let broker = Broker::start(nats, &folder).await?;
        let lab = Self { client, upstream, broker, folder, program };
        lab.install().await?;
        match lab.namespaces().get_opt(HOME).await.context("look for a namespace")? {
            Some(_) => {}
            None => lab.create_namespace(HOME).await?,
        }
        lab.wait_for_the_collector().await?;
        Ok(lab)
    }

    /// Installs Docket's kinds, and waits until they are served.
    pub async fn install(&self) -> Result<()> {
        for file in ["agentpools", "pipelines"] {
            let file = format!("config/crd/{file}.docket.dev.yaml");
            command::run(&["kubectl", "apply", "--server-side", "--force-conflicts", "--filename", &file], "")
                .await?
                .or_fail("install the definitions")?;
        }
        let wait = ["kubectl", "wait", "--for", "condition=Established", "--timeout", "30s", "crd"];
        let wait = [&wait[..], &["agentpools.docket.dev", "pipelines.docket.dev"]].concat();
        // Those that were made a moment ago have no conditions, which is an error to kubectl.
        until("the definitions are served", COLLECTOR, async || Ok(command::run(&wait, "").await?.succeeded))
            .await
            .map(drop)
    }

    /// Waits until the garbage collector knows Docket's kinds, which it asks for every 30 s: until then what they own outlives
    /// them, and a run without faults would differ from a later one.
    async fn wait_for_the_collector(&self) -> Result<()> {
        for owner in [workload::pool("probe", 0), workload::pipeline("probe", &["read"])] {
            let Step::Apply(kind, name, _) = &owner else { continue };
            owner.take(&self.client, HOME).await?;
            let api = kind.within(&self.client, HOME);
            let uid = api.get(name).await.context("look at a probe")?.metadata.uid;
            let resource = kind.resource();
            let owned: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": [
                {"apiVersion": resource.api_version, "kind": resource.kind, "name": name, "uid": uid}]}}))?;
            let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), HOME);
            maps.create(&PostParams::default(), &owned).await.context("make what a probe owns")?;
            Step::Delete(*kind, name).take(&self.client, HOME).await?;
            until("the garbage collector knows Docket's kinds", COLLECTOR, async || {
                Ok(maps.get_opt(name).await.context("look at what a probe owned")?.is_none())
            })
            .await?;
        }
        Ok(())
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// A new namespace of its own, with this word in its name.
    pub async fn namespace(&self, word: &str) -> Result<String> {
        // No name begins another one: the broker's streams are told apart by them.
        let name = format!("{word}-{}-{:05}", std::process::id(), number());
        self.create_namespace(&name).await?;
        Ok(name)
    }

    async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        self.namespaces().create(&PostParams::default(), &namespace).await.context("create a namespace").map(drop)
    }

    /// Asks for a namespace's end, and does not wait for it.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        self.namespaces().delete(name, &DeleteParams::default()).await.context("delete a namespace").map(drop)
    }

    /// Lets go of the namespace of a trial and does not wait for its end. Its operators must have ended: nobody removes
    /// finalizers afterwards, so they are removed here, and who still ran would set them again.
    pub async fn release(&self, namespace: &str) -> Result<()> {
        for kind in [Kind::AgentPool, Kind::Pipeline] {
            let api = kind.within(&self.client, namespace);
            for object in api.list(&ListParams::default()).await.context("list what a trial left")? {
                let freed = json!({"metadata": {"finalizers": null}});
                let name = object.metadata.name.unwrap_or_default();
                // It may be gone by now.
                let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(&freed)).await;
            }
        }
        self.delete_namespace(namespace).await
    }

    /// Whether a namespace is gone.
    pub async fn is_gone(&self, namespace: &str) -> Result<bool> {
        Ok(self.namespaces().get_opt(namespace).await.context("look for a namespace")?.is_none())
    }

    /// Starts an operator behind a proxy of its own.
    pub async fn start(&self, start: &Start) -> Result<Operator> {
        let proxy = Proxy::start(&self.upstream, start.in_turn).await?;
        let name = format!("operator-{}", number());
        let kubeconfig = self.folder.join(format!("{name}.kubeconfig"));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": proxy.address()}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        std::fs::write(&kubeconfig, config.to_string()).context("write a kubeconfig")?;
        let health = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(&self.program);
        command.arg("run").env("KUBECONFIG", &kubeconfig).env("RUST_LOG", "info,operator=debug");
        command.args(["--agent-image", IMAGE, "--namespace", HOME, "--identity", &name]);
        command.args(["--lease-name", &start.lease, "--watch-namespaces", &start.namespaces]);
        command.args(["--nats", &self.broker.address(), "--health", &health]);
        let process = Process::start(&mut command, &self.folder.join(format!("{name}.log")))?;
        Ok(Operator { name, proxy, process })
    }

    /// Starts an operator that shares its Lease with nobody.
    pub async fn start_alone(&self, namespaces: &str) -> Result<Operator> {
        self.start(&Start::new(namespaces)).await
    }

    /// Who holds a Lease, by the identity that it names.
    pub async fn holder(&self, lease: &str) -> Result<Option<String>> {
        let found = Kind::Lease.within(&self.client, HOME).get_opt(lease).await.context("read a Lease")?;
        Ok(found.and_then(|lease| Some(lease.data["spec"]["holderIdentity"].as_str()?.to_owned())))
    }

    /// Waits until one of some rivals leads; which one.
    pub async fn leader(&self, lease: &str, rivals: &[Operator]) -> Result<usize> {
        let mut leader = None;
        until("one of the operators leads", START, async || {
            let holder = self.holder(lease).await?.unwrap_or_default();
            leader = rivals.iter().position(|rival| holder.starts_with(&format!("{}_", rival.name)));
            Ok(leader.is_some())
        })
        .await?;
        leader.context("one of the operators leads")
    }
}

/// Waits until something is so; how long that took.
pub async fn until(what: &str, limit: Duration, mut so: impl AsyncFnMut() -> Result<bool>) -> Result<Duration> {
    let begun = std::time::Instant::now();
    while !so().await? {
        ensure!(begun.elapsed() < limit, "{what} was not so within {} s", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(begun.elapsed())
}
