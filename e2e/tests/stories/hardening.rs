//! What Docket's pods are kept from: by what is asked for them, as their nodes see it, and by what their images lack.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, HOME, Kind, Process, processes_of, with_namespace};
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::documents::letters;

/// What could be run by who got in.
const SHELLS: [&str; 14] =
    ["ash", "bash", "busybox", "curl", "dash", "env", "ksh", "node", "perl", "python", "python3", "sh", "wget", "zsh"];
/// Where programs are.
const PROGRAMS: [&str; 6] = ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"];
/// The user of all containers.
const USER: &str = "65532";
/// The state of a socket that waits for connections, as `/proc/net/tcp` writes it.
const LISTENS: &str = "0A";

#[tokio::test]
#[ignore = "needs cluster"]
async fn pods_listen_on_the_ports_that_are_documented_and_on_no_others() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        // As docs/adr/0018-a-token-for-metrics.md says; the operator's second one is there with KEDA alone.
        for (pod, documented) in pods(cluster).await?.iter().zip([&[8080, 9090][..], &[8080, 8081, 9090], &[9090]]) {
            let documented = documented.iter().copied().collect::<BTreeSet<u16>>();
            let declared = items(&pod.data["spec"]["containers"]).flat_map(|container| items(&container["ports"]));
            let declared: BTreeSet<u16> =
                declared.filter_map(|port| u16::try_from(port["containerPort"].as_u64()?).ok()).collect();
            ensure!(declared == documented, "{} declares {declared:?}, documented are {documented:?}", name_of(pod));
            let processes = processes_of(pod)?;
            let process = processes.first().context("a pod without a process")?;
            let open = open_ports(process)?;
            ensure!(open == documented, "{} listens on {open:?}, documented are {documented:?}", name_of(pod));
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn containers_have_no_more_than_they_need() -> Result<()> {
    with_namespace(async |cluster| {
        letters(cluster).await?;
        for pod in pods(cluster).await? {
            let loose = loose(&pod.data["spec"]);
            ensure!(loose.is_empty(), "{} {}", name_of(&pod), loose.join(", "));
            let is_operator = pod.metadata.namespace.as_deref() == Some(HOME);
            let has_token = pod.data["spec"]["automountServiceAccountToken"] != false;
            ensure!(has_token == is_operator, "{}: the token of its account is mounted: {has_token}", name_of(&pod));
            for process in processes_of(&pod)? {
                is_confined(&process).with_context(|| format!("{}, {}", name_of(&pod), process.container))?;
                has_no_shell(&process).with_context(|| format!("{}, {}", name_of(&pod), process.container))?;
            }
        }
        Ok(())
    })
    .await
}

/// An agent, a gateway and the operator.
async fn pods(cluster: &Cluster) -> Result<[DynamicObject; 3]> {
    let of = async |namespace: &str, component: &str| {
        let labels = ListParams::default().labels(&format!("app.kubernetes.io/component={component}"));
        let found = Kind::Pod.within(&cluster.client, namespace).list(&labels).await;
        Ok::<_, anyhow::Error>(found.with_context(|| format!("list the pods of the {component}"))?.items)
    };
    let one = |pods: Vec<DynamicObject>, what: &str| {
        let mut running = pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && pod.data["status"]["phase"] == "Running");
        running.next().with_context(|| format!("there is no running {what}"))
    };
    Ok([
        one(of(&cluster.namespace, "agents").await?, "agent")?,
        one(of(&cluster.namespace, "gateway").await?, "gateway")?,
        one(of(HOME, "operator").await?, "operator")?,
    ])
}

/// The ports on which something listens in a process's network, at whatever address.
fn open_ports(process: &Process) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for file in ["net/tcp", "net/tcp6"] {
        for line in process.read(file)?.lines().skip(1) {
            let mut words = line.split_whitespace().skip(1);
            let (Some(local), Some(_), Some(state)) = (words.next(), words.next(), words.next()) else { continue };
            if state == LISTENS {
                let port = local.rsplit(':').next().context("a socket without a port")?;
                ports.insert(u16::from_str_radix(port, 16).with_context(|| format!("read the port {port}"))?);
            }
        }
    }
    Ok(ports)
}

/// What of a pod is wider than the restricted standard, read-only files and limits allow, in words. The folders that end with a
/// pod have no limit of their own: models, payloads and what is being parsed lie there, of which nobody knows the size, and a pod
/// that exceeds such a limit is evicted with its work. What bounds them is the node's.
pub fn loose(spec: &Value) -> Vec<String> {
    let mut loose = Vec::new();
    let pod = &spec["securityContext"];
    if pod["runAsNonRoot"] != true || pod["seccompProfile"]["type"] != "RuntimeDefault" {
        loose.push(format!("has the security context {pod}"));
    }
    for container in items(&spec["containers"]).chain(items(&spec["initContainers"])) {
        let context = &container["securityContext"];
        let is_tight = context["readOnlyRootFilesystem"] == true
            && context["allowPrivilegeEscalation"] == false
            && context["privileged"] != true
            && context["capabilities"] == json!({"drop": ["ALL"]})
            && [Value::Null, json!(true)].contains(&context["runAsNonRoot"])
            && [Value::Null, json!("RuntimeDefault")].contains(&context["seccompProfile"]["type"])
            && [Value::Null, json!(65_532)].contains(&context["runAsUser"]);
        if !is_tight {
            loose.push(format!("has a container with the security context {context}"));
        }
        if !container["resources"]["limits"]["memory"].is_string() {
            loose.push(format!("has a container without a limit of memory: {}", container["name"]));
        }
        if items(&container["ports"]).any(|port| !port["hostPort"].is_null()) {
            loose.push(format!("has a port of its node: {}", container["ports"]));
        }
    }
    loose
}

/// The same as the node's kernel sees it.
fn is_confined(process: &Process) -> Result<()> {
    let status = process.read("status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>()).unwrap_or_default()
    };
    ensure!(
        field("Uid") == [USER; 4] && field("Gid") == [USER; 4],
        "it runs as {:?}, {:?}",
        field("Uid"),
        field("Gid")
    );
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        ensure!(field(set) == ["0000000000000000"], "{set} is {:?}", field(set));
    }
    ensure!(field("NoNewPrivs") == ["1"], "NoNewPrivs is {:?}", field("NoNewPrivs"));
    // 2: a filter of system calls.
    ensure!(field("Seccomp") == ["2"], "Seccomp is {:?}", field("Seccomp"));
    let mounts = process.read("mountinfo")?;
    let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words.get(4) == Some(&"/"));
    let options = root.context("it has no root")?[5];
    ensure!(options.split(',').any(|option| option == "ro"), "its root is mounted {options}");
    Ok(())
}

fn has_no_shell(process: &Process) -> Result<()> {
    let root = process.root();
    ensure!(root.join("etc").is_dir(), "its files cannot be looked at");
    for folder in PROGRAMS {
        for program in SHELLS {
            let path = root.join(folder).join(program);
            // Links are not followed: they would lead into the files of the machine.
            ensure!(path.symlink_metadata().is_err(), "it has /{folder}/{program}");
        }
    }
    Ok(())
}

/// The name of an object.
pub fn name_of(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
