//! Secrets stay where they are: documents come and go, some fail, strangers knock, and no value of a Secret is found in what
//! others may read.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Door, HOME, Kind, condition, processes_of, run, with_namespace};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use serde_json::{Value, json};

use crate::{
    documents::{all_ended_once, documents, letters},
    hardening::name_of,
};

/// Shorter values are found everywhere.
const SHORTEST: usize = 8;
/// Words of longer texts, such as settings or files of credentials, that are secret are no shorter.
const SHORTEST_WORD: usize = 24;
/// Everything that may be read by who may not read Secrets.
const KINDS: &str = "agentpools,pipelines,deployments,statefulsets,replicasets,jobs,pods,services,configmaps,\
                     serviceaccounts,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,leases,events";
/// Where Helm keeps what it has installed: all manifests, in one value.
const OF_HELM: &str = "helm.sh/release.v1";
/// The port of metrics.
const METRICS: u16 = 9090;
/// Longest wait for them.
const ANSWER: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs cluster"]
async fn no_value_of_a_secret_is_found_in_what_others_may_read() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let users = users_secret();
        cluster.apply(&users).await?;
        let password = users["stringData"]["PROVIDER_KEY"].as_str().unwrap_or_default();
        for object in scribes() {
            cluster.apply(&object).await?;
        }
        cluster.wait(Kind::AgentPool, "scribes", condition("Ready", "True")).await?;
        cluster.wait(Kind::Pipeline, "scribes", condition("Ready", "True")).await?;
        let agent = cluster.labelled(Kind::Pod, "docket.dev/pool=scribes").await?.pop().context("no scribe")?;
        let process = processes_of(&agent)?.pop().context("a scribe without a process")?;
        ensure!(process.variable("PROVIDER_KEY")?.as_deref() == Some(password), "the key does not reach its agent");

        let good = documents("kept", 10);
        gateway.submit_all("letters", &good).await?;
        all_ended_once(&gateway, &good).await?;
        // The provider and the cache of this one do not answer.
        gateway.submit("scribes", "unanswered", "Please write something.").await?;
        let ended = gateway.end_of("scribes", "unanswered").await?;
        ensure!(ended.outcome == "dead-lettered", "it ended as {}", ended.outcome);
        // Objects that cannot work, one of which names a secret that is not for it.
        let stage = json!({"name": "parse", "pool": "nowhere", "parse": {}});
        cluster.apply(&object("Pipeline", "poolless", json!({"stages": [stage]}))).await?;
        let openai =
            json!({"baseUrl": "http://192.0.2.1:9/v1", "model": "m", "apiKeyFile": "/etc/docket-tokens/token"});
        let model = json!({"name": "m", "task": "Generate", "source": {"openai": openai}});
        cluster.apply(&object("AgentPool", "thief", small(json!([model])))).await?;
        cluster.wait(Kind::AgentPool, "thief", e2e::condition_saying("Ready", "False", "the process's own")).await?;

        let mut canaries = canaries(cluster, &cluster.namespace).await?;
        canaries.extend(self::canaries(cluster, HOME).await?);
        canaries.insert("a stranger's token".to_owned(), knock(cluster, "tell-nobody-of-me-0123456789").await?);
        let token = cluster.kubectl(&["create", "token", "default", "--audience", "another"], "").await?;
        canaries.insert("an account's token".to_owned(), knock(cluster, token.trim()).await?);
        ensure!(canaries.values().any(|value| value == password), "the user's key is not looked for");

        let places = places(cluster).await?;
        let mut hits = BTreeSet::new();
        for (place, text) in &places {
            let found = canaries.iter().filter(|(_, value)| text.contains(value.as_str()));
            // The value itself is not printed.
            hits.extend(found.map(|(whose, _)| format!("{whose} is in {place}")));
        }
        eprintln!("hits: {} of {} canaries in {} places", hits.len(), canaries.len(), places.len());
        ensure!(hits.is_empty(), "secrets were told:\n{}", hits.into_iter().collect::<Vec<_>>().join("\n"));
        Ok(())
    })
    .await
}

/// What a user keeps for the pool `scribes`: a provider's key, and a cache with a password.
fn users_secret() -> Value {
    let random = || std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_owned();
    let data = json!({
        "PROVIDER_KEY": random(),
        "DOCKET_REDIS": format!("redis://scribe:{}@127.0.0.1:9/0", random()),
    });
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scribes-agents"}, "stringData": data})
}

/// A pool and a pipeline that use it, and cannot reach anybody with it.
fn scribes() -> [Value; 2] {
    // An address of nobody: one of the machine itself would not be called.
    let openai =
        json!({"baseUrl": "http://192.0.2.1:9/v1", "model": "m", "apiKeyEnv": "PROVIDER_KEY", "timeout": "2s"});
    let model = json!({"name": "m", "task": "Generate", "source": {"openai": openai}});
    let stage = json!({"name": "write", "pool": "scribes", "generate": {"prompt": "{{ document.text }}"}});
    let spec = json!({"cache": {"levels": ["Redis"]}, "retry": {"maxAttempts": 1}, "stages": [stage]});
    [object("AgentPool", "scribes", small(json!([model]))), object("Pipeline", "scribes", spec)]
}

/// A pool that finds room on a node that many stories share.
fn small(models: Value) -> Value {
    json!({"models": models, "template": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}}})
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Asks the gateway with this token, which it must refuse; the token.
async fn knock(cluster: &Cluster, token: &str) -> Result<String> {
    let service = cluster.all(Kind::Service).get("docket-gateway").await.context("find the gateway")?;
    let answer = Door::of(&service)?.says(token).await?;
    ensure!(answer.code == 401, "a stranger is answered {}", answer.code);
    ensure!(!answer.text.contains(token), "the refusal repeats the token");
    Ok(token.to_owned())
}

/// The values of all Secrets of a namespace, by what they are; of longer texts their long words too.
async fn canaries(cluster: &Cluster, namespace: &str) -> Result<BTreeMap<String, String>> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let secrets = secrets.list(&ListParams::default()).await.with_context(|| format!("list Secrets of {namespace}"))?;
    let mut canaries = BTreeMap::new();
    for secret in secrets.items.iter().filter(|secret| secret.type_.as_deref() != Some(OF_HELM)) {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        for (key, value) in secret.data.iter().flatten() {
            let text = String::from_utf8_lossy(&value.0);
            let whose = format!("Secret {namespace}/{name}, {key}");
            let words = text.split(|letter: char| letter.is_whitespace() || "\"'{}[],@".contains(letter));
            let words = words.filter(|word| word.len() >= SHORTEST_WORD && is_random(word));
            for (number, word) in words.enumerate() {
                canaries.insert(format!("{whose}, word {number}"), word.to_owned());
            }
            if text.trim().len() >= SHORTEST {
                canaries.insert(whose, text.trim().to_owned());
            }
        }
    }
    ensure!(!canaries.is_empty(), "{namespace} has no Secrets");
    Ok(canaries)
}

/// Whether a word looks like nobody had made it up: letters and digits. Lines, titles and names have not both.
fn is_random(word: &str) -> bool {
    word.bytes().any(|letter| letter.is_ascii_digit()) && word.bytes().any(|letter| letter.is_ascii_alphabetic())
}

/// What others may read, by where it is: objects, logs, metrics and the words that processes were started with.
async fn places(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let mut places = Vec::new();
    for namespace in [cluster.namespace.as_str(), HOME] {
        let objects = run(&["kubectl", "get", KINDS, "--namespace", namespace, "--output", "json"], "").await?;
        places.push((format!("the objects of {namespace}"), objects.or_fail("read all objects")?));
        let pods = Kind::Pod.within(&cluster.client, namespace).list(&ListParams::default()).await;
        for pod in pods.with_context(|| format!("list the pods of {namespace}"))? {
            places.extend(of_pod(namespace, &pod).await?);
        }
    }
    Ok(places)
}

async fn of_pod(namespace: &str, pod: &DynamicObject) -> Result<Vec<(String, String)>> {
    let name = name_of(pod);
    let mut places = Vec::new();
    for previous in ["--previous=false", "--previous=true"] {
        let log = ["kubectl", "logs", &name, "--namespace", namespace, "--all-containers", previous];
        // One that has not run before has no such log.
        places.push((format!("the log of {name}"), run(&log, "").await?.text));
    }
    for process in processes_of(pod).unwrap_or_default() {
        places.push((format!("the words of {name}"), process.read("cmdline").unwrap_or_default()));
    }
    let is_ready = pod.data["status"]["conditions"].as_array().into_iter().flatten();
    let is_ready = is_ready.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let serves = pod
        .metadata
        .labels
        .iter()
        .flatten()
        .any(|(_, component)| ["agents", "gateway", "operator"].contains(&component.as_str()));
    if is_ready && serves {
        let address = pod.data["status"]["podIP"].as_str().context("a pod that is ready has no address")?;
        let http = reqwest::Client::builder().timeout(ANSWER).build().context("make an HTTP client")?;
        let asked = async { http.get(format!("http://{address}:{METRICS}/metrics")).send().await?.text().await };
        let metrics = asked.await;
        // A pod that leaves may be gone by now.
        if metrics.is_err() && leaves(namespace, &name).await? {
            return Ok(places);
        }
        places.push((format!("the metrics of {name}"), metrics.context("ask for metrics")?));
    }
    Ok(places)
}

/// Whether a pod is gone, or about to be.
async fn leaves(namespace: &str, pod: &str) -> Result<bool> {
    let since = "jsonpath={.metadata.deletionTimestamp}";
    let said = run(&["kubectl", "get", "pod", pod, "--namespace", namespace, "--output", since], "").await?;
    Ok(!said.succeeded || !said.text.trim().is_empty())
}
