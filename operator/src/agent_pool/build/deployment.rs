//! A pool's pods.

use std::collections::BTreeMap;

use crds::DeviceKind;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            ConfigMap, Container, EnvVar, PodResourceClaim, PodSpec, PodTemplateSpec, ResourceClaim,
            ResourceRequirements, Toleration, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    super::{
        fallback::Placement,
        ownership::Replicas,
        validate::ValidatedPool,
        volumes::{STATE, mount_path},
    },
    affinity, config_map,
};
use crate::{
    names::{self, Component, HEALTH, HTTP},
    pods::{self, Probes},
};

/// Added to the agents' own grace period, so that they end by themselves.
const MARGIN: i64 = 10;
/// Loading of models is waited for so long.
const LOADING: i32 = 15 * 60;

/// The Deployment of a pool.
pub fn deployment(pool: &ValidatedPool, config: &ConfigMap) -> Deployment {
    let labels = names::labels(Component::Agents, &pool.name);
    let metadata = ObjectMeta {
        labels: Some(labels),
        annotations: Some(pods::annotations(config, &pool.config, &pool.namespace, &pool.role())),
        ..ObjectMeta::default()
    };
    Deployment {
        metadata: pool.child_metadata(),
        spec: Some(DeploymentSpec {
            replicas: match pool.replicas {
                Replicas::Fixed(replicas) => Some(i32::try_from(replicas).unwrap_or(i32::MAX)),
                Replicas::Scaled(_) | Replicas::Returned => None,
            },
            selector: LabelSelector { match_labels: Some(pool.selector()), ..LabelSelector::default() },
            strategy: Some(strategy(pool)),
            template: PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(pool)) },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// New agents come before old ones go. Where each holds a device, or a place, of which there may be no other, they go first;
/// while a device is tried, those on the CPU hold none of it and stay. A claim with the state folder may be at one node alone, or
/// with one pod alone: a new agent that comes first would wait without end for the one that waits for it to be ready.
fn strategy(pool: &ValidatedPool) -> DeploymentStrategy {
    let holds_place = pool.spec.template.affinity.apart.as_ref().is_some_and(|apart| apart.required);
    let (surge, unavailable) = match (pool.placement, pool.spec.device.kind) {
        _ if pool.has_state_claim() => (0, 1),
        (Placement::Trial, _) => (1, 0),
        (Placement::Device, DeviceKind::Gpu) => (0, 1),
        _ if holds_place => (0, 1),
        _ => (1, 0),
    };
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(surge)),
            max_unavailable: Some(IntOrString::Int(unavailable)),
        }),
    }
}

fn pod(pool: &ValidatedPool) -> PodSpec {
    let device = pool.device();
    let tolerations: Vec<_> = device.tolerations.iter().map(toleration).collect();
    PodSpec {
        service_account_name: Some(names::agents(&pool.name)),
        termination_grace_period_seconds: Some(i64::try_from(pool.grace.as_secs()).unwrap_or(i64::MAX) + MARGIN),
        node_selector: (!device.node_selector.is_empty()).then(|| device.node_selector.clone()),
        tolerations: (!tolerations.is_empty()).then_some(tolerations),
        resource_claims: (!device.claims.is_empty()).then(|| device.claims.iter().map(claim).collect()),
        affinity: affinity::affinity(pool),
        priority_class_name: pool.spec.template.priority_class_name.clone(),
        init_containers: pull(pool).map(|container| vec![container]),
        containers: vec![agent(pool)],
        volumes: Some(volumes(pool)),
        ..pods::restricted(&pool.config, &pool.selector())
    }
}

fn claim(written: &crds::DeviceClaim) -> PodResourceClaim {
    PodResourceClaim {
        name: written.name.clone(),
        resource_claim_template_name: Some(written.template.clone()),
        resource_claim_name: None,
    }
}

fn toleration(written: &crds::Toleration) -> Toleration {
    Toleration {
        key: Some(written.key.clone()),
        operator: Some(if written.value.is_some() { "Equal" } else { "Exists" }.to_owned()),
        value: written.value.clone().and_then(unless_empty),
        effect: written.effect.map(|effect| format!("{effect:?}")),
        ..Toleration::default()
    }
}

fn agent(pool: &ValidatedPool) -> Container {
    let probes = Probes { port: HEALTH, starting: LOADING };
    let file = match pool.placement {
        Placement::Device | Placement::Trial => config_map::WORKER,
        Placement::Cpu => config_map::WORKER_ON_CPU,
    };
    let written = pool.spec.template.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: unless_empty(literal(&variable.value)),
        value_from: None,
    });
    Container {
        name: "agent".to_owned(),
        args: Some(["worker", "--config", &format!("/etc/docket/{file}")].map(str::to_owned).to_vec()),
        env: Some(pods::environment(pods::Addressed::ByPod).into_iter().chain(written).collect()),
        env_from: Some(pods::of_secrets(&pool.config, &names::agents(&pool.name))),
        ports: Some(vec![pods::port("http", HTTP), pods::port("health", HEALTH)]),
        resources: Some(resources(pool)),
        volume_mounts: Some(mounts(pool)),
        ..pods::container(&pool.config, Some(&probes))
    }
}

/// A value that stays as it is written. Kubernetes would put another variable's in the place of `$(NAME)`, those of Secrets
/// too, and an agent shows its own secrets to nobody only as long as they have their own names.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

/// Kubernetes leaves out an empty value, and an object that says it would differ from what is there for ever.
fn unless_empty(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

/// Fetches the models before the agent starts, where the image does not hold them.
fn pull(pool: &ValidatedPool) -> Option<Container> {
    let models = pool.catalogue_models();
    if pool.config.models_in_image || models.is_empty() {
        return None;
    }
    let words = ["model", "pull"].into_iter().chain(models).map(str::to_owned);
    Some(Container {
        name: "models".to_owned(),
        args: Some(words.collect()),
        env: Some(vec![pods::variable("DOCKET_MODELS", &pods::models(&pool.config)), pods::variable("TMPDIR", "/tmp")]),
        resources: Some(resources(pool)),
        volume_mounts: Some(mounts(pool)),
        ..pods::container(&pool.config, None)
    })
}

fn resources(pool: &ValidatedPool) -> ResourceRequirements {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    for amount in &pool.amounts {
        requests.insert(amount.what.to_owned(), Quantity(amount.request.clone()));
        if let Some(limit) = &amount.limit {
            limits.insert(amount.what.to_owned(), Quantity(limit.clone()));
        }
    }
    let device = pool.device();
    if let Some(resource) = device.of_each_agent() {
        // Extended resources are whole, and requested as much as limited.
        requests.insert(resource.to_owned(), Quantity("1".to_owned()));
        limits.insert(resource.to_owned(), Quantity("1".to_owned()));
    }
    let claims =
        device.claims.iter().map(|claim| ResourceClaim { name: claim.name.clone(), request: None }).collect::<Vec<_>>();
    ResourceRequirements {
        requests: Some(requests),
        limits: Some(limits),
        claims: (!claims.is_empty()).then_some(claims),
    }
}

fn volumes(pool: &ValidatedPool) -> Vec<Volume> {
    let mut volumes = pods::volumes(&pool.config, &names::agents(&pool.name), &names::creds(&pool.name));
    if !pool.has_state_claim() {
        volumes.push(pods::empty(STATE));
    }
    let claims = pool.spec.template.volumes.iter();
    volumes.extend(claims.map(|volume| pods::claim(&volume_name(&volume.name), &volume.claim)));
    volumes
}

fn mounts(pool: &ValidatedPool) -> Vec<VolumeMount> {
    let mut mounts = pods::mounts(&pool.config);
    if !pool.has_state_claim() {
        mounts.push(pods::mount(STATE, pods::HOME));
    }
    mounts.extend(
        pool.spec.template.volumes.iter().map(|volume| pods::mount(&volume_name(&volume.name), &mount_path(volume))),
    );
    mounts
}

/// Names of a user's volumes stay apart from ours.
fn volume_name(written: &str) -> String {
    if written == STATE { written.to_owned() } else { format!("claim-{}", &names::digest(written.as_bytes())[..8]) }
}
