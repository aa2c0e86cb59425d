//! What pods of agents and gateways have in common: the restricted security context, probes, mounts, environment.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Capabilities, ConfigMap, ConfigMapProjection, ConfigMapVolumeSource, Container, ContainerPort,
        EmptyDirVolumeSource, EnvFromSource, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, LocalObjectReference,
        ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, Probe,
        ProjectedVolumeSource, SeccompProfile, SecretEnvSource, SecretVolumeSource, SecurityContext,
        ServiceAccountTokenProjection, ServicePort, TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use queue::jetstream::Role;
use serde_json::{Value, json};

use crate::{
    config::{Config, Credentials},
    names::{self, HTTP, USER},
    prepare::{CA, CREDS},
};

/// What lasts as long as the pod, or longer where a claim is mounted here.
pub const HOME: &str = "/var/lib/docket";
/// The state folder.
pub const STATE: &str = "/var/lib/docket/state";
/// Where clients of the API server look for the token of their ServiceAccount.
pub const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Seconds after which that token counts no more; the kubelet replaces it in time.
const ACCOUNT_EXPIRES: i64 = 3_600;
/// ConfigMap of every namespace with the certificates that vouch for the API server.
const ROOT_CA: &str = "kube-root-ca.crt";
/// What a process is known by at the broker, where that is a `.creds` file.
const CREDS_FILE: &str = "/etc/docket-nats/nats.creds";
/// Who vouches for the broker's servers, where it is not an authority that everybody knows.
const CA_FILE: &str = "/etc/docket-nats/ca.crt";
/// Where the keys of the user's Secret are files of the gateway.
pub const GIVEN: &str = "/run/secrets/docket";
/// The bearer tokens of the namespace.
pub const TOKENS_FILE: &str = "/etc/docket-tokens/tokens.yaml";
/// The token of those who may read metrics.
pub const METRICS_TOKEN_FILE: &str = "/etc/docket-metrics/token";

/// Where the models are: in the image, or pulled by an init container.
pub fn models(config: &Config) -> String {
    if config.models_in_image { "/models".to_owned() } else { format!("{HOME}/models") }
}

/// The role of gateways at the broker.
pub const GATEWAY_ROLE: Role<'static> = Role::Gateway { pool: flow::RESULTS_POOL, statuses: flow::keys::GATEWAYS };

/// How the broker is reached, as the files of workers and gateways say it.
pub fn nats(config: &Config, namespace: &str, role: &Role) -> Value {
    let mut nats = json!({
        "servers": config.nats_servers,
        "prefix": names::broker_prefix(namespace),
        "replicas": config.nats_replicas,
    });
    match &config.nats_credentials {
        None => {}
        Some(Credentials::User { user, .. }) => {
            nats["user"] = json!(user);
            nats["passwordFile"] = json!("/etc/docket-nats/password");
        }
        Some(Credentials::Creds(_)) => nats["credentials"] = json!(CREDS_FILE),
        Some(Credentials::Keys(_)) => {
            nats["credentials"] = json!(CREDS_FILE);
            nats["inbox"] = json!(role.inbox());
            nats["makeStreams"] = json!(false);
        }
    }
    if config.nats_authorities.is_some() {
        nats["ca"] = json!(CA_FILE);
    }
    nats
}

/// Which servers are called of those that pools and pipelines name, as the files of workers and gateways say it: whoever writes
/// these has not the rights that the place of an agent in the cluster would give.
pub fn calls() -> Value {
    json!({"guarded": true})
}

/// The annotations of pods that are replaced when their files change, or what the broker or the store of payloads knows them by.
pub fn annotations(files: &ConfigMap, config: &Config, namespace: &str, role: &Role) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([(names::CONFIG_ANNOTATION.to_owned(), digest_of(files))]);
    let of_nats = match config.nats_keys() {
        Some(keys) => {
            let user = keys.account(&names::broker_prefix(namespace)).user(role);
            let authorities = config.nats_authorities.as_deref().unwrap_or_default();
            Some(names::digest([user.token.as_str(), authorities].concat().as_bytes()))
        }
        None => config.nats_credentials_digest.clone(),
    };
    let of_payloads = config.payloads_keys_digest.clone();
    let known_by = [(names::CREDENTIALS_ANNOTATION, of_nats), (names::PAYLOADS_ANNOTATION, of_payloads)];
    annotations.extend(known_by.into_iter().filter_map(|(name, digest)| Some((name.to_owned(), digest?))));
    annotations
}

/// The digest of a ConfigMap's files, for the pods that read them when they start.
pub fn digest_of(config: &ConfigMap) -> String {
    names::digest(json!(config.data).to_string().as_bytes())
}

/// A pod as the standard "restricted" asks for it, without containers.
pub fn restricted(config: &Config, selector: &BTreeMap<String, String>) -> PodSpec {
    let id = config.fixed_ids.then_some(USER);
    let pull_secret = |name: &String| LocalObjectReference { name: name.clone() };
    let pull_secrets: Vec<_> = config.image_pull_secrets.iter().map(pull_secret).collect();
    PodSpec {
        // An empty list would be a difference to what the API server keeps.
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        // Else a container's process is the first of its namespace, for which a signal is nothing before it is listened for: one
        // that is told to end as it starts would stay, and take work, until its grace is over.
        share_process_namespace: Some(true),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: id,
            run_as_group: id,
            fs_group: id,
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector { match_labels: Some(selector.clone()), ..LabelSelector::default() }),
            ..TopologySpreadConstraint::default()
        }]),
        ..PodSpec::default()
    }
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }
}

/// How a container is asked whether it lives and is ready.
pub struct Probes {
    /// Where it answers.
    pub port: u16,
    /// Seconds that it may take to become ready the first time.
    pub starting: i32,
}

/// A container of the agents' image, without name, words and mounts.
pub fn container(config: &Config, probes: Option<&Probes>) -> Container {
    let probe = |path: &str, period, failures| {
        probes.map(|probes| Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.to_owned()),
                port: IntOrString::Int(i32::from(probes.port)),
                ..HTTPGetAction::default()
            }),
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            timeout_seconds: Some(2),
            ..Probe::default()
        })
    };
    Container {
        image: Some(config.agent_image.clone()),
        image_pull_policy: Some(config.image_pull_policy.clone()),
        // The last words of a process that failed are in the pod's status, and from there in the pool's.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            seccomp_profile: Some(runtime_default()),
            ..SecurityContext::default()
        }),
        // Loading of models keeps a process from being ready, not from living.
        startup_probe: probe("/livez", 1, probes.map_or(1, |probes| probes.starting)),
        readiness_probe: probe("/readyz", 2, 2),
        liveness_probe: probe("/livez", 10, 6),
        ..Container::default()
    }
}

/// How a process is reached by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressed {
    /// By its pod's address.
    ByPod,
    /// By a Service.
    ByService,
}

/// The environment of every process.
pub fn environment(addressed: Addressed) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            // The version is written, because the API server adds it and what is compared must be equal.
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
    };
    let mut environment = vec![field("DOCKET_NAME", "metadata.name")];
    if addressed == Addressed::ByPod {
        environment.push(field("POD_IP", "status.podIP"));
        environment.push(variable("DOCKET_ADVERTISE", &format!("$(POD_IP):{HTTP}")));
    }
    environment.push(variable("TMPDIR", "/tmp"));
    environment
}

/// Secrets whose keys are variables: that of the store of payloads, and one that a user makes for these pods, if it exists.
pub fn of_secrets(config: &Config, of_user: &str) -> Vec<EnvFromSource> {
    let secret = |name: &str, optional| EnvFromSource {
        secret_ref: Some(SecretEnvSource { name: name.to_owned(), optional }),
        ..EnvFromSource::default()
    };
    let payloads = config.payloads_keys.is_some().then(|| secret(names::PAYLOADS, None));
    payloads.into_iter().chain([secret(of_user, Some(true))]).collect()
}

/// A variable with a value.
pub fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

/// A port of a container.
pub fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A port of a Service, which goes to the container's port of the same name.
pub fn service_port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

/// The volumes of every process: its files, the namespace's tokens, that of its metrics, the broker's credentials, room for
/// temporary files. Of the Secret with all processes' credentials it has its own, by the key `creds`, and who vouches for the broker.
pub fn volumes(config: &Config, config_map: &str, creds: &str) -> Vec<Volume> {
    let files = ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() };
    let mut volumes = vec![
        Volume { name: "config".to_owned(), config_map: Some(files), ..Volume::default() },
        secret("tokens", names::TOKENS),
        empty("tmp"),
    ];
    if config.authenticates_metrics() {
        volumes.push(secret("metrics", names::METRICS));
    }
    match &config.nats_credentials {
        None => {}
        Some(Credentials::User { .. } | Credentials::Creds(_)) => volumes.push(secret("nats", names::NATS)),
        Some(Credentials::Keys(_)) => {
            let item = |key: &str, path: &str| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None };
            let authorities = config.nats_authorities.is_some().then(|| item(CA, CA));
            let items = Some([item(creds, CREDS)].into_iter().chain(authorities).collect());
            let name = Some(names::NATS.to_owned());
            let source = SecretVolumeSource { secret_name: name, items, ..SecretVolumeSource::default() };
            volumes.push(Volume { name: "nats".to_owned(), secret: Some(source), ..Volume::default() });
        }
    }
    volumes
}

/// Where these are mounted.
pub fn mounts(config: &Config) -> Vec<VolumeMount> {
    let mut mounts =
        vec![read_only("config", "/etc/docket"), read_only("tokens", "/etc/docket-tokens"), mount("tmp", "/tmp")];
    if config.nats_credentials.is_some() {
        mounts.push(read_only("nats", "/etc/docket-nats"));
    }
    if config.authenticates_metrics() {
        mounts.push(read_only("metrics", "/etc/docket-metrics"));
    }
    mounts
}

/// A mount that is read alone.
pub fn read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}

/// A mount that is written to.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// A volume that a user made, and that outlives the pod.
pub fn claim(name: &str, claim: &str) -> Volume {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: claim.to_owned(),
        ..PersistentVolumeClaimVolumeSource::default()
    };
    Volume { name: name.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() }
}

/// The keys of a Secret as files, if it exists.
pub fn optional_secret(name: &str, secret: &str) -> Volume {
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        optional: Some(true),
        ..SecretVolumeSource::default()
    };
    Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() }
}

/// A volume that ends with its pod.
pub fn empty(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// The token of the pod's ServiceAccount for the API server, and what vouches for that, for pods that ask it something. As
/// Kubernetes would mount it by itself, but only where it is asked for.
pub fn account(name: &str) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(ACCOUNT_EXPIRES),
        // Of the API server itself.
        audience: None,
    };
    let authority = KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None };
    let authority = ConfigMapProjection {
        name: ROOT_CA.to_owned(),
        items: Some(vec![authority]),
        ..ConfigMapProjection::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
    ];
    let projected = ProjectedVolumeSource { sources: Some(sources), ..ProjectedVolumeSource::default() };
    Volume { name: name.to_owned(), projected: Some(projected), ..Volume::default() }
}

fn secret(name: &str, secret: &str) -> Volume {
    let source = SecretVolumeSource { secret_name: Some(secret.to_owned()), ..SecretVolumeSource::default() };
    Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() }
}
