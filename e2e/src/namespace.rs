//! A namespace for one story, and what the story does in it.

use std::{
    fs::OpenOptions,
    io::Write as _,
    panic::AssertUnwindSafe,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Expectation, Gateway, Kind,
    away::answered,
    command,
    connection::connect,
    dump::dump,
    expectation::{self, PATIENCE, present, wait},
    gone,
    history::History,
    installation::installed,
};

/// Longest time of one story: nothing waits for ever.
const STORY: Duration = Duration::from_secs(1_200);
/// Longest time until a namespace is gone. Kubernetes removes its pods first, and where one is left at a look it looks again after half
/// of that pod's grace period: some minutes for agents, however soon they have ended.
const LEAVING: Duration = Duration::from_secs(600);
/// Between two looks at what is told.
const PAUSE: Duration = Duration::from_millis(500);
/// The port of a gateway's HTTP interface.
const GATEWAY_PORT: u16 = 8080;
/// Secret with the bearer token for the gateway of a namespace, under the key `token`.
const TOKENS: &str = "docket-gateway-tokens";
/// Variable with the path of a file to which the reasons of failed stories are added.
const FAILURES: &str = "E2E_FAILURES";
/// Who stories write as.
const MANAGER: &str = "e2e";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Runs a story in a namespace of its own, beside others. It enforces restricted Pod Security. Afterwards it is deleted,
/// which must succeed too; with E2E_KEEP it stays. Docket is installed first where it is not.
pub async fn with_namespace(story: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    installed(&connect().await?).await?;
    tell(story).await
}

/// As [`with_namespace`], with whatever is installed.
pub async fn with_namespace_only(story: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    tell(story).await
}

async fn tell(story: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    let client = connect().await?;
    let cluster = Cluster { namespace: create_namespace(&client).await?, client };
    // No pod is taken before its account is there, for which the API server waits a second.
    cluster.wait(Kind::ServiceAccount, "default", present()).await?;
    let history = History::of(&cluster.client, &cluster.namespace);
    let told = timeout(STORY, AssertUnwindSafe(story(&cluster)).catch_unwind()).await;
    // The test harness names its threads after the tests.
    let name = std::thread::current().name().unwrap_or("a story").to_owned();
    eprintln!("{name} took {:.1} s", begun.elapsed().as_secs_f64());
    let outcome = match told {
        Ok(Ok(outcome)) => outcome.and_then(|()| history.check()),
        Ok(Err(panic)) => Err(anyhow!("{}", words(panic.as_ref()))),
        Err(_) => Err(anyhow!("the story took longer than {STORY:?}")),
    };
    if let Err(error) = &outcome {
        report(&name, error);
        dump(&cluster.client, &cluster.namespace).await;
    }
    if std::env::var_os("E2E_KEEP").is_some() {
        eprintln!("namespace {} is kept", cluster.namespace);
        return outcome;
    }
    let deleted = cluster.delete_namespace().await;
    if let (Err(error), Ok(())) = (&deleted, &outcome) {
        report(&name, error);
        dump(&cluster.client, &cluster.namespace).await;
    }
    outcome.and(deleted)
}

/// Keeps why a story failed for the end of the run, where it is not lost among all that is dumped.
fn report(story: &str, error: &anyhow::Error) {
    let Some(path) = std::env::var_os(FAILURES) else { return };
    let written = OpenOptions::new().append(true).create(true).open(&path);
    if let Err(error) = written.and_then(|mut file| writeln!(file, "{story}: {error:#}")) {
        eprintln!("{}: {error}", path.display());
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("the story panicked").to_owned()
}

async fn create_namespace(client: &Client) -> Result<String> {
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("e2e-{}-{number}", std::process::id());
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }))?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let created = answered(async |again| match namespaces.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if again && status.is_already_exists() => Ok(()),
        created => created.map(drop),
    });
    created.await.context("create a namespace")?;
    Ok(name)
}

/// A story's namespace in the cluster.
pub struct Cluster {
    /// The API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// The objects of a kind in the namespace.
    pub fn all(&self, kind: Kind) -> Api<DynamicObject> {
        kind.within(&self.client, &self.namespace)
    }

    /// Applies a file, as a person would. The path is seen from the root of the repository.
    pub async fn apply_file(&self, file: &str) -> Result<()> {
        ensure!(command::repository().join(file).exists(), "there is no file {file}");
        self.kubectl(&["apply", "--server-side", "--filename", file], "").await.map(drop)
    }

    /// Applies an object, as a person would.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl(&["apply", "--server-side", "--filename", "-"], &object.to_string()).await.map(drop)
    }

    /// Whether the API server would take all that a file holds; nothing is stored.
    pub async fn would_take(&self, file: &Path) -> Result<()> {
        let file = file.display().to_string();
        self.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", &file], "")
            .await
            .map(drop)
    }

    /// What the API server says when it refuses an object.
    pub async fn refusal(&self, object: &Value) -> Result<String> {
        let mut command = vec!["kubectl", "--namespace", self.namespace.as_str()];
        command.extend(["create", "--filename", "-"]);
        let output = command::run(&command, &object.to_string()).await?;
        ensure!(!output.succeeded, "the API server took {object:#}");
        Ok(output.errors)
    }

    /// An object as it is.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<DynamicObject> {
        let found = answered(async |_| self.all(kind).get(name).await).await;
        found.with_context(|| format!("read {kind:?} \"{name}\""))
    }

    /// Changes an object by a merge patch.
    pub async fn patch(&self, kind: Kind, name: &str, change: Value) -> Result<DynamicObject> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = answered(async |_| self.all(kind).patch(name, &parameters, &Patch::Merge(&change)).await).await;
        patched.with_context(|| format!("change {kind:?} \"{name}\" by {change}"))
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        let deleted = answered(async |again| match self.all(kind).delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if again && status.is_not_found() => Ok(()),
            deleted => deleted.map(drop),
        });
        deleted.await.with_context(|| format!("delete {kind:?} \"{name}\""))
    }

    /// Writes the number of replicas, as an autoscaler would.
    pub async fn scale(&self, pool: &str, replicas: u32) -> Result<()> {
        let change = json!({"spec": {"replicas": replicas}});
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let pools = self.all(Kind::AgentPool);
        let scaled = answered(async |_| pools.patch_scale(pool, &parameters, &Patch::Merge(&change)).await).await;
        scaled.with_context(|| format!("scale pool \"{pool}\"")).map(drop)
    }

    /// Waits until an object is as expected.
    pub async fn wait(&self, kind: Kind, name: &str, expectation: Expectation) -> Result<DynamicObject> {
        expectation::wait_for(&self.all(kind), name, &expectation).await
    }

    /// Waits until an object is gone.
    pub async fn wait_gone(&self, kind: Kind, name: &str) -> Result<()> {
        wait(&self.all(kind), name, &gone(), PATIENCE).await.map(drop)
    }

    /// The objects of a kind with these labels.
    pub async fn labelled(&self, kind: Kind, labels: &str) -> Result<Vec<DynamicObject>> {
        let wanted = ListParams::default().labels(labels);
        let found = answered(async |_| self.all(kind).list(&wanted).await).await;
        Ok(found.with_context(|| format!("list {kind:?} {labels}"))?.items)
    }

    /// The namespace's gateway, at the address that its Service has, with the token that the operator has made.
    pub async fn gateway(&self) -> Result<Gateway> {
        let service = self.wait(Kind::Service, "docket-gateway", present()).await?;
        let Some(address) = service.data["spec"]["clusterIP"].as_str() else { bail!("the gateway has no address") };
        self.wait(Kind::Secret, TOKENS, present()).await?;
        let read = ["get", "secret", TOKENS, "--output", "go-template={{.data.token | base64decode}}"];
        Gateway::at(&format!("{address}:{GATEWAY_PORT}"), &self.kubectl(&read, "").await?)
    }

    /// The Events about pools, once they are as wanted or no more come: who tells them does so beside its work.
    pub async fn told_of_pools(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let begun = Instant::now();
        loop {
            let told =
                self.kubectl(&["get", "events", "--field-selector", "involvedObject.kind=AgentPool"], "").await?;
            if wanted(&told) || begun.elapsed() > PATIENCE {
                return Ok(told);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// kubectl in the namespace; what it prints.
    pub async fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = vec!["kubectl", "--namespace", self.namespace.as_str()];
        command.extend(arguments);
        command::run(&command, input).await?.or_fail(&command.join(" "))
    }

    /// Deletes the namespace and waits until it is gone: finalizers that wait for something are found here.
    pub async fn delete_namespace(&self) -> Result<()> {
        let resource = kube::api::ApiResource::erase::<Namespace>(&());
        let namespaces: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        match answered(async |_| namespaces.delete(&self.namespace, &DeleteParams::default()).await).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            other => other.context("delete the namespace")?,
        };
        wait(&namespaces, &self.namespace, &gone(), LEAVING).await.map(drop)
    }
}
