//! What the pods of a pool lack: what its status needs of them, and nothing else. Ten thousand whole pods would be some hundred
//! megabytes, so each is looked at once and let go.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

/// Pods of a pool, counted, and the first reason of each kind why they do not work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsSeen {
    /// Those that are not on their way out.
    pub staying: usize,
    /// Those of them that have a node.
    pub placed: usize,
    /// Why one has no node.
    pub unschedulable: Option<String>,
    /// Why a container of one does not run: a reason for conditions, and what there is to say.
    pub trouble: Option<(&'static str, String)>,
}

impl PodsSeen {
    /// Takes note of one more pod.
    pub fn add(&mut self, pod: &Pod) {
        if pod.metadata.deletion_timestamp.is_none() {
            self.staying += 1;
            self.placed += usize::from(has_node(pod));
        }
        self.unschedulable = self.unschedulable.take().or_else(|| unschedulable(pod));
        self.trouble = self.trouble.take().or_else(|| trouble(pod));
    }
}

impl<'a> FromIterator<&'a Pod> for PodsSeen {
    fn from_iter<I: IntoIterator<Item = &'a Pod>>(pods: I) -> Self {
        let mut seen = Self::default();
        pods.into_iter().for_each(|pod| seen.add(pod));
        seen
    }
}

fn has_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Why a pod has no node.
fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled =
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    Some(scheduled.message.clone().unwrap_or_else(|| "no node fits".to_owned()))
}

/// Why a pod's container does not run.
fn trouble(pod: &Pod) -> Option<(&'static str, String)> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let name = pod.name_any();
    containers.into_iter().find_map(|container| waiting(&name, container))
}

fn waiting(pod: &str, container: &ContainerStatus) -> Option<(&'static str, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => "ImageUnavailable",
        "CrashLoopBackOff" => "AgentsFail",
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => "ContainerRefused",
        _ => return None,
    };
    let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = ended.map_or_else(String::new, |ended| match ended.message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => format!("; it said last: {message}"),
        _ => format!("; it ended with code {}; kubectl logs {pod} --previous says more", ended.exit_code),
    });
    Some((reason, format!("pod {pod}: {}{ended}", waiting.message.clone().unwrap_or_default())))
}
