//! Which pods rest and which go. Pure.
//!
//! A ReplicaSet takes pods without a node first, then those that the cluster does not call ready, then those with the lowest mark.
//! So of those that go, the ready ones are told to rest, seen to hold nothing, and marked, before the number is made smaller: nobody
//! with a task in hand is ever taken. An agent may be at work that the cluster does not call ready: it says that it is some seconds
//! before its probe does, and goes on when its node loses contact. No mark of another pod protects it, so it rests before all others,
//! and while it may work the number goes down only by those that are taken before it.

use std::collections::BTreeSet;

/// A pod of a pool that is not leaving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether it takes work, by its own word or by the cluster's.
    pub ready: bool,
    /// Whether the cluster calls it ready.
    pub ready_in_cluster: bool,
    /// Tasks and requests that it holds; `None` where it does not say.
    pub load: Option<u32>,
    /// Whether it says that it pulls nothing, or was told so long ago that it must have heard.
    pub cordoned: bool,
}

/// Who rests and who goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Pods that are to pull nothing.
    pub resting: BTreeSet<String>,
    /// Ready pods, all of them empty and resting, that are to be taken now.
    pub going: BTreeSet<String>,
    /// The smallest number of pods that takes nobody but these.
    pub least: u32,
}

/// Chooses, where `wanted` pods are to be left and `pulling` of the ready ones are to take tasks. Those of `resting` rest now:
/// they go on resting rather than others.
pub fn choose(members: &[Member], wanted: u32, pulling: u32, resting: &BTreeSet<String>) -> Choice {
    let there = members.len();
    let mut ready: Vec<&Member> = members.iter().filter(|member| member.ready).collect();
    let excess = there.saturating_sub(wanted as usize);
    // Taken by themselves, before any that the cluster calls ready.
    let unready = (there - ready.len()).min(excess);
    let leaving = excess - unready;
    // Those that pull go on, if no ReplicaSet would take them first; of the others the fullest come next, so that the emptiest
    // become or stay empty.
    ready.sort_by_key(|member| {
        let load = member.load.unwrap_or(u32::MAX);
        (!member.ready_in_cluster, resting.contains(&member.name), std::cmp::Reverse(load), member.name.clone())
    });
    let pulling = (pulling as usize).min(ready.len() - leaving);
    let rest = &ready[pulling..];
    let empty: Vec<&Member> =
        rest.iter().rev().copied().filter(|member| member.load == Some(0) && member.cordoned).collect();
    let is_exposed = taken_first(&ready) > taken_first(&empty)
        || members.iter().any(|member| !member.ready && member.load.is_some_and(|load| load > 0));
    // Among those that the cluster does not call ready, marks alone say who is taken before one that may work.
    let goes = |member: &&&Member| !is_exposed || !member.ready_in_cluster;
    let going: BTreeSet<String> = empty.iter().filter(goes).take(leaving).map(|member| member.name.clone()).collect();
    let unmarked = if is_exposed { 0 } else { unready };
    Choice {
        resting: rest.iter().map(|member| member.name.clone()).collect(),
        least: u32::try_from(there - unmarked - going.len()).unwrap_or(u32::MAX),
        going,
    }
}

/// How many of these a ReplicaSet takes before any that is marked alone.
fn taken_first(members: &[&Member]) -> usize {
    members.iter().filter(|member| !member.ready_in_cluster).count()
}
