//! Who reaches a pool's pods, and whom they reach.

use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicySpec},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::super::validate::ValidatedPool;
use crate::{
    names::{self, Component, GATEWAY, HEALTH, HTTP},
    network,
};

/// The policy of a pool: all that it does not name is closed.
pub fn network_policy(pool: &ValidatedPool) -> NetworkPolicy {
    let gateway =
        LabelSelector { match_labels: Some(names::selector(Component::Gateway, GATEWAY)), ..LabelSelector::default() };
    let clients = NetworkPolicyIngressRule {
        from: Some(vec![NetworkPolicyPeer { pod_selector: Some(gateway), ..NetworkPolicyPeer::default() }]),
        ports: Some(vec![network::tcp(HTTP)]),
    };
    // Metrics are read by a Prometheus that may be anywhere in the cluster.
    let metrics =
        NetworkPolicyIngressRule { from: Some(vec![network::cluster()]), ports: Some(vec![network::tcp(HEALTH)]) };
    let mut egress = vec![network::dns(), network::servers(&pool.config)];
    egress.extend(network::stores(&pool.config));
    egress.extend(network::servers_of_users(&network::ports_of_redis(&pool.spec)));
    let pulls = !pool.config.models_in_image && !pool.catalogue_models().is_empty();
    if pool.reaches_others || pulls {
        egress.push(network::outside());
    }
    NetworkPolicy {
        metadata: pool.child_metadata(),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(pool.selector()), ..LabelSelector::default() }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![clients, metrics]),
            egress: Some(egress),
        }),
    }
}
