//! Who a gateway lets in: ServiceAccounts of its namespace, by what the API server says of their tokens.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Door, Kind, PATIENCE, condition, connect, helm, present, with_namespace, with_namespace_only};

/// Longest time from the deletion of a ServiceAccount to the refusal of its token.
const REVOKED: Duration = Duration::from_secs(60);

#[tokio::test]
#[ignore = "needs cluster"]
async fn service_accounts_of_the_namespace_are_let_in_until_they_are_deleted() -> Result<()> {
    with_namespace(async |cluster| {
        let reviews = format!("rbac.tokenReview.namespaces={{{}}}", cluster.namespace);
        helm(&connect().await?, &["rbac.tokenReview.enabled=true", &reviews]).await?;
        let told = tell(cluster).await;
        // As the other stories have it.
        helm(&connect().await?, &[]).await?;
        told
    })
    .await
}

async fn tell(cluster: &Cluster) -> Result<()> {
    cluster.apply_file("e2e/manifests/letters.yaml").await?;
    cluster.wait(Kind::Pipeline, "letters", condition("Ready", "True")).await?;
    let service = cluster.wait(Kind::Service, "docket-gateway", present()).await?;
    let door = Door::of(&service)?;

    cluster.kubectl(&["create", "serviceaccount", "clerk"], "").await?;
    let clerk = token(cluster, "clerk", "docket").await?;
    door.answers(&clerk, 200, PATIENCE).await.context("a ServiceAccount of the namespace")?;
    let elsewhere = token(cluster, "clerk", "another").await?;
    ensure!(door.says(&elsewhere).await?.code == 401, "a token for another audience was let in");
    ensure!(door.says("").await?.code == 401, "nobody's token was let in");
    with_namespace_only(async |other| {
        other.kubectl(&["create", "serviceaccount", "clerk"], "").await?;
        let stranger = token(other, "clerk", "docket").await?;
        ensure!(door.says(&stranger).await?.code == 401, "a ServiceAccount of another namespace was let in");
        Ok(())
    })
    .await?;
    ensure!(door.says(&clerk).await?.code == 200, "it is not let in any more");
    a_pods_token_ends_with_its_pod(cluster, &door).await?;

    cluster.delete(Kind::ServiceAccount, "clerk").await?;
    door.answers(&clerk, 401, REVOKED).await.context("the token of a deleted ServiceAccount")
}

/// A token that was made for a pod counts while there is that pod, and a copy that was taken of it ends with the pod: neither
/// the account nor its next pod keeps it alive.
async fn a_pods_token_ends_with_its_pod(cluster: &Cluster, door: &Door) -> Result<()> {
    let pod = cluster.labelled(Kind::Pod, "docket.dev/pool=clerks").await?.pop().context("the pool has no pod")?;
    let name = pod.metadata.name.unwrap_or_default();
    let bound = |audience| {
        let pod = ["--bound-object-kind", "Pod", "--bound-object-name", &name].map(str::to_owned);
        let command = ["create", "token", "clerks-agents", "--audience", audience].map(str::to_owned);
        command.into_iter().chain(pod).collect::<Vec<_>>()
    };
    let made = async |audience| {
        let command = bound(audience);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        Ok::<_, anyhow::Error>(cluster.kubectl(&command, "").await?.trim().to_owned())
    };
    let (captured, elsewhere) = (made("docket").await?, made("another").await?);
    door.answers(&captured, 200, PATIENCE).await.context("the token of a pod")?;
    ensure!(door.says(&elsewhere).await?.code == 401, "a pod's token for another audience was let in");

    // At once: what is measured is not how long an agent takes to finish.
    cluster.kubectl(&["delete", "pod", &name, "--grace-period", "1"], "").await?;
    cluster.wait_gone(Kind::Pod, &name).await?;
    door.answers(&captured, 401, REVOKED).await.context("the token of a deleted pod")?;
    let still = token(cluster, "clerks-agents", "docket").await?;
    door.answers(&still, 200, PATIENCE).await.context("another token of the pod's account")
}

/// A token that the API server makes, as `kubectl create token` asks for it.
async fn token(cluster: &Cluster, account: &str, audience: &str) -> Result<String> {
    let made = cluster.kubectl(&["create", "token", account, "--audience", audience], "").await?;
    Ok(made.trim().to_owned())
}
