//! Somebody may write pools and pipelines and nothing else, and the operator may write much more: whatever they write, they get
//! nothing through it that they may not have.

mod attacks;
mod gains;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Cluster, Gateway, Kind, Output, PATIENCE, condition, condition_saying, essence, processes_of, run, with_namespace,
    with_namespace_only,
};
use serde_json::{Value, json};

use self::attacks::{Attack, End};
use crate::documents::{all_ended_once, documents, letters};

const PAUSE: Duration = Duration::from_millis(500);

/// What the person may write.
const MAY: [&str; 2] = ["agentpools.docket.dev", "pipelines.docket.dev"];
/// What else there is to be had in the namespace.
const MAY_NOT: [[&str; 2]; 9] = [
    ["create", "pods"],
    ["create", "deployments.apps"],
    ["get", "secrets"],
    ["get", "configmaps"],
    ["patch", "configmaps"],
    ["create", "serviceaccounts/token"],
    ["create", "persistentvolumeclaims"],
    ["create", "networkpolicies.networking.k8s.io"],
    ["delete", "services"],
];
/// What is in a Secret of the namespace, as no other text is.
const SECRET: &str = "c0ffee-for-nobody-but-its-owner";

#[tokio::test]
#[ignore = "needs cluster"]
async fn who_may_write_pools_and_pipelines_gains_nothing_else() -> Result<()> {
    with_namespace(async |cluster| {
        let gateway = letters(cluster).await?;
        let person = Person::of(cluster).await?;
        person.may_write_pools_and_pipelines_alone().await?;
        let others = things_of_others(cluster).await?;
        with_namespace_only(async |elsewhere| {
            elsewhere.apply(&attacks::pool("theirs", json!({"replicas": 0}))).await?;
            elsewhere.wait(Kind::AgentPool, "theirs", condition("Ready", "True")).await?;
            let attacks = attacks::all(&cluster.namespace, &elsewhere.namespace);
            // All are written before the first is judged: most of what comes of them takes a moment.
            let mut written = Vec::new();
            for attack in &attacks {
                written.push(person.create(&attack.object).await?);
            }
            let mut gains = Vec::new();
            for (attack, output) in attacks.iter().zip(&written) {
                let judged = judge(cluster, &gateway, attack, output).await;
                gains.extend(judged.err().map(|error| format!("{}: {error:#}", attack.name)));
            }
            gains.extend(the_value_of_another_variable(cluster).await?);
            gains.extend(changed(cluster, &others).await?);
            gains.extend(gains::anywhere(cluster).await?);
            gains.extend(gains::told(cluster, SECRET).await?);
            eprintln!("gains: {} of {} attacks", gains.len(), attacks.len());
            ensure!(gains.is_empty(), "gained:\n{}", gains.join("\n"));
            Ok(())
        })
        .await?;
        // Nothing of what was tried has kept a document from its way.
        let documents = documents("beside", 5);
        gateway.submit_all("letters", &documents).await?;
        all_ended_once(&gateway, &documents).await
    })
    .await
}

/// Somebody with rights on pools and pipelines.
struct Person {
    user: String,
    namespace: String,
}

impl Person {
    async fn of(cluster: &Cluster) -> Result<Self> {
        let name = json!({"name": "author"});
        let verbs = json!(["create", "get", "list", "update", "patch", "delete"]);
        let rule = json!({"apiGroups": ["docket.dev"], "resources": ["agentpools", "pipelines"], "verbs": verbs});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "author"});
        let subject = json!({"kind": "ServiceAccount", "name": "author", "namespace": cluster.namespace});
        for object in [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": name, "rules": [rule]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": name,
                "roleRef": role, "subjects": [subject]}),
        ] {
            cluster.apply(&object).await?;
        }
        let namespace = cluster.namespace.clone();
        Ok(Self { user: format!("system:serviceaccount:{namespace}:author"), namespace })
    }

    async fn may_write_pools_and_pipelines_alone(&self) -> Result<()> {
        for kind in MAY {
            let begun = Instant::now();
            // The API server hears of a new binding a little later.
            while !self.may("create", kind).await? {
                ensure!(begun.elapsed() < PATIENCE, "the person may not create {kind}, so nothing is shown");
                tokio::time::sleep(PAUSE).await;
            }
        }
        for [verb, kind] in MAY_NOT {
            ensure!(!self.may(verb, kind).await?, "the person may {verb} {kind} without Docket, so nothing is shown");
        }
        Ok(())
    }

    async fn may(&self, verb: &str, kind: &str) -> Result<bool> {
        let asked = ["kubectl", "--as", &self.user, "--namespace", &self.namespace, "auth", "can-i", verb, kind];
        Ok(run(&asked, "").await?.text.trim() == "yes")
    }

    /// Writes an object, with whatever fields it has: the API server alone says what is taken.
    async fn create(&self, object: &Value) -> Result<Output> {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or(&self.namespace);
        let mut command = vec!["kubectl", "--as", &self.user, "--namespace", namespace];
        command.extend(["create", "--validate=ignore", "--filename", "-"]);
        run(&command, &object.to_string()).await
    }
}

/// What others have in the namespace, some of it under names that the objects of a pool would have.
async fn things_of_others(cluster: &Cluster) -> Result<BTreeMap<(Kind, &'static str), Value>> {
    let room = |name: &str, labels: Value| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let metadata = json!({"name": name, "labels": labels});
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    };
    let secret = |name: &str| {
        let data = json!({"OWNERS_KEY": SECRET});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
    };
    let service = json!({"selector": {"app": "ledger"}, "ports": [{"name": "http", "port": 7000}]});
    for object in [
        secret("vault"),
        // That of the pool "curious": whoever made it trusts the pool's author with it, but not under another name.
        secret("curious-agents"),
        room("ledger", json!({})),
        room("shared", json!({"docket.dev/agents": "allowed"})),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot-agents"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "books-agents"}, "data": {"pages": "7"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "ledger-agents"}, "spec": service}),
    ] {
        cluster.apply(&object).await?;
    }
    let mut seen = BTreeMap::new();
    for thing in [
        (Kind::ServiceAccount, "deployer"),
        (Kind::ServiceAccount, "robot-agents"),
        (Kind::ConfigMap, "books-agents"),
        (Kind::Service, "ledger-agents"),
    ] {
        seen.insert(thing, as_it_is(cluster, thing).await?);
    }
    Ok(seen)
}

async fn as_it_is(cluster: &Cluster, (kind, name): (Kind, &str)) -> Result<Value> {
    let found = cluster.get(kind, name).await?;
    Ok(json!({"uid": found.metadata.uid, "is": essence(&found)}))
}

async fn changed(cluster: &Cluster, before: &BTreeMap<(Kind, &'static str), Value>) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    for (thing, was) in before {
        let is = as_it_is(cluster, *thing).await?;
        if is != *was {
            changed.push(format!("{thing:?} of somebody else was {was} and is {is}"));
        }
    }
    Ok(changed)
}

/// An error where an attack did not end as it must.
async fn judge(cluster: &Cluster, gateway: &Gateway, attack: &Attack, output: &Output) -> Result<()> {
    let object = &attack.object;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let kind = if object["kind"] == "AgentPool" { Kind::AgentPool } else { Kind::Pipeline };
    if let End::Refused(word) = attack.end {
        ensure!(!output.succeeded, "it was taken");
        ensure!(output.errors.contains(word), "the refusal does not name {word}: {}", output.errors);
        return Ok(());
    }
    ensure!(output.succeeded, "it was refused: {}", output.errors);
    match attack.end {
        End::Refused(_) | End::Taken => {}
        End::Pruned(pointer) => {
            let live = cluster.get(kind, name).await.context("read what was stored")?;
            let (kept, tried) = (live.data.pointer(pointer), object.pointer(pointer));
            ensure!(tried.is_some(), "the attack has no {pointer}");
            ensure!(kept != tried, "{pointer} was stored: {kept:?}");
            // And the pool is built without it.
            cluster.wait(kind, name, condition("Ready", "True")).await?;
        }
        End::Fails => {
            cluster.wait(kind, name, condition("Ready", "True")).await?;
            gateway.submit(name, "attack", "Nothing but a text.").await?;
            let ended = gateway.end_of(name, "attack").await?;
            ensure!(ended.outcome == "dead-lettered", "it ended as {} with {:#}", ended.outcome, ended.output);
        }
        End::Says(condition, status, words) => {
            cluster.wait(kind, name, condition_saying(condition, status, words)).await?;
        }
    }
    Ok(())
}

/// The pool "curious" asks for the value of a Secret's variable under another name: it has what it wrote.
async fn the_value_of_another_variable(cluster: &Cluster) -> Result<Option<String>> {
    cluster.wait(Kind::AgentPool, "curious", condition("Ready", "True")).await?;
    let pods = cluster.labelled(Kind::Pod, "docket.dev/pool=curious").await?;
    let pod = pods.first().context("the pool has no pod")?;
    let processes = processes_of(pod)?;
    let agent = processes.iter().find(|process| process.container == "agent").context("the pod has no agent")?;
    ensure!(
        agent.variable("OWNERS_KEY")?.as_deref() == Some(SECRET),
        "the Secret of the pool does not reach its agents"
    );
    let mine = agent.variable("MINE")?;
    let written = Some("$(OWNERS_KEY)");
    Ok((mine.as_deref() != written).then(|| format!("a variable {written:?} is {mine:?}")))
}
