//! Installs, upgrades and removes Docket in every way that is documented. Run alone: each story begins and ends without it.

#[path = "stories/documents.rs"]
mod documents;
#[path = "install/namespaced.rs"]
mod namespaced;
#[path = "install/servers.rs"]
mod servers;
#[path = "install/upgrade.rs"]
mod upgrade;

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::{
    Installation, Kind, RELEASE, condition, connect, helm, is_one_user, kustomize, remove, run, with_namespace_only,
};
use kube::api::ListParams;

use documents::{all_ended_once, documents, letters};

/// What all objects of the chart have.
const PART_OF_DOCKET: &str = "app.kubernetes.io/part-of=docket";

#[tokio::test]
#[ignore = "needs cluster"]
async fn helm_installs_tests_and_removes_everything() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    let began = Instant::now();
    helm(&client, &[]).await?;
    works(began).await?;
    keeps_its_credentials().await?;
    run(&["helm", "test", "docket", "--namespace", e2e::HOME, "--timeout", "3m"], "").await?.or_fail("helm test")?;
    remove(&client, Installation::Helm).await?;
    nothing_is_left().await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn kustomize_installs_the_same() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    let began = Instant::now();
    kustomize(&client).await?;
    works(began).await?;
    remove(&client, Installation::Kustomize).await?;
    nothing_is_left().await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn an_uninstall_keeps_what_users_made() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    helm(&client, &[]).await?;
    with_namespace_only(async |cluster| {
        cluster.apply_file("e2e/manifests/letters.yaml").await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        for release in ["docket", "docket-crds"] {
            let uninstall = ["helm", "uninstall", release, "--namespace", e2e::HOME, "--wait"];
            run(&uninstall, "").await?.or_fail("helm uninstall")?;
        }
        cluster.kubectl(&["get", "agentpool/clerks", "pipeline/letters"], "").await?;
        // Whoever comes back goes on where it was.
        helm(&cluster.client, &[]).await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await.map(drop)
    })
    .await?;
    remove(&client, Installation::Helm).await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn definitions_that_are_deleted_and_come_back_are_served_again() -> Result<()> {
    let client = connect().await?;
    remove(&client, Installation::Helm).await?;
    helm(&client, &[]).await?;
    with_namespace_only(async |cluster| {
        cluster.apply_file("e2e/manifests/letters.yaml").await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
        let delete = ["kubectl", "delete", "crd", "agentpools.docket.dev", "pipelines.docket.dev", "--timeout", "120s"];
        run(&delete, "").await?.or_fail("delete the definitions")?;
        cluster.wait_gone(Kind::Deployment, "clerks-agents").await?;
        helm(&cluster.client, &[]).await?;
        cluster.apply_file("e2e/manifests/letters.yaml").await?;
        cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await.map(drop)
    })
    .await?;
    remove(&client, Installation::Helm).await
}

/// A document goes from its submission to its result. Says how long that was since the installation began.
async fn works(began: Instant) -> Result<()> {
    with_namespace_only(async |cluster| {
        let gateway = letters(cluster).await?;
        let documents = documents("first", 1);
        gateway.submit_all("letters", &documents).await?;
        all_ended_once(&gateway, &documents).await?;
        eprintln!("from the installation's begin to the first result: {:.1} s", began.elapsed().as_secs_f64());
        Ok(())
    })
    .await
}

/// Neither Helm nor whoever applies what it renders gives the broker another kind of credentials, by which no document is found.
async fn keeps_its_credentials() -> Result<()> {
    let (there, other) = if is_one_user() { ("Password", "Accounts") } else { ("Accounts", "Password") };
    let set = format!("nats.auth.mode={other}");
    let changed = [RELEASE, "charts/docket", "--namespace", e2e::HOME, "--set", "nats.replicas=1", "--set", &set];
    let upgraded = run(&[&["helm", "upgrade"], &changed[..]].concat(), "").await?;
    let reason = format!("nats.auth.mode: {there} is installed");
    ensure!(!upgraded.succeeded && upgraded.errors.contains(&reason), "helm upgrade says {}", upgraded.errors);
    let rendering = [&["helm", "template", "--kube-version", "1.34.0"], &changed[..]].concat();
    let rendered = run(&rendering, "").await?.or_fail("helm template")?;
    let apply = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename", "-"];
    let applied = run(&[&["kubectl"], &apply[..]].concat(), &rendered).await?;
    let reason = "spec: Forbidden: updates to statefulset spec";
    ensure!(!applied.succeeded && applied.errors.contains(reason), "kubectl apply says {}", applied.errors);
    Ok(())
}

async fn nothing_is_left() -> Result<()> {
    let client = connect().await?;
    for kind in [Kind::Deployment, Kind::StatefulSet, Kind::Service] {
        let labelled = ListParams::default().labels(PART_OF_DOCKET);
        let left = kind.everywhere(&client).list(&labelled).await?;
        ensure!(left.items.is_empty(), "{} objects of kind {kind:?} are left", left.items.len());
    }
    let roles = "clusterroles,clusterrolebindings,roles,rolebindings";
    let list = ["kubectl", "get", roles, "--all-namespaces", "--selector", PART_OF_DOCKET, "--output", "name"];
    let roles = run(&list, "").await?.or_fail("list the roles")?;
    ensure!(roles.is_empty(), "roles are left:\n{roles}");
    let definitions =
        run(&["kubectl", "get", "crds", "--output", "name"], "").await?.or_fail("list the definitions")?;
    ensure!(!definitions.contains("docket.dev"), "definitions are left:\n{definitions}");
    Ok(())
}
