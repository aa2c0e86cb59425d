//! Where agents and gateways reach the store of payloads: at the port that its Secret says, and at no other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    namespace::{agents, objects, one},
    support::config,
};
use k8s_openapi::ByteString;
use operator::config::Config;
use serde_json::Value;

/// A store of which the Secret says this.
fn stored(variables: &[(&str, &str)]) -> Config {
    let key = |(variable, value): &(&str, &str)| ((*variable).to_owned(), ByteString(value.as_bytes().to_vec()));
    Config {
        payloads: "s3://bucket".to_owned(),
        payloads_keys: Some(variables.iter().map(key).collect::<BTreeMap<_, _>>()),
        ..config()
    }
}

/// The ports that NetworkPolicies open to others.
fn opened(objects: &[Value]) -> BTreeSet<u64> {
    let policies = objects.iter().filter(|object| object["kind"] == "NetworkPolicy");
    let rules = policies.flat_map(|policy| policy["spec"]["egress"].as_array().cloned().expect("rules"));
    let ports = rules.flat_map(|rule| rule["ports"].as_array().cloned().expect("every rule names ports"));
    ports.map(|port| port["port"].as_u64().expect("a number")).collect()
}

/// Those that are open for this store alone, the same for gateways and agents.
fn of_store(config: &Config) -> Vec<u64> {
    let without = crate::support::config();
    let further =
        |with: &[Value], without: &[Value]| opened(with).difference(&opened(without)).copied().collect::<Vec<u64>>();
    let of_gateway = further(&objects(&one(), config), &objects(&one(), &without));
    assert_eq!(further(&agents(config), &agents(&without)), of_gateway, "agents store what gateways read");
    of_gateway
}

#[test]
fn a_store_is_reached_at_the_port_of_its_endpoint_and_at_no_other() {
    for (variables, ports) in [
        (&[("AWS_ENDPOINT", "http://rgw.rook.svc:7480")][..], vec![7480]),
        (&[("AWS_ENDPOINT_URL", "https://garage.example:3900/")], vec![3900]),
        (&[("AWS_ENDPOINT", "http://seaweedfs.svc")], vec![80]),
        (&[("AWS_ENDPOINT", "https://[fd00::1]")], vec![443]),
        (&[("AWS_ENDPOINT", "http://a:9000"), ("AWS_ENDPOINT_URL_S3", "http://b:8333")], vec![8333]),
        (&[("AWS_ENDPOINT", "http://a:9000"), ("AWS_ENDPOINT_URL", "http://b:9001")], vec![9000, 9001]),
        (&[("AWS_ACCESS_KEY_ID", "key"), ("AWS_REGION", "eu-central-1")], vec![443]),
        (&[("AWS_ENDPOINT", "no URL")], vec![443]),
    ] {
        assert_eq!(of_store(&stored(variables)), ports, "{variables:?}");
    }
    let without_keys = Config { payloads_keys: None, ..stored(&[]) };
    assert_eq!(of_store(&without_keys), [443]);
}
