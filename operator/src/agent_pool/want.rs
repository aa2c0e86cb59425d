//! What a scheduler's message says a pod could not have. Pure.
//!
//! `0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint(s). preemption: …`: each reason with
//! the number of nodes that have it; a node that lacks several resources counts for each.

use crds::AgentPoolSpec;

/// What separates the reasons from what the scheduler tried after.
const AFTER_REASONS: &str = ". ";
/// A node whose labels are not those that were asked for.
const OTHER_LABELS: &str = "didn't match Pod's node affinity/selector";
/// A node that has not all devices that are claimed.
pub(crate) const NO_CLAIM: &str = "cannot allocate all claims";

/// Whether some node lacks nothing but the device: it would take the pod if it did not ask for it.
pub fn is_of_device_alone(pool: &AgentPoolSpec, message: &str) -> bool {
    let Some((nodes, list)) = parts(message) else { return false };
    let (mut wanting, mut others) = (0, 0);
    for (count, reason) in list.split(", ").filter_map(counted) {
        match is_of_device(pool, reason) {
            true => wanting += count,
            false => others += count,
        }
    }
    wanting > 0 && others < nodes
}

/// The reasons of a message, without what the scheduler tried after.
pub fn reasons(message: &str) -> &str {
    message.split(AFTER_REASONS).next().unwrap_or(message).trim_end_matches('.')
}

fn is_of_device(pool: &AgentPoolSpec, reason: &str) -> bool {
    let device = &pool.device;
    let resource = device.of_each_agent();
    resource.is_some_and(|resource| reason.strip_prefix("Insufficient ") == Some(resource))
        || !device.claims.is_empty() && reason == NO_CLAIM
        // The device's own labels say where it is; where others are asked for too, it may be these.
        || !device.node_selector.is_empty() && pool.template.affinity.required.is_empty() && reason.ends_with(OTHER_LABELS)
}

/// The number of nodes and the list of reasons.
fn parts(message: &str) -> Option<(u32, &str)> {
    let (head, list) = reasons(message).split_once(": ")?;
    let nodes = head.strip_prefix("0/")?.strip_suffix(" nodes are available")?;
    Some((nodes.parse().ok()?, list))
}

/// A reason with its number of nodes.
fn counted(item: &str) -> Option<(u32, &str)> {
    let (count, reason) = item.split_once(' ')?;
    Some((count.parse().ok()?, reason))
}
