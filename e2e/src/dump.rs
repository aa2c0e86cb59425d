//! What is printed when a story fails: enough to see why without running it again.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Client,
    api::{Api, DynamicObject, ListParams, LogParams},
};
use serde_json::{Value, json};

use crate::{Kind, command::run, installation::HOME};

/// Lines of each log.
const LINES: i64 = 60;

/// Prints pools, pipelines, pods, events and logs of a namespace, and the operator's log.
pub(crate) async fn dump(client: &Client, namespace: &str) {
    eprintln!("\n==== namespace {namespace} ====");
    for kind in [Kind::AgentPool, Kind::Pipeline, Kind::Deployment] {
        let found = kind.within(client, namespace).list(&ListParams::default()).await;
        for object in found.iter().flatten() {
            eprintln!("---- {kind:?} {}\n{:#}", name(object), shown(object));
        }
    }
    let events = ["kubectl", "get", "events", "--namespace", namespace, "--sort-by", ".lastTimestamp"];
    if let Ok(events) = run(&events, "").await {
        eprintln!("---- events\n{}{}", events.text, events.errors);
    }
    for namespace in [namespace, HOME] {
        logs(client, namespace).await;
    }
}

async fn logs(client: &Client, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = Kind::Pod.within(client, namespace).list(&ListParams::default()).await;
    for pod in found.iter().flatten() {
        eprintln!("---- pod {namespace}/{}\n{:#}", name(pod), state(pod));
        for container in pod.data["spec"]["containers"].as_array().into_iter().flatten() {
            for previous in [true, false] {
                let container = container["name"].as_str().map(str::to_owned);
                let parameters = LogParams { container, previous, tail_lines: Some(LINES), ..LogParams::default() };
                if let Ok(log) = pods.logs(&name(pod), &parameters).await {
                    eprintln!(
                        "---- log of {}{}\n{log}",
                        name(pod),
                        if previous { " before it was restarted" } else { "" }
                    );
                }
            }
        }
    }
}

fn name(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

fn shown(object: &DynamicObject) -> Value {
    let metadata = &object.metadata;
    json!({"generation": metadata.generation, "deleted": metadata.deletion_timestamp, "finalizers": metadata.finalizers,
        "spec": object.data["spec"], "status": object.data["status"]})
}

fn state(pod: &DynamicObject) -> Value {
    let status = &pod.data["status"];
    json!({"phase": status["phase"], "conditions": status["conditions"], "containers": status["containerStatuses"],
        "init": status["initContainerStatuses"]})
}
