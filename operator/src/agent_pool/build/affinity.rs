//! Which nodes a pool's pods are placed on, and how far apart.

use crds::{Affinity, Apart, LabelRule};
use k8s_openapi::{
    api::core::v1::{
        self as core, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
        PodAntiAffinity, PreferredSchedulingTerm, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::super::validate::ValidatedPool;

/// What keeps agents apart where it can counts as much as it may.
const MOST_WEIGHT: i32 = 100;

/// The affinity of a pool's pods; none where the pool says nothing of it.
pub fn affinity(pool: &ValidatedPool) -> Option<core::Affinity> {
    let written = &pool.spec.template.affinity;
    (!written.is_empty()).then(|| core::Affinity {
        node_affinity: nodes(written),
        pod_anti_affinity: written.apart.as_ref().map(|apart| apart_from_its_own(pool, apart)),
        pod_affinity: None,
    })
}

fn nodes(written: &Affinity) -> Option<NodeAffinity> {
    let required =
        (!written.required.is_empty()).then(|| NodeSelector { node_selector_terms: vec![term(&written.required)] });
    let preferred: Vec<_> = written
        .preferred
        .iter()
        .map(|nodes| PreferredSchedulingTerm {
            weight: i32::try_from(nodes.weight).unwrap_or(MOST_WEIGHT),
            preference: term(&nodes.labels),
        })
        .collect();
    (required.is_some() || !preferred.is_empty()).then(|| NodeAffinity {
        required_during_scheduling_ignored_during_execution: required,
        preferred_during_scheduling_ignored_during_execution: (!preferred.is_empty()).then_some(preferred),
    })
}

fn term(rules: &[LabelRule]) -> NodeSelectorTerm {
    let requirement = |rule: &LabelRule| NodeSelectorRequirement {
        key: rule.key.clone(),
        operator: format!("{:?}", rule.operator),
        values: (!rule.values.is_empty()).then(|| rule.values.clone()),
    };
    NodeSelectorTerm { match_expressions: Some(rules.iter().map(requirement).collect()), match_fields: None }
}

fn apart_from_its_own(pool: &ValidatedPool, apart: &Apart) -> PodAntiAffinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(pool.selector()), ..LabelSelector::default() }),
        topology_key: apart.topology_key.clone(),
        ..PodAffinityTerm::default()
    };
    match apart.required {
        true => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        false => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: MOST_WEIGHT,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
    }
}
