//! Whether the cluster knows Docket's kinds. By discovery, which every account may ask.

use crds::{AgentPool, Pipeline};
use kube::{Client, Resource};

/// The definitions that are missing, by the names that `kubectl get crd` has for them.
pub async fn missing(client: &Client) -> kube::Result<Vec<String>> {
    let version = AgentPool::api_version(&());
    let served = match client.list_api_group_resources(&version).await {
        Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(error),
    };
    let wanted = [AgentPool::plural(&()), Pipeline::plural(&())];
    let group = AgentPool::group(&());
    let absent = wanted.iter().filter(|plural| !served.iter().any(|name: &String| name == plural.as_ref()));
    Ok(absent.map(|plural| format!("{plural}.{group}")).collect())
}
