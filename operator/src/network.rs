//! Parts of network policies.

use k8s_openapi::{
    api::networking::v1::{IPBlock, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::config::Config;

/// Ports of DNS: of the Service, and of pods that may not open that one, such as OpenShift's. A policy is about the pods' own.
const DNS: [u16; 2] = [53, 5353];
/// Port of NATS, where an address names none.
const NATS: u16 = 4222;
/// Addresses that are not of the internet: clusters, machines and their metadata services use them.
const INSIDE: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", LINK_LOCAL, "172.16.0.0/12", "192.168.0.0/16"];
/// Of these, those of the machine alone: its metadata service has one.
const LINK_LOCAL: &str = "169.254.0.0/16";
/// Addresses of the internet with IPv6. Named by themselves, because not everyone who enforces policies takes private ones out of all.
const INTERNET_V6: &str = "2000::/3";
/// That of Amazon's metadata service where machines have IPv6.
const METADATA_V6: &str = "fd00:ec2::254/128";

/// A TCP port.
pub fn tcp(port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        port: Some(IntOrString::Int(i32::from(port))),
        ..NetworkPolicyPort::default()
    }
}

/// All pods of the cluster.
pub fn cluster() -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(LabelSelector::default()), ..NetworkPolicyPeer::default() }
}

/// To name servers.
pub fn dns() -> NetworkPolicyEgressRule {
    let both = |port| [NetworkPolicyPort { protocol: Some("UDP".to_owned()), ..tcp(port) }, tcp(port)];
    NetworkPolicyEgressRule { to: None, ports: Some(DNS.into_iter().flat_map(both).collect()) }
}

/// To the broker, which may be inside the cluster or outside.
pub fn servers(config: &Config) -> NetworkPolicyEgressRule {
    let mut ports: Vec<u16> = config.nats_servers.iter().map(|server| port_of(server)).collect();
    ports.sort_unstable();
    ports.dedup();
    NetworkPolicyEgressRule { to: None, ports: Some(ports.into_iter().map(tcp).collect()) }
}

/// To the store of payloads, where that is not the broker: in the cluster, beside it or on the internet, but not at the
/// address of the machines' metadata services, which listen on the same port.
pub fn stores(config: &Config) -> Option<NetworkPolicyEgressRule> {
    config.payloads.starts_with("s3:").then(|| NetworkPolicyEgressRule {
        to: Some(vec![cluster(), addresses("0.0.0.0/0", &[LINK_LOCAL]), addresses("::/0", &[METADATA_V6])]),
        ports: Some(vec![tcp(443), tcp(80), tcp(9000)]),
    })
}

/// To the API server, whose address a policy cannot know: at the ports that it has as a Service and by itself.
pub fn api_server(config: &Config) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: None, ports: Some(config.api_server_ports.iter().copied().map(tcp).collect()) }
}

/// To addresses outside the cluster: never to its private ones, nor to the machines' metadata services.
pub fn outside() -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![addresses("0.0.0.0/0", &INSIDE), addresses(INTERNET_V6, &[])]),
        ports: Some(vec![tcp(443), tcp(80)]),
    }
}

/// All addresses of a range but these.
fn addresses(all: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except: Vec<_> = except.iter().map(|&range| range.to_owned()).collect();
    // An empty list would be a difference to what the API server keeps.
    let block = IPBlock { cidr: all.to_owned(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

fn port_of(server: &str) -> u16 {
    server.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).unwrap_or(NATS)
}
