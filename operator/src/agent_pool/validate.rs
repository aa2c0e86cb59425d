//! Checks that the schema cannot make, and what `build` needs with all defaults decided. Pure.

use std::time::Duration;

use crds::{AgentPool, AgentPoolSpec, Device, EffectivePool, ModelSource};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use queue::jetstream::Role;

use super::{
    dereference::{Claim, Dereferenced},
    fallback::Placement,
    ownership::{self, Replicas},
    quantity::{canonical, number},
    volumes,
};
use crate::{
    config::Config,
    names::{self, Component},
    pods,
    scaling::settings,
};

/// Longest time that agents are given to finish what they have in hand.
const LONGEST_GRACE: Duration = Duration::from_secs(15 * 60);
/// Added to the longest stage: for the writing of its result.
const AFTER_STAGE: Duration = Duration::from_secs(15);

/// What a pool asks for and cannot have. Its author can fix it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What is made of the name would be too long for a Service.
    #[error("the name \"{name}\" is {} characters long; a pool's has at most {}", name.len(), names::LONGEST_POOL)]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// The name has letters that a Service and the gateway's files do not have.
    #[error("the name \"{name}\" is not made of lower-case letters, digits and '-'; give the pool another one")]
    NameNotPlain {
        /// The name.
        name: String,
    },
    /// A claim does not exist.
    #[error(
        "template.volumes: there is no PersistentVolumeClaim \"{claim}\" in this namespace; make it, or name another"
    )]
    ClaimMissing {
        /// The claim.
        claim: String,
    },
    /// A claim is not meant for agents.
    #[error(
        "template.volumes: the PersistentVolumeClaim \"{claim}\" is not meant for agents; who owns it allows it with \
         `kubectl label pvc {claim} {}={}`",
        names::ALLOWED_LABEL,
        names::ALLOWED
    )]
    ClaimNotAllowed {
        /// The claim.
        claim: String,
    },
    /// A claim would lie over what the agents' program or the operator put there.
    #[error(
        "template.volumes: a claim cannot be mounted at \"{path}\": name a folder without . and .., that neither holds nor \
         lies in a folder of the system or of Docket, such as /volumes/NAME"
    )]
    ReservedFolder {
        /// Where it was to be mounted.
        path: String,
    },
    /// The volume of the state folder would be elsewhere, and the agents would find none that they may write.
    #[error(
        "template.volumes: \"{}\" is the agents' state folder, {}, and cannot be mounted at \"{path}\": leave out its mountPath, \
         or give the volume another name",
        volumes::STATE,
        pods::HOME
    )]
    StateElsewhere {
        /// Where it was to be mounted.
        path: String,
    },
    /// A limit is below its request.
    #[error("template.resources: the request of {what} ({request}) is more than its limit ({limit})")]
    RequestAboveLimit {
        /// `cpu` or `memory`.
        what: &'static str,
        /// The request.
        request: String,
        /// The limit.
        limit: String,
    },
    /// A variable is one that the operator sets, or that says whom the process trusts with its own secrets.
    #[error("template.env: \"{name}\" is not for pools: the operator alone says what it is; remove it")]
    ReservedVariable {
        /// Its name.
        name: String,
    },
    /// Fields of `scaling` contradict each other, or a time is out of range.
    #[error("scaling: {problem}")]
    Scaling {
        /// Which, and what is wrong.
        problem: String,
    },
}

impl Error {
    /// A word from a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NameTooLong { .. } => "NameTooLong",
            Self::NameNotPlain { .. } => "NameNotPlain",
            Self::ClaimMissing { .. } => "ClaimMissing",
            Self::ClaimNotAllowed { .. } => "ClaimNotAllowed",
            Self::ReservedFolder { .. } => "ReservedFolder",
            Self::StateElsewhere { .. } => "StateElsewhere",
            Self::RequestAboveLimit { .. } => "RequestAboveLimit",
            Self::ReservedVariable { .. } => "ReservedVariable",
            Self::Scaling { .. } => "ScalingInvalid",
        }
    }
}

/// Variables whose value follows from what agents are.
const RESERVED: [&str; 2] = ["POD_IP", "TMPDIR"];
/// How others begin: settings of the process, of its store of payloads, and of the loader of its program. The author of a pool
/// would else say to whom the credentials of the broker and of the store are shown, which are none of theirs. Where the API
/// server is says the cluster, so that agents know whom not to call.
const RESERVED_BEGINNINGS: [&str; 4] = ["DOCKET_", "AWS_", "KUBERNETES_", "LD_"];
/// Of these, what is for pools: caches, logs and threads.
const FREE: [&str; 4] = ["DOCKET_REDIS", "DOCKET_REDIS_TIMEOUT", "DOCKET_LOG", "DOCKET_THREADS"];

/// Folders of the agents' program and of what the operator mounts.
const RESERVED_FOLDERS: [&str; 12] =
    ["/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var/run"];

/// A pool that can be built.
pub struct ValidatedPool {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What names it as owner of its children.
    pub owner: OwnerReference,
    /// What it says.
    pub spec: AgentPoolSpec,
    /// What its agents are built for; decided by what was seen before.
    pub placement: Placement,
    /// What applies of it.
    pub effective: EffectivePool,
    /// Whose its number of agents is.
    pub replicas: Replicas,
    /// Time from SIGTERM to the end of an agent.
    pub grace: Duration,
    /// CPU and memory: requested, at most.
    pub amounts: [Amount; 2],
    /// Whether one of its models is somebody else's.
    pub reaches_others: bool,
    /// Whether there are PodMonitors.
    pub pod_monitors: bool,
    /// What applies to all pools.
    pub config: Config,
}

/// Requested and largest amount of one resource; `None`: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount {
    /// `cpu` or `memory`.
    pub what: &'static str,
    /// Requested.
    pub request: String,
    /// At most.
    pub limit: Option<String>,
}

impl ValidatedPool {
    /// What its agents are built for: the pool's device, or the CPU without anything that says where that device is.
    pub fn device(&self) -> Device {
        match self.placement {
            Placement::Device | Placement::Trial => self.spec.device.clone(),
            Placement::Cpu => self.on_cpu(),
        }
    }

    /// The device of agents that fell back.
    pub fn on_cpu(&self) -> Device {
        Device { memory_fraction: self.spec.device.memory_fraction, ..Device::default() }
    }

    /// Metadata of a child that bears the pool's common name.
    pub fn child_metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(names::agents(&self.name)),
            namespace: Some(self.namespace.clone()),
            labels: Some(names::labels(Component::Agents, &self.name)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// The role of its agents at the broker.
    pub fn role(&self) -> Role<'_> {
        Role::Agents { pool: &self.name, orders: flow::keys::ORDERS }
    }

    /// The labels that select its pods.
    pub fn selector(&self) -> std::collections::BTreeMap<String, String> {
        names::selector(Component::Agents, &self.name)
    }

    /// Whether the agents' state folder is on a claim.
    pub fn has_state_claim(&self) -> bool {
        self.spec.template.volumes.iter().any(volumes::is_state)
    }

    /// Models of the catalogue that agents hold.
    pub fn catalogue_models(&self) -> Vec<&str> {
        let mut models: Vec<&str> =
            self.spec.models.iter().filter_map(|model| model.source.catalog.as_deref()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }
}

/// Checks a pool.
pub fn pool(pool: &AgentPool, found: &Dereferenced, config: &Config) -> Result<ValidatedPool, Error> {
    let name = pool.name_any();
    if name.len() > names::LONGEST_POOL {
        return Err(Error::NameTooLong { name });
    }
    if !names::is_plain(&name) {
        return Err(Error::NameNotPlain { name });
    }
    for (volume, claim) in pool.spec.template.volumes.iter().zip(&found.claims) {
        match claim {
            Claim::Allowed => {}
            Claim::Missing => return Err(Error::ClaimMissing { claim: volume.claim.clone() }),
            Claim::NotAllowed => return Err(Error::ClaimNotAllowed { claim: volume.claim.clone() }),
        }
    }
    let paths = pool.spec.template.volumes.iter().filter_map(|volume| volume.mount_path.as_deref());
    if let Some(path) = paths.into_iter().find(|path| is_reserved_folder(path)) {
        return Err(Error::ReservedFolder { path: path.to_owned() });
    }
    let mut claims = pool.spec.template.volumes.iter();
    if let Some(state) = claims.find(|volume| volume.name == volumes::STATE && !volumes::is_state(volume)) {
        return Err(Error::StateElsewhere { path: volumes::mount_path(state) });
    }
    if let Some(variable) = pool.spec.template.env.iter().find(|variable| is_reserved(&variable.name)) {
        return Err(Error::ReservedVariable { name: variable.name.clone() });
    }
    if let Some(scaling) = &pool.spec.scaling {
        settings::of(scaling).map_err(|invalid| Error::Scaling { problem: invalid.to_string() })?;
    }
    // Never below what a stage has by default: the first pipeline of a pool would else restart its agents. Those that have
    // nothing in hand end at once.
    let longest = found.longest_stage.unwrap_or_default().max(flow::STAGE_TIMEOUT);
    let grace = (longest + AFTER_STAGE).min(LONGEST_GRACE);
    Ok(ValidatedPool {
        owner: pool.controller_owner_ref(&()).expect("an object of the API server has a name and a uid"),
        namespace: pool.namespace().unwrap_or_default(),
        effective: pool.spec.effective(),
        replicas: ownership::of(pool),
        grace,
        amounts: [amount(&pool.spec, "cpu", "250m", None)?, amount(&pool.spec, "memory", "512Mi", Some("4Gi"))?],
        reaches_others: pool.spec.models.iter().any(|model| reaches_others(&model.source)),
        pod_monitors: found.pod_monitors,
        config: config.clone(),
        spec: pool.spec.clone(),
        placement: Placement::default(),
        name,
    })
}

fn is_reserved(variable: &str) -> bool {
    let begins = RESERVED_BEGINNINGS.iter().any(|beginning| variable.starts_with(beginning));
    RESERVED.contains(&variable) || begins && !FREE.contains(&variable)
}

/// Whether a claim must not be mounted there. A path with `..` or an empty part has more names than one, and counts as reserved.
fn is_reserved_folder(path: &str) -> bool {
    let within = |path: &str, folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."))
        || RESERVED_FOLDERS.iter().any(|folder| within(path, folder) || within(folder, path))
}

fn reaches_others(source: &ModelSource) -> bool {
    source.openai.is_some() || source.http.is_some()
}

fn amount(
    spec: &AgentPoolSpec,
    what: &'static str,
    usual_request: &str,
    usual_limit: Option<&str>,
) -> Result<Amount, Error> {
    let of = |amounts: &crds::Amounts| if what == "cpu" { amounts.cpu.clone() } else { amounts.memory.clone() };
    let resources = &spec.template.resources;
    let limit = of(&resources.limits).map(canonical);
    let request = of(&resources.requests).map(canonical);
    // A small limit alone is a small pod, and a large request alone a large one.
    let smaller = |a: String, b: &String| if number(&a) > number(b) { b.clone() } else { a };
    let request = match (request, &limit) {
        (Some(request), Some(limit)) if number(&request) > number(limit) => {
            return Err(Error::RequestAboveLimit { what, request, limit: limit.clone() });
        }
        (Some(request), _) => request,
        (None, Some(limit)) => smaller(usual_request.to_owned(), limit),
        (None, None) => usual_request.to_owned(),
    };
    let limit = limit
        .or_else(|| usual_limit.map(str::to_owned))
        .map(|limit| if number(&limit) < number(&request) { request.clone() } else { limit });
    Ok(Amount { what, request, limit })
}
