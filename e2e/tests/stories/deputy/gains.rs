//! What no pod, policy or text of a namespace holds, whatever pools and pipelines say: looked for in all of them.

use anyhow::{Context, Result};
use e2e::{Cluster, Kind};
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::hardening::{loose, name_of};

/// Ports that agents may reach anywhere: of name servers and of the broker.
const ANYWHERE: [u64; 3] = [53, 4222, 5353];
/// Addresses of clusters and machines, which a policy that lets agents out leaves out.
const INSIDE: [&str; 5] = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
/// The addresses of the internet with IPv6: those of clusters, machines and metadata services are others.
const OUTSIDE_V6: &str = "2000::/3";
/// The claim that its owner lets agents have.
const ALLOWED_CLAIM: &str = "shared";
/// What a pod has by nobody's wish but ours, and what it never has.
const FIELDS: [&str; 13] = [
    "activeDeadlineSeconds",
    "dnsConfig",
    "ephemeralContainers",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "imagePullSecrets",
    "os",
    "overhead",
    "runtimeClassName",
];

/// The Secret by which a namespace gives its gateway what results need.
const FOR_GATEWAY: &str = "docket-gateway-env";

/// What was gained, in words; nothing in an honest namespace.
pub async fn anywhere(cluster: &Cluster) -> Result<Vec<String>> {
    let gateway = cluster.all(Kind::Deployment).get("docket-gateway").await.context("read the gateway")?;
    let image = gateway.data["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let mut gains = Vec::new();
    for deployment in all(cluster, Kind::Deployment).await? {
        let template = &deployment.data["spec"]["template"];
        let shown = format!("Deployment {}", name_of(&deployment));
        if !template["spec"]["nodeName"].is_null() {
            gains.push(format!("{shown} chooses its node"));
        }
        gains.extend(of_pod(&shown, &name_of(&deployment), &template["metadata"]["labels"], &template["spec"], &image));
    }
    for pod in all(cluster, Kind::Pod).await? {
        let labels = json!(pod.metadata.labels);
        let owner = match labels["docket.dev/pool"].as_str() {
            Some(pool) => format!("{pool}-agents"),
            None => "docket-gateway".to_owned(),
        };
        gains.extend(of_pod(&format!("pod {}", name_of(&pod)), &owner, &labels, &pod.data["spec"], &image));
    }
    for policy in made(cluster, Kind::NetworkPolicy).await? {
        gains.extend(of_policy(&policy));
    }
    for service in made(cluster, Kind::Service).await? {
        let (name, selector) = (name_of(&service), &service.data["spec"]["selector"]);
        if !is_of(&name, selector) {
            gains.push(format!("Service {name} selects {selector}"));
        }
    }
    Ok(gains)
}

/// Where a text that is secret can be read by those who may read everything but Secrets.
pub async fn told(cluster: &Cluster, secret: &str) -> Result<Vec<String>> {
    let kinds = "agentpools,pipelines,deployments,pods,configmaps,services,serviceaccounts,networkpolicies,events";
    let mut texts = vec![("an object".to_owned(), cluster.kubectl(&["get", kinds, "--output", "json"], "").await?)];
    for pod in all(cluster, Kind::Pod).await? {
        let name = name_of(&pod);
        // One that has not begun has no log.
        let log = cluster.kubectl(&["logs", &name, "--all-containers"], "").await.unwrap_or_default();
        texts.push((format!("the log of {name}"), log));
    }
    let told = texts.into_iter().filter(|(_, text)| text.contains(secret));
    Ok(told.map(|(place, _)| format!("{place} holds what is in a Secret")).collect())
}

async fn all(cluster: &Cluster, kind: Kind) -> Result<Vec<DynamicObject>> {
    Ok(cluster.all(kind).list(&ListParams::default()).await.with_context(|| format!("list {kind:?}"))?.items)
}

async fn made(cluster: &Cluster, kind: Kind) -> Result<Vec<DynamicObject>> {
    cluster.labelled(kind, "app.kubernetes.io/managed-by=docket-operator").await
}

/// Whether labels are those by which Docket knows the pods of this name.
fn is_of(name: &str, labels: &Value) -> bool {
    let (component, instance) = match name.strip_suffix("-agents") {
        Some(pool) => ("agents", pool),
        None => ("gateway", name),
    };
    labels["app.kubernetes.io/name"] == "docket"
        && labels["app.kubernetes.io/component"] == component
        && labels["app.kubernetes.io/instance"] == instance
}

fn of_pod(shown: &str, owner: &str, labels: &Value, spec: &Value, image: &Value) -> Vec<String> {
    let mut gains: Vec<String> = loose(spec);
    let mut gained = |what: String| gains.push(what);
    if !is_of(owner, labels) {
        gained(format!("has the labels {labels}"));
    }
    if spec["serviceAccountName"] != owner {
        gained(format!("acts as {}", spec["serviceAccountName"]));
    }
    if spec["automountServiceAccountToken"] != false {
        gained("is given its account's token".to_owned());
    }
    for field in FIELDS.iter().filter(|field| !spec[**field].is_null()) {
        gained(format!("has {field}: {}", spec[*field]));
    }
    if spec["priorityClassName"].as_str().is_some_and(|class| class.starts_with("system-")) {
        gained(format!("has the priority {}", spec["priorityClassName"]));
    }
    for volume in items(&spec["volumes"]) {
        if !is_expected(volume, owner) {
            gained(format!("mounts {volume}"));
        }
    }
    for container in items(&spec["containers"]).chain(items(&spec["initContainers"])) {
        if container["image"] != *image || !container["command"].is_null() || !container["lifecycle"].is_null() {
            gained(format!("runs {container}"));
        }
        for variable in items(&container["env"]).filter(|variable| !variable["valueFrom"].is_null()) {
            if variable["valueFrom"]["fieldRef"].is_null() {
                gained(format!("reads {variable}"));
            }
        }
        for source in items(&container["envFrom"]) {
            let secret = &source["secretRef"]["name"];
            // That of the pool's own name or the one for the gateway, which their owner made for them, and what the store of payloads
            // asks for.
            let own = if owner == "docket-gateway" { FOR_GATEWAY } else { owner };
            if secret != "docket-payloads" && secret != own {
                gained(format!("reads {source}"));
            }
        }
    }
    gains.into_iter().map(|gain| format!("{shown} {gain}")).collect()
}

fn is_expected(volume: &Value, owner: &str) -> bool {
    let fields = volume.as_object().into_iter().flatten().filter(|(field, _)| *field != "name");
    let kinds: Vec<&str> = fields.map(|(field, _)| field.as_str()).collect();
    match (volume["name"].as_str().unwrap_or_default(), kinds.as_slice()) {
        ("config", ["configMap"]) => volume["configMap"]["name"] == owner,
        ("tokens", ["secret"]) => volume["secret"]["secretName"] == "docket-gateway-tokens",
        ("given", ["secret"]) => owner == "docket-gateway" && volume["secret"]["secretName"] == FOR_GATEWAY,
        ("metrics", ["secret"]) => volume["secret"]["secretName"] == "docket-metrics",
        ("nats", ["secret"]) => {
            let source = &volume["secret"];
            let own = match owner.strip_suffix("-agents") {
                Some(pool) => format!("agents-{pool}.creds"),
                None => "gateway.creds".to_owned(),
            };
            // Where each has its own, that and no other.
            let keys: Vec<&Value> = items(&source["items"]).map(|item| &item["key"]).collect();
            source["secretName"] == "docket-nats" && (e2e::is_one_user() || keys == [&json!(own)])
        }
        ("tmp" | "state", ["emptyDir"]) => true,
        (name, ["persistentVolumeClaim"]) => {
            (name == "state" || name.starts_with("claim-"))
                && volume["persistentVolumeClaim"]["claimName"] == ALLOWED_CLAIM
        }
        _ => false,
    }
}

fn of_policy(policy: &DynamicObject) -> Vec<String> {
    let (name, spec) = (name_of(policy), &policy.data["spec"]);
    let mut gains = Vec::new();
    if !is_of(&name, &spec["podSelector"]["matchLabels"]) {
        gains.push(format!("NetworkPolicy {name} is about {}", spec["podSelector"]));
    }
    if !name.ends_with("-agents") {
        return gains;
    }
    for rule in items(&spec["egress"]) {
        let everywhere = items(&rule["to"]).next().is_none();
        let ports: Vec<u64> = items(&rule["ports"]).filter_map(|port| port["port"].as_u64()).collect();
        let is_harmless = if everywhere {
            !ports.is_empty() && ports.iter().all(|port| ANYWHERE.contains(port))
        } else {
            items(&rule["to"]).all(|to| {
                let left_out = items(&to["ipBlock"]["except"]).filter_map(Value::as_str).collect::<Vec<_>>();
                let is_outside =
                    to["ipBlock"]["cidr"] == "0.0.0.0/0" && INSIDE.iter().all(|inside| left_out.contains(inside));
                is_outside || to["ipBlock"]["cidr"] == OUTSIDE_V6
            })
        };
        if !is_harmless {
            gains.push(format!("NetworkPolicy {name} lets agents reach {rule}"));
        }
    }
    gains
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
