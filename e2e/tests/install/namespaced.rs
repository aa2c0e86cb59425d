//! An installation for some namespaces alone, by Roles in them: it works there, does not look elsewhere, and was granted what it
//! needs and nothing in the whole cluster, unless that was asked for.
//!
//! Gateways let in who has the token of their namespace's Secret: whose other tokens are, they could ask only with a right in the
//! whole cluster.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::{
    AuditLog, Cluster, Gateway, HOME, Installation, Kind, OPERATOR, OWNED, PATIENCE, condition, condition_saying,
    connect, field, granted_to, helm, present, remove, run, unused, with_namespace_only,
};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding},
    jiff::Timestamp,
};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::{Value, json};

use crate::{
    PART_OF_DOCKET,
    documents::{all_ended_once, documents},
    nothing_is_left,
};

const ACCOUNT: (&str, &str) = (HOME, OPERATOR);
/// What the chart adds to the whole cluster where gateways may ask whose a token is.
const REVIEWS: &str = "docket-gateway-token-review-docket-system";
/// How Prometheus finds the agents of the pool `clerks`.
const MONITOR: &str = "podmonitors/clerks-agents";
const PAUSE: Duration = Duration::from_millis(500);

#[tokio::test]
#[ignore = "needs cluster"]
async fn it_works_where_it_is_told_and_has_no_right_elsewhere() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    // With the kind that pools have an object of where the cluster knows it: no right is left untried.
    monitors(&["apply", "--server-side", "--filename", "e2e/manifests/pod-monitors.yaml"]).await?;
    let begun = Instant::now();
    // One that was made a moment ago has no conditions, which is an error to kubectl.
    while let Err(unknown) =
        monitors(&["wait", "--for", "condition=Established", "crd/podmonitors.monitoring.coreos.com"]).await
    {
        ensure!(begun.elapsed() < PATIENCE, "{unknown:#}");
        tokio::time::sleep(PAUSE).await;
    }
    with_namespace_only(async |elsewhere| {
        with_namespace_only(async |second| {
            with_namespace_only(async |first| {
                if let Err(wrong) = tell(&Team { first, second, elsewhere }).await {
                    // The namespaces could not go: what is wrong would be told many minutes later.
                    helm(&client, &["scope=Cluster"]).await?;
                    return Err(wrong);
                }
                // Before the namespaces go: with them go the Roles, without which no finalizer is taken away.
                remove(&client, Installation::Helm).await?;
                nothing_is_left().await?;
                for cluster in [first, second, elsewhere] {
                    nothing_of_ours(cluster).await?;
                }
                Ok(())
            })
            .await
        })
        .await
    })
    .await?;
    monitors(&["delete", "--filename", "e2e/manifests/pod-monitors.yaml"]).await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn a_namespace_that_goes_before_its_pools_is_let_go_by_a_right_in_the_cluster() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    with_namespace_only(async |cluster| {
        let namespaces = format!("watchNamespaces={{{}}}", cluster.namespace);
        helm(&client, &["scope=Namespaced", &namespaces]).await?;
        cluster.apply_file("e2e/manifests/letters.yaml").await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        cluster.kubectl(&["delete", "namespace", &cluster.namespace, "--wait=false"], "").await?;
        // Without it nobody takes the finalizers away, and nothing can be made in a namespace that is going. Where a pod is
        // left at a look, the controller of namespaces looks again after half of that pod's grace.
        cluster.kubectl(&["wait", "--for=delete", "role/docket-operator", "--timeout", "400s"], "").await?;
        // The same rights in the cluster, for an operator that still looks at its namespace alone.
        let template = ["helm", "template", "docket", "charts/docket", "--namespace", HOME];
        let only = ["--kube-version", "1.34.0", "--show-only", "templates/rbac/cluster.yaml"];
        let rights = [template.as_slice(), &only].concat();
        let rights = run(&rights, "").await?.or_fail("helm template")?;
        run(&["kubectl", "apply", "--filename", "-"], &rights).await?.or_fail("kubectl apply")?;
        cluster.delete_namespace().await?;
        run(&["kubectl", "delete", "--filename", "-"], &rights).await?.or_fail("kubectl delete").map(drop)
    })
    .await?;
    remove(&client, Installation::Helm).await
}

/// Two namespaces that are served, and one that is not.
struct Team<'a> {
    first: &'a Cluster,
    second: &'a Cluster,
    elsewhere: &'a Cluster,
}

impl Team<'_> {
    async fn install(&self, further: &[&str]) -> Result<()> {
        let namespaces = format!("watchNamespaces={{{},{}}}", self.first.namespace, self.second.namespace);
        helm(&self.first.client, &[&["scope=Namespaced", namespaces.as_str()], further].concat()).await
    }
}

async fn tell(team: &Team<'_>) -> Result<()> {
    let (began, since) = (Instant::now(), Timestamp::now());
    team.install(&[]).await?;
    team.elsewhere.apply_file("e2e/manifests/letters.yaml").await?;
    team.first.leave_copy().await?;
    let gateway = served(team.first).await?;
    let some = documents("first", 4);
    gateway.submit_all("letters", &some).await?;
    all_ended_once(&gateway, &some).await?;
    eprintln!("from the installation's begin to the first results: {:.1} s", began.elapsed().as_secs_f64());
    team.first.copy_is_gone().await?;
    lacks_a_gpu(team.second).await?;
    lacks_a_claim(team.first).await?;
    puts_back_whose_a_monitor_is(team.first).await?;
    // The work is done: who goes first is marked.
    team.first.wait(Kind::Deployment, "clerks-agents", field("/spec/replicas", json!(0))).await?;

    has_rights_only_in_namespaces(team, &[]).await?;
    let stranger = account(team.first).await?;
    ensure!(
        stranger.serves("letters", true).await.is_err(),
        "a ServiceAccount is let in, whose token nobody may review"
    );

    team.install(&["rbac.tokenReview.enabled=true"]).await?;
    has_rights_only_in_namespaces(team, &[REVIEWS]).await?;
    is_let_in(&stranger).await?;

    ends(team.first).await?;
    ends(team.second).await?;
    used_its_rights(team, since).await?;
    is_left_alone(team.elsewhere).await
}

/// The pipeline of a pool that sleeps is ready, and the gateway lets in who has the namespace's token.
async fn served(cluster: &Cluster) -> Result<Gateway> {
    cluster.apply_file("e2e/manifests/scaled.yaml").await?;
    cluster.wait(Kind::AgentPool, "clerks", condition("ScalingActive", "True")).await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    let gateway = cluster.gateway().await?;
    gateway.serves("letters", true).await?;
    Ok(gateway)
}

/// What nodes have is read by nobody here: pods say that none has room for them.
async fn lacks_a_gpu(cluster: &Cluster) -> Result<()> {
    let device = json!({"kind": "Gpu", "resource": "example.com/rare-gpu"});
    cluster.apply(&pool("rare", json!({"replicas": 1, "device": device}))).await?;
    let missing = condition_saying("Schedulable", "False", "example.com/rare-gpu");
    cluster.wait(Kind::AgentPool, "rare", missing).await.map(drop)
}

async fn lacks_a_claim(cluster: &Cluster) -> Result<()> {
    let volumes = json!({"volumes": [{"name": "state", "claim": "room"}]});
    cluster.apply(&pool("roomless", json!({"template": volumes}))).await?;
    cluster.wait(Kind::AgentPool, "roomless", condition_saying("Ready", "False", "room")).await.map(drop)
}

/// A PodMonitor that somebody took from its pool is the pool's again after the pool was looked at: the admission lets set owners
/// only who may delete the object.
async fn puts_back_whose_a_monitor_is(cluster: &Cluster) -> Result<()> {
    let taken = r#"{"metadata": {"ownerReferences": null}}"#;
    cluster.kubectl(&["patch", MONITOR, "--type", "merge", "--patch", taken], "").await?;
    cluster.patch(Kind::AgentPool, "clerks", json!({"spec": {"concurrency": 5}})).await?;
    let owner = "jsonpath={.metadata.ownerReferences[0].name}=clerks";
    cluster.kubectl(&["wait", MONITOR, "--for", owner, "--timeout", "120s"], "").await.map(drop)
}

/// A client with the token of a ServiceAccount of the namespace.
async fn account(cluster: &Cluster) -> Result<Gateway> {
    cluster.kubectl(&["create", "serviceaccount", "clerk"], "").await?;
    let token = cluster.kubectl(&["create", "token", "clerk", "--audience", "docket"], "").await?;
    let service = cluster.wait(Kind::Service, "docket-gateway", present()).await?;
    let address = service.data["spec"]["clusterIP"].as_str().unwrap_or_default();
    Gateway::at(&format!("{address}:8080"), token.trim())
}

/// Waits until the gateway has been told to ask whose tokens are.
async fn is_let_in(stranger: &Gateway) -> Result<()> {
    let begun = Instant::now();
    while let Err(refusal) = stranger.serves("letters", true).await {
        ensure!(begun.elapsed() < PATIENCE, "a ServiceAccount of the namespace is not let in: {refusal:#}");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// The operator has the same rights in each namespace that it serves, further ones in its own, and none in the whole cluster;
/// of the chart's roles only these are cluster-wide.
async fn has_rights_only_in_namespaces(team: &Team<'_>, cluster_wide: &[&str]) -> Result<()> {
    let client = &team.first.client;
    let granted = granted_to(client, ACCOUNT).await?;
    ensure!(granted.everywhere.is_empty(), "in the whole cluster the operator may {:?}", granted.everywhere);
    let served = [team.first.namespace.as_str(), team.second.namespace.as_str()];
    let within: BTreeSet<&str> = granted.within.keys().map(String::as_str).collect();
    ensure!(within == BTreeSet::from([served[0], served[1], HOME]), "the operator has rights in {within:?}");
    ensure!(granted.within[served[0]] == granted.within[served[1]], "its rights differ: {:?}", granted.within);
    let found = cluster_wide_of_ours(client).await?;
    ensure!(found.iter().eq(cluster_wide.iter().flat_map(|name| [name; 2])), "cluster-wide are {found:?}");
    Ok(())
}

/// The names of the ClusterRoles and the ClusterRoleBindings that come with Docket.
async fn cluster_wide_of_ours(client: &Client) -> Result<Vec<String>> {
    let (roles, bindings): (Api<ClusterRole>, Api<ClusterRoleBinding>) =
        (Api::all(client.clone()), Api::all(client.clone()));
    let ours = ListParams::default().labels(PART_OF_DOCKET);
    let (roles, bindings) = (roles.list(&ours).await?, bindings.list(&ours).await?);
    Ok(roles.iter().map(ResourceExt::name_any).chain(bindings.iter().map(ResourceExt::name_any)).collect())
}

/// Everything that a user made is gone, and then what it was turned into.
async fn ends(cluster: &Cluster) -> Result<()> {
    let delete = ["delete", "pipelines,agentpools", "--all", "--timeout", "120s"];
    cluster.kubectl(&delete, "").await?;
    cluster.wait_gone(Kind::Deployment, "docket-gateway").await?;
    cluster.wait_gone(Kind::Secret, "docket-gateway-tokens").await?;
    cluster.wait_gone(Kind::Secret, "docket-nats").await
}

/// The operator asked for nothing that it was not granted, for nothing outside, and for all that it was granted in a namespace.
async fn used_its_rights(team: &Team<'_>, since: Timestamp) -> Result<()> {
    let requests = AuditLog::since(since)?.requests(ACCOUNT);
    let told = |wrong: Vec<String>| wrong.join("\n");
    let refused: Vec<String> = requests.iter().filter(|request| request.refused).map(ToString::to_string).collect();
    ensure!(refused.is_empty(), "the operator was refused:\n{}", told(refused));
    let inside = [team.first.namespace.as_str(), team.second.namespace.as_str(), HOME];
    let outside: Vec<String> = requests
        .iter()
        .filter(|request| !inside.contains(&request.namespace.as_str()))
        .map(ToString::to_string)
        .collect();
    ensure!(outside.is_empty(), "outside of {inside:?} the operator asked for:\n{}", told(outside));
    let granted = granted_to(&team.first.client, ACCOUNT).await?;
    for namespace in [team.first.namespace.as_str(), HOME] {
        let there = requests.iter().filter(|request| request.namespace == namespace).cloned().collect();
        let unused: Vec<String> = unused(&granted.within[namespace], &there).iter().map(ToString::to_string).collect();
        ensure!(unused.is_empty(), "in {namespace} the operator did not use these rights:\n{}", told(unused));
    }
    Ok(())
}

/// What is not served is as its author left it: nothing was written into it, and nothing was made of it.
async fn is_left_alone(cluster: &Cluster) -> Result<()> {
    for (kind, name) in [(Kind::AgentPool, "clerks"), (Kind::Pipeline, "letters")] {
        let object = cluster.wait(kind, name, present()).await?;
        ensure!(object.data["status"].is_null(), "{kind:?} \"{name}\" has the status {:#}", object.data["status"]);
        ensure!(object.finalizers().is_empty(), "{kind:?} \"{name}\" has finalizers {:?}", object.finalizers());
    }
    nothing_of_ours(cluster).await
}

/// Nothing that the operator or the chart makes is in a namespace, or what is there goes: the garbage collector takes what belonged
/// to a pool after it, and pods have time to end.
async fn nothing_of_ours(cluster: &Cluster) -> Result<()> {
    for kind in OWNED.into_iter().chain([Kind::Secret, Kind::Pod]) {
        for object in cluster.labelled(kind, "app.kubernetes.io/name=docket").await? {
            cluster.wait_gone(kind, &object.name_any()).await?;
        }
    }
    Ok(())
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec})
}

async fn monitors(arguments: &[&str]) -> Result<()> {
    run(&[&["kubectl"], arguments].concat(), "").await?.or_fail("kubectl, for PodMonitors").map(drop)
}
