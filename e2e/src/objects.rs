//! The kinds of objects that stories look at, as their API server sees them: untyped, so that nothing is lost on the way.

use crds::{AgentPool, Pipeline};
use k8s_openapi::{
    Resource as ApiKind,
    api::{
        apps::v1::{Deployment, StatefulSet},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Node, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject},
};

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Of Docket.
    AgentPool,
    /// Of Docket.
    Pipeline,
    /// Of Kubernetes, as are all that follow.
    Deployment,
    /// Of NATS.
    StatefulSet,
    /// A node's worth of work.
    Pod,
    /// An address.
    Service,
    /// Files of pods.
    ConfigMap,
    /// Whom pods act as.
    ServiceAccount,
    /// Credentials.
    Secret,
    /// Who may reach whom.
    NetworkPolicy,
    /// How many pods may be away.
    PodDisruptionBudget,
    /// Room on a disk.
    PersistentVolumeClaim,
    /// Who leads.
    Lease,
    /// A machine.
    Node,
}

/// What the operator makes in a namespace.
pub const OWNED: [Kind; 6] = [
    Kind::ServiceAccount,
    Kind::ConfigMap,
    Kind::Deployment,
    Kind::Service,
    Kind::NetworkPolicy,
    Kind::PodDisruptionBudget,
];

impl Kind {
    /// How the API server names it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::AgentPool => ApiResource::erase::<AgentPool>(&()),
            Self::Pipeline => ApiResource::erase::<Pipeline>(&()),
            Self::Deployment => of::<Deployment>(),
            Self::StatefulSet => of::<StatefulSet>(),
            Self::Pod => of::<Pod>(),
            Self::Service => of::<Service>(),
            Self::ConfigMap => of::<ConfigMap>(),
            Self::ServiceAccount => of::<ServiceAccount>(),
            Self::Secret => of::<Secret>(),
            Self::NetworkPolicy => of::<NetworkPolicy>(),
            Self::PodDisruptionBudget => of::<PodDisruptionBudget>(),
            Self::PersistentVolumeClaim => of::<PersistentVolumeClaim>(),
            Self::Lease => of::<Lease>(),
            Self::Node => of::<Node>(),
        }
    }

    /// The objects of this kind in a namespace.
    pub fn within(self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), namespace, &self.resource())
    }

    /// The objects of this kind everywhere.
    pub fn everywhere(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }
}

fn of<K: ApiKind + Resource<DynamicType = ()>>() -> ApiResource {
    ApiResource::erase::<K>(&())
}
