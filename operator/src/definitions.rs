//! Which kinds the cluster knows. By discovery, which every account may ask.

use crds::{AgentPool, Pipeline};
use kube::{Client, Resource};

/// The definitions of Docket's kinds that are missing, by the names that `kubectl get crd` has for them.
pub async fn missing(client: &Client) -> kube::Result<Vec<String>> {
    let served = served(client, &AgentPool::api_version(&())).await?;
    let wanted = [AgentPool::plural(&()), Pipeline::plural(&())];
    let group = AgentPool::group(&());
    let absent = wanted.iter().filter(|plural| !served.iter().any(|name| name == plural.as_ref()));
    Ok(absent.map(|plural| format!("{plural}.{group}")).collect())
}

/// The kinds of a group and version, such as `monitoring.coreos.com/v1`, by their plurals; none where the cluster does not
/// have that version.
pub async fn served(client: &Client, version: &str) -> kube::Result<Vec<String>> {
    match client.list_api_group_resources(version).await {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
        // Not `is_not_found`: the answer for an unknown version is plain text, which has no reason.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
