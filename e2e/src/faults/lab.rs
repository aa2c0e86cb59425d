//! Where trials take place: an API server with its controllers and fake nodes, a broker, and operators that run as processes.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use super::{
    Broker, Proxy,
    process::{Process, free_port},
    upstream::Upstream,
};
use crate::{command, connection::connect};

/// The namespace of the operators' Leases.
pub const HOME: &str = "docket-faults";
/// No pod pulls it: the nodes are fake.
const IMAGE: &str = "registry.local/docket:faults";

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
}

/// An operator with the proxy that it speaks through.
pub struct Operator {
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
        command::run(&wait, "").await?.or_fail("wait for the definitions").map(drop)
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    /// A new namespace of its own, with this word in its name.
    pub async fn namespace(&self, word: &str) -> Result<String> {
        let name = format!("{word}-{}-{}", std::process::id(), number());
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

    /// Whether a namespace is gone.
    pub async fn is_gone(&self, namespace: &str) -> Result<bool> {
        Ok(self.namespaces().get_opt(namespace).await.context("look for a namespace")?.is_none())
    }

    /// Starts an operator behind a proxy of its own.
    pub async fn start(&self, start: &Start) -> Result<Operator> {
        let proxy = Proxy::start(&self.upstream).await?;
        let number = number();
        let kubeconfig = self.folder.join(format!("operator-{number}.kubeconfig"));
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
        command.args(["--agent-image", IMAGE, "--namespace", HOME, "--identity", &format!("operator-{number}")]);
        command.args(["--lease-name", &start.lease, "--watch-namespaces", &start.namespaces]);
        command.args(["--nats", &self.broker.address(), "--health", &health]);
        let process = Process::start(&mut command, &self.folder.join(format!("operator-{number}.log")))?;
        Ok(Operator { proxy, process })
    }

    /// Starts an operator that shares its Lease with nobody.
    pub async fn start_alone(&self, namespaces: &str) -> Result<Operator> {
        self.start(&Start {
            namespaces: namespaces.to_owned(),
            lease: format!("lease-{}-{}", std::process::id(), number()),
        })
        .await
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
