//! Whether the gateway of a namespace serves what a pipeline and its pools say now, or still what they said before.

use std::collections::BTreeMap;

use crds::{AgentPoolSpec, Pipeline};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{Api, ResourceExt, api::ListParams};

use super::{dereference::Gateway, pools::names_pool};
use crate::{
    agent_pool::pods_seen::PodsSeen,
    apply::{Error, within},
    context::Context,
    names::{CONFIG_ANNOTATION, Component, GATEWAY, selector, selector_text},
    namespace::{pipeline_file, pool_file},
    pods::digest_of,
    watching::namespace_of,
};

/// How the gateway stands for a pipeline, whose pools are among these.
pub async fn of(ctx: &Context, pipeline: &Pipeline, pools: &BTreeMap<String, AgentPoolSpec>) -> Result<Gateway, Error> {
    let namespace = namespace_of(pipeline);
    let api: Api<Deployment> = Api::namespaced(ctx.client.clone(), &namespace);
    let gateway = within("get", format!("Deployment {namespace}/{GATEWAY}"), api.get_opt(GATEWAY)).await?;
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &namespace);
    let files = within("get", format!("ConfigMap {namespace}/{GATEWAY}"), api.get_opt(GATEWAY)).await?;
    let (Some(gateway), Some(files)) = (gateway, files) else { return Ok(Gateway::Away) };
    let pools = pools.iter().filter(|(name, _)| names_pool(&pipeline.spec, name));
    let mut wanted: Vec<(String, String)> = pools.map(|(name, pool)| pool_file(name, pool)).collect();
    wanted.push(pipeline_file(&pipeline.name_any(), &pipeline.spec));
    Ok(how(&gateway, &files, &wanted))
}

/// Why a container of a gateway's pod does not do its work, for a gateway that does not serve what it should.
pub async fn trouble(ctx: &Context, namespace: &str, gateway: Gateway) -> Result<Option<String>, Error> {
    if gateway == Gateway::Serving {
        return Ok(None);
    }
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), namespace);
    let of_gateways = ListParams::default().labels(&selector_text(&selector(Component::Gateway, GATEWAY)));
    let pods = within("list", format!("pods of Deployment {namespace}/{GATEWAY}"), api.list(&of_gateways)).await?;
    Ok(PodsSeen::from_iter(&pods.items).trouble.map(|(_, message)| message))
}

/// How a gateway stands that is to serve these files, by name and text. Its Deployment follows its files by a moment, and its
/// pods follow the Deployment.
pub fn how(gateway: &Deployment, files: &ConfigMap, wanted: &[(String, String)]) -> Gateway {
    let Some(status) = &gateway.status else { return Gateway::Away };
    if status.available_replicas.unwrap_or_default() == 0 {
        return Gateway::Away;
    }
    let has = |(file, text): &(String, String)| files.data.as_ref().and_then(|data| data.get(file)) == Some(text);
    let template = gateway.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let digest = template.and_then(|metadata| metadata.annotations.as_ref()?.get(CONFIG_ANNOTATION));
    let replicas = gateway.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let newest = wanted.iter().all(has)
        && digest == Some(&digest_of(files))
        && status.observed_generation >= gateway.metadata.generation
        && status.updated_replicas.unwrap_or_default() == replicas
        && status.replicas.unwrap_or_default() == replicas;
    if newest { Gateway::Serving } else { Gateway::RollingOut }
}
