//! The processes of a pod's containers, as their node sees them. This needs to run on the node.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::{Api, api::DynamicObject};

use crate::{PATIENCE, away::answered, command::run};

/// Between two looks for a process.
const PAUSE: Duration = Duration::from_millis(250);

/// A process of a container.
pub struct Process {
    /// The pod's container.
    pub container: String,
    number: String,
    folder: PathBuf,
}

impl Process {
    /// What a file of its folder in `/proc` says.
    pub fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A variable of the environment that it began with.
    pub fn variable(&self, name: &str) -> Result<Option<String>> {
        let environment = self.read("environ")?;
        let mut variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
        Ok(variables.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()))
    }

    /// Whether something that runs beside it, in its pod's network, is let through to an address, within so many seconds. What
    /// listens there, and that it does, is the caller's to know.
    pub async fn connects(&self, address: SocketAddr, within: u32) -> Result<bool> {
        let network = format!("--net={}", self.folder.join("ns/net").display());
        let connect = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
        let within = within.to_string();
        let tried = run(&["nsenter", &network, "timeout", &within, "bash", "-c", &connect], "").await?;
        // Otherwise a network that could not be entered would be one that is closed.
        ensure!(!tried.errors.contains("nsenter"), "enter the network of {}: {}", self.container, tried.errors);
        Ok(tried.succeeded)
    }

    /// The root of the files that it sees.
    pub fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

/// The processes of a pod's containers. Which ones they are is told by their cgroup.
pub fn processes_of(pod: &DynamicObject) -> Result<Vec<Process>> {
    let containers: Vec<(String, String)> = pod.data["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|status| {
            let identity = status["containerID"].as_str()?.split("//").nth(1)?;
            Some((identity.to_owned(), status["name"].as_str()?.to_owned()))
        })
        .collect();
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("list processes")?.flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process may end while it is looked at.
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if let Some((_, container)) = containers.iter().find(|(identity, _)| groups.contains(identity.as_str())) {
            let folder = Path::new("/proc").join(&number);
            processes.push(Process { container: container.clone(), number, folder });
        }
    }
    ensure!(!processes.is_empty(), "pod {:?} has no process here", pod.metadata.name);
    Ok(processes)
}

/// Sends SIGKILL to every process of a pod's containers, as a fault of the machine would: no signal before, no API call. The
/// kubelet starts the containers again. Where they have just ended, or the pod's status names others, it is those that are started
/// next. The pod as it was then.
pub async fn crash(pods: &Api<DynamicObject>, pod: &DynamicObject) -> Result<DynamicObject> {
    let name = pod.metadata.name.as_deref().context("a pod has a name")?;
    let (begun, mut found) = (Instant::now(), pod.clone());
    loop {
        match kill(&found) {
            Ok(()) => return Ok(found),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        found = answered(async |_| pods.get(name).await).await.with_context(|| format!("read pod \"{name}\""))?;
    }
}

fn kill(pod: &DynamicObject) -> Result<()> {
    let mut killed = 0;
    for process in processes_of(pod)? {
        let ended = Command::new("kill").args(["-KILL", &process.number]).status().context("run kill")?;
        killed += u32::from(ended.success());
    }
    ensure!(killed > 0, "no process of pod {:?} could be killed", pod.metadata.name);
    Ok(())
}
