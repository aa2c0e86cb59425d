//! Kills a pod's processes from outside, as a fault of the machine would: no signal before, no API call.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;

/// Sends SIGKILL to every process of a pod's containers; the kubelet starts the containers again. Which ones they are is told
/// by their cgroup, so this needs to run on the node.
pub fn crash(pod: &DynamicObject) -> Result<()> {
    let containers: Vec<String> = pod.data["status"]["containerStatuses"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|status| status["containerID"].as_str()?.split("//").nth(1).map(str::to_owned))
        .collect();
    let mut killed = 0;
    for entry in fs::read_dir("/proc").context("list processes")?.flatten() {
        let number = entry.file_name().to_string_lossy().into_owned();
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // A process may end while it is looked at.
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if containers.iter().any(|container| groups.contains(container.as_str())) {
            let ended = Command::new("kill").args(["-KILL", &number]).status().context("run kill")?;
            killed += u32::from(ended.success());
        }
    }
    ensure!(killed > 0, "pod {:?} has no process here", pod.metadata.name);
    Ok(())
}
