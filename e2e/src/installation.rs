//! Installs Docket as a person would, and removes it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject},
};
use tokio::sync::OnceCell;

use crate::{
    Kind,
    away::answered,
    command::run,
    expectation::{condition_of, wait},
    gone,
};

/// Namespace of the operator and the broker.
pub const HOME: &str = "docket-system";
/// Name of the operator's Deployment, ServiceAccount and Lease.
pub const OPERATOR: &str = "docket-operator";
/// Release of the resource definitions, and its chart; it is never removed by the other one.
pub const DEFINITIONS: &str = "docket-crds";
/// Release of the operator, and its chart.
pub const RELEASE: &str = "docket";
/// Where both charts lie.
const CHARTS: [&str; 2] = ["charts/docket-crds", "charts/docket"];
/// Values of the charts that fit a cluster of one small node.
const VALUES: &str = "e2e/cluster/values.yaml";
/// The kustomization, as it is.
const KUSTOMIZATION: &str = "config/default";
/// Longest wait until everything is up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How Docket came into the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// By the charts.
    Helm,
    /// By the kustomization.
    Kustomize,
}

/// Installs by Helm, once in this process; a release that is there already is brought up to date.
pub async fn installed(client: &Client) -> Result<()> {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_try_init(|| helm(client, &[])).await.map(drop)
}

/// Installs both charts, with further values (`key=value`), and waits until everything is available.
pub async fn helm(client: &Client, values: &[&str]) -> Result<()> {
    helm_charts(client, CHARTS, values).await
}

/// As [`helm`], with these charts: that of the definitions, that of the operator.
pub async fn helm_charts(client: &Client, [definitions, operator]: [&str; 2], values: &[&str]) -> Result<()> {
    let common = ["--namespace", HOME, "--create-namespace", "--wait", "--timeout", "5m"];
    let mut definitions = vec!["helm", "upgrade", "--install", DEFINITIONS, definitions];
    definitions.extend(common);
    run(&definitions, "").await?.or_fail("helm install of the definitions")?;
    let mut operator = vec!["helm", "upgrade", "--install", RELEASE, operator, "--values", VALUES];
    operator.extend(common);
    // For a run of all stories with an installation of another kind.
    let further = std::env::var("E2E_SET").unwrap_or_default();
    values.iter().copied().chain(further.split_whitespace()).for_each(|value| operator.extend(["--set", value]));
    run(&operator, "").await?.or_fail("helm install")?;
    available(client).await
}

/// Whether all are one user of the broker, because `E2E_SET` says so.
pub fn is_one_user() -> bool {
    std::env::var("E2E_SET").is_ok_and(|values| values.contains("nats.auth.mode=Password"))
}

/// Takes both releases back to their revisions before, and waits until everything is available.
pub async fn helm_rollback(client: &Client) -> Result<()> {
    for release in [RELEASE, DEFINITIONS] {
        let rollback = ["helm", "rollback", release, "--namespace", HOME, "--wait", "--timeout", "5m"];
        run(&rollback, "").await?.or_fail("helm rollback")?;
    }
    available(client).await
}

/// Installs by `kubectl apply --kustomize`, and waits until everything is available.
pub async fn kustomize(client: &Client) -> Result<()> {
    run(&["kubectl", "apply", "--server-side", "--kustomize", KUSTOMIZATION], "")
        .await?
        .or_fail("apply the kustomization")?;
    available(client).await
}

/// Removes Docket and its definitions, as the documentation says: first what a user made, then the operator, then the
/// definitions.
pub async fn remove(client: &Client, installation: Installation) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for kind in ["pipelines.docket.dev", "agentpools.docket.dev"] {
        let found = answered(async |_| definitions.get_opt(kind).await).await;
        if found.with_context(|| format!("look for {kind}"))?.is_none() {
            continue;
        }
        let delete =
            ["kubectl", "delete", kind, "--all", "--all-namespaces", "--ignore-not-found", "--timeout", "120s"];
        run(&delete, "").await?.or_fail("delete what users made")?;
    }
    match installation {
        Installation::Helm => {
            for release in [RELEASE, DEFINITIONS] {
                let uninstall = ["helm", "uninstall", release, "--namespace", HOME, "--wait", "--ignore-not-found"];
                run(&uninstall, "").await?.or_fail("helm uninstall")?;
            }
        }
        Installation::Kustomize => {
            let delete = ["kubectl", "delete", "--kustomize", KUSTOMIZATION, "--ignore-not-found", "--wait=false"];
            run(&delete, "").await?.or_fail("delete the kustomization")?;
        }
    }
    // The chart of the definitions keeps them, so that nobody loses pools and pipelines by an uninstall.
    for name in ["pipelines.docket.dev", "agentpools.docket.dev"] {
        match answered(async |_| definitions.delete(name, &DeleteParams::default()).await).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            other => drop(other.with_context(|| format!("delete {name}"))?),
        }
    }
    let resource = kube::api::ApiResource::erase::<CustomResourceDefinition>(&());
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for name in ["pipelines.docket.dev", "agentpools.docket.dev"] {
        wait(&definitions, name, &gone(), PATIENCE).await?;
    }
    let resource = kube::api::ApiResource::erase::<k8s_openapi::api::core::v1::Namespace>(&());
    let namespaces: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    match answered(async |_| namespaces.delete(HOME, &DeleteParams::default()).await).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
        other => drop(other.context("delete the operator's namespace")?),
    }
    // A broker takes half a minute to see its clients off to another one. All of them go here.
    let hurry = ["kubectl", "delete", "pods", "--all", "--namespace", HOME, "--grace-period", "1", "--wait=false"];
    run(&hurry, "").await?.or_fail("delete the pods at once")?;
    wait(&namespaces, HOME, &gone(), PATIENCE).await.map(drop)
}

/// Waits until the operator and the broker have all their replicas, and somebody leads.
async fn available(client: &Client) -> Result<()> {
    let rolled_out = crate::Expectation::new("all replicas ready", |object| {
        object.is_some_and(|object| {
            let wanted = object.data["spec"]["replicas"].as_u64();
            let status = &object.data["status"];
            status["readyReplicas"].as_u64() == wanted
                && status["updatedReplicas"].as_u64() == wanted
                && status["observedGeneration"].as_i64() == object.metadata.generation
        })
    });
    let operator = wait(&Kind::Deployment.within(client, HOME), OPERATOR, &rolled_out, PATIENCE).await?;
    if operator.is_none_or(|operator| condition_of(&operator, "Available").is_none()) {
        bail!("the operator is not available");
    }
    wait(&Kind::StatefulSet.within(client, HOME), "docket-nats", &rolled_out, PATIENCE).await?;
    let led = crate::Expectation::new("a holder", |lease| {
        lease.is_some_and(|lease| lease.data["spec"]["holderIdentity"].as_str().is_some_and(|name| !name.is_empty()))
    });
    wait(&Kind::Lease.within(client, HOME), OPERATOR, &led, PATIENCE).await.map(drop)
}
