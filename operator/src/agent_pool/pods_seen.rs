//! What the pods of a pool lack: what its status needs of them, and nothing else. Ten thousand whole pods would be some hundred
//! megabytes, so each is looked at once and let go.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition},
    jiff::{SignedDuration, Timestamp},
};
use kube::ResourceExt;

/// An agent that has a node and is not ready for longer than this does not just start. A process is given 15 minutes to come up
/// (`build`); the rest is for its image and its volumes.
pub const READY_WITHIN: SignedDuration = SignedDuration::from_secs(20 * 60);

/// Pods of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodsSeen {
    /// Those that ask for a device.
    pub with_device: Group,
    /// Those that do not.
    pub without_device: Group,
    /// Why a container of one does not do its work: a reason for conditions, and what there is to say.
    pub trouble: Option<(&'static str, String)>,
    /// The one that has a node and is not ready for the longest time.
    pub unready: Option<Unready>,
}

/// An agent that has a node and is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
    /// Since when.
    pub since: Timestamp,
    /// Its namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
}

/// Pods, counted, and why they have no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Those that are not on their way out and have not ended.
    pub staying: usize,
    /// Those of them that have a node.
    pub placed: usize,
    /// Those of them that are ready.
    pub ready: usize,
    /// Why one has no node, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// What staying ones were refused a node for, and since when.
    pub refused: BTreeMap<String, Timestamp>,
}

impl PodsSeen {
    /// Takes note of one more pod.
    pub fn add(&mut self, pod: &Pod) {
        let group = if has_device(pod) { &mut self.with_device } else { &mut self.without_device };
        group.add(pod);
        self.trouble = self.trouble.take().or_else(|| trouble(pod));
        if let Some(unready) = unready(pod)
            && self.unready.as_ref().is_none_or(|longest| unready.since < longest.since)
        {
            self.unready = Some(unready);
        }
    }

    /// What there is to say of an agent that had time enough to become ready: a reason for conditions, and a message, which stays
    /// the same while nothing happens.
    pub fn overdue(&self, now: Timestamp) -> Option<(&'static str, String)> {
        let unready = self.unready.as_ref().filter(|unready| now.duration_since(unready.since) > READY_WITHIN)?;
        let Unready { since, namespace, pod } = unready;
        let message = format!(
            "pod {pod} has a node and is not ready since {since}; `kubectl describe pod --namespace {namespace} {pod}` and \
             `kubectl logs --namespace {namespace} {pod} --all-containers` say more"
        );
        Some(("NotReady", message))
    }

    /// All of them as one group.
    pub fn all(&self) -> Group {
        let (mut all, others) = (self.with_device.clone(), self.without_device.clone());
        all.staying += others.staying;
        all.placed += others.placed;
        all.ready += others.ready;
        all.unschedulable = all.unschedulable.or(others.unschedulable);
        others.refused.into_iter().for_each(|(message, since)| all.refuse(message, since));
        all
    }
}

impl<'a> FromIterator<&'a Pod> for PodsSeen {
    fn from_iter<I: IntoIterator<Item = &'a Pod>>(pods: I) -> Self {
        let mut seen = Self::default();
        pods.into_iter().for_each(|pod| seen.add(pod));
        seen
    }
}

impl Group {
    fn add(&mut self, pod: &Pod) {
        // It holds no device and waits for none; what it was told of nodes is of no use to those that stay.
        if is_over(pod) {
            return;
        }
        let scheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "False");
        let why = |scheduled: &PodCondition| scheduled.message.clone().unwrap_or_else(|| "no node fits".to_owned());
        self.unschedulable = self.unschedulable.take().or_else(|| scheduled.map(why));
        let has_node = has_node(pod);
        self.staying += 1;
        self.placed += usize::from(has_node);
        self.ready += usize::from(condition(pod, "Ready").is_some_and(|ready| ready.status == "True"));
        if let Some(refused) = scheduled.filter(|scheduled| scheduled.reason.as_deref() == Some("Unschedulable"))
            && let (false, Some(message), Some(since)) = (has_node, &refused.message, &refused.last_transition_time)
        {
            self.refuse(message.clone(), since.0);
        }
    }

    /// Of those that are told the same, the first counts.
    fn refuse(&mut self, message: String, since: Timestamp) {
        self.refused.entry(message).and_modify(|first| *first = since.min(*first)).or_insert(since);
    }
}

fn has_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether a pod is on its way out, or has ended. One that was evicted stays on the list, and another one takes its
/// place.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"))
}

/// Since when a pod that has a node, and is there to stay, is not ready.
fn unready(pod: &Pod) -> Option<Unready> {
    let ready = condition(pod, "Ready");
    if is_over(pod) || !has_node(pod) || ready.is_some_and(|ready| ready.status == "True") {
        return None;
    }
    // Where no kubelet has taken note of it, since the scheduler has.
    let scheduled = condition(pod, "PodScheduled").filter(|scheduled| scheduled.status == "True");
    let told = [ready, scheduled].into_iter().flatten().find_map(|condition| condition.last_transition_time.as_ref());
    let since = told.or(pod.metadata.creation_timestamp.as_ref())?.0;
    Some(Unready { since, namespace: pod.namespace().unwrap_or_default(), pod: pod.name_any() })
}

fn has_device(pod: &Pod) -> bool {
    let claims = pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_ref());
    claims.is_some_and(|claims| !claims.is_empty()) || devices(pod).next().is_some()
}

/// What a pod's status says of one kind of condition.
pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// The extended resources that a pod asks for: Kubernetes' own have no domain in their names.
pub(crate) fn devices(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let limits = containers.filter_map(|container| container.resources.as_ref()?.limits.as_ref());
    limits.flat_map(|limits| limits.keys()).map(String::as_str).filter(|resource| resource.contains('/'))
}

/// Why a pod's container does not do its work.
fn trouble(pod: &Pod) -> Option<(&'static str, String)> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let name = pod.name_any();
    // Those of a pod that ends do so as they are told to.
    let stays = !is_over(pod);
    let of = |container: &ContainerStatus| {
        waiting(&name, container).or_else(|| failing(container).filter(|_| stays).map(|ended| failed(&name, ended)))
    };
    containers.into_iter().find_map(of).or_else(|| unclaimed(pod))
}

/// A claim that a pod is to have and that was not made. The scheduler leaves such a pod alone and writes nothing into its status;
/// that there is no template is in an Event alone.
fn unclaimed(pod: &Pod) -> Option<(&'static str, String)> {
    let spec = pod.spec.as_ref().filter(|spec| spec.node_name.is_none())?;
    let made = || pod.status.iter().flat_map(|status| &status.resource_claim_statuses).flatten();
    let is_made = |name: &str| made().any(|claim| claim.name == name);
    let mut missing = spec.resource_claims.iter().flatten().filter(|claim| !is_made(&claim.name));
    let template = missing.find_map(|claim| claim.resource_claim_template_name.as_deref())?;
    let message = format!(
        "pod {}: nothing was claimed by the ResourceClaimTemplate \"{template}\" yet; the agent waits until there is one of \
         that name in the namespace",
        pod.name_any()
    );
    Some(("DeviceUnclaimed", message))
}

fn waiting(pod: &str, container: &ContainerStatus) -> Option<(&'static str, String)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let ended = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let reason = match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => "ImageUnavailable",
        "CrashLoopBackOff" if ended.is_some() => return ended.map(|ended| failed(pod, ended)),
        "CrashLoopBackOff" => "AgentsFail",
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => "ContainerRefused",
        _ => return None,
    };
    let ended = ended.map_or_else(String::new, |ended| format!("; {}", last_words(pod, ended)));
    Some((reason, format!("pod {pod}: {}{ended}", waiting.message.clone().unwrap_or_default())))
}

/// How a container ended that is tried again: between two ends it runs for a while, and is no better for that until it
/// is ready.
fn failing(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = container.state.as_ref()?;
    let ended = match (&state.terminated, &state.running) {
        (Some(ended), _) => Some(ended),
        (None, Some(_)) => container.last_state.as_ref()?.terminated.as_ref(),
        (None, None) => None,
    };
    ended.filter(|ended| !container.ready && container.restart_count > 0 && ended.exit_code != 0)
}

/// That a container fails again and again, in the same words whether it just waits, runs or ends: kubelet's own change
/// with each try.
fn failed(pod: &str, ended: &ContainerStateTerminated) -> (&'static str, String) {
    ("AgentsFail", format!("pod {pod}: it ends and is started again; {}", last_words(pod, ended)))
}

fn last_words(pod: &str, ended: &ContainerStateTerminated) -> String {
    match ended.message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => format!("it said last: {message}"),
        _ => format!("it ended with code {}; kubectl logs {pod} --previous says more", ended.exit_code),
    }
}
