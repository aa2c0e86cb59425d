//! Parts of network policies.

use std::collections::{BTreeMap, BTreeSet};

use crds::AgentPoolSpec;
use k8s_openapi::{
    ByteString,
    api::networking::v1::{IPBlock, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use reqwest::Url;

use crate::config::Config;

/// Ports of DNS: of the Service, and of pods that may not open that one, such as OpenShift's. A policy is about the pods' own.
const DNS: [u16; 2] = [53, 5353];
/// Port of NATS, where an address names none.
const NATS: u16 = 4222;
/// The same of PostgreSQL.
const POSTGRES: u16 = 5432;
/// The same of Redis.
const REDIS: u16 = 6379;
/// The same of S3: that of Amazon's servers.
const S3: u16 = 443;
/// Variables that say where a client of S3 finds its servers. The first counts more; the others are two names of one setting, of
/// which the one counts that a process happens to read last.
const S3_ENDPOINTS: [&[&str]; 2] = [&["AWS_ENDPOINT_URL_S3"], &["AWS_ENDPOINT", "AWS_ENDPOINT_URL"]];
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

/// To the store of payloads, where that is not the broker.
pub fn stores(config: &Config) -> Option<NetworkPolicyEgressRule> {
    config.payloads.starts_with("s3:").then(|| servers_wherever(&ports_of_s3(config.payloads_keys.as_ref())))
}

/// To servers that pools and pipelines name, by their ports: a policy knows no names. Whoever calls them looks at the address.
pub fn servers_of_users(ports: &BTreeSet<u16>) -> Option<NetworkPolicyEgressRule> {
    (!ports.is_empty()).then(|| servers_wherever(ports))
}

fn servers_wherever(ports: &BTreeSet<u16>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: Some(wherever()), ports: Some(ports.iter().copied().map(tcp).collect()) }
}

/// In the cluster, beside it or on the internet, but not at the addresses of the machines' metadata services.
fn wherever() -> Vec<NetworkPolicyPeer> {
    vec![cluster(), addresses("0.0.0.0/0", &[LINK_LOCAL]), addresses("::/0", &[METADATA_V6])]
}

/// Ports of the store of payloads, as the Secret with its keys says where it is.
fn ports_of_s3(keys: Option<&BTreeMap<String, ByteString>>) -> BTreeSet<u16> {
    let port = |variable: &&str| {
        let endpoint = str::from_utf8(&keys?.get(*variable)?.0).ok()?;
        Url::parse(endpoint).ok()?.port_or_known_default()
    };
    S3_ENDPOINTS
        .iter()
        .map(|variables| variables.iter().filter_map(port).collect::<BTreeSet<u16>>())
        .find(|ports| !ports.is_empty())
        .unwrap_or_else(|| BTreeSet::from([S3]))
}

/// Ports of the servers of a database, as its URL says them or in `key=value` words.
pub fn ports_of_postgres(url: &str) -> BTreeSet<u16> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let words: Vec<&str> = match rest {
        Some(rest) => rest.split_once('?').map_or("", |(_, parameters)| parameters).split('&').collect(),
        None => url.split_whitespace().collect(),
    };
    let ports = words.into_iter().filter_map(|word| word.strip_prefix("port=")).flat_map(|ports| ports.split(','));
    let mut ports: BTreeSet<u16> = ports.filter_map(|port| port.trim_matches('\'').parse().ok()).collect();
    match rest {
        Some(rest) => ports.extend(ports_of_hosts(rest, POSTGRES)),
        None if ports.is_empty() => ports.extend([POSTGRES]),
        None => {}
    }
    ports
}

/// Ports of the Redis that a pool says of its agents. What a Secret says of it the operator does not read.
pub fn ports_of_redis(pool: &AgentPoolSpec) -> BTreeSet<u16> {
    let named = pool.template.env.iter().filter(|variable| variable.name == "DOCKET_REDIS");
    let servers = named.filter_map(|variable| variable.value.strip_prefix("redis://"));
    servers.flat_map(|rest| ports_of_hosts(rest, REDIS)).collect()
}

/// Ports of the hosts of a URL without its scheme.
fn ports_of_hosts(rest: &str, usual: u16) -> BTreeSet<u16> {
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let port = |host: &str| host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(usual);
    hosts.split(',').map(port).collect()
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
