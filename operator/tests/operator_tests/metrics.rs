//! What the operator tells Prometheus of pools, and that it stops telling it when it is over.

use std::time::Duration;

use crate::{
    scaling_steps::{SLOTS, World},
    support::pool,
};
use crds::{AgentPool, AgentPoolStatus, ScalingMode};
use operator::{
    lease::Leadership,
    metrics::Metrics,
    scaling::pool::{Outlook, PoolScaler, Step},
    watching::Scope,
};
use scaler::Settings;
use serde_json::json;
use tokio::time::Instant;

/// The lines about metrics with this beginning of a name.
fn lines(metrics: &Metrics, of: &str) -> Vec<String> {
    let text = metrics.text().expect("text");
    text.lines().filter(|line| line.starts_with(of)).map(str::to_owned).collect()
}

fn step() -> Step {
    let world = World::new();
    let settings = Settings::between(2, 20);
    PoolScaler::default().step(&settings, &world.sight(), None, SLOTS, Outlook::default(), world.now as f64)
}

fn with_agents(name: &str, wanted: Option<i32>, ready: i32) -> AgentPool {
    let mut pool = pool(json!({"replicas": 2}));
    pool.metadata.name = Some(name.to_owned());
    pool.status =
        Some(AgentPoolStatus { desired_replicas: wanted, ready_replicas: ready, ..AgentPoolStatus::default() });
    pool
}

#[test]
fn what_is_wanted_says_who_owns_the_number_and_one_owner_alone() {
    let (metrics, step) = (Metrics::default(), step());
    for mode in [ScalingMode::Apply, ScalingMode::Advise, ScalingMode::External, ScalingMode::Apply] {
        metrics.scaled("documents", "readers", mode, &step);
        let told = lines(&metrics, "docket_scaler_desired_replicas{");
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(&format!("mode=\"{mode:?}\",namespace=\"documents\",pool=\"readers\"")), "{told:#?}");
    }
    metrics.scaled("documents", "writers", ScalingMode::Apply, &step);
    metrics.not_scaled("documents", "readers");
    let told = lines(&metrics, "docket_scaler_");
    assert!(told.len() == 4 && told.iter().all(|line| line.contains("pool=\"writers\"")), "{told:#?}");
}

#[test]
fn a_pool_about_which_nothing_can_be_decided_is_told_to_be_held() {
    let metrics = Metrics::default();
    metrics.held("documents", "readers");
    assert_eq!(
        lines(&metrics, "docket_scaler_held{"),
        ["docket_scaler_held{namespace=\"documents\",pool=\"readers\"} 1"]
    );
    metrics.not_scaled("documents", "readers");
    assert_eq!(lines(&metrics, "docket_scaler_"), Vec::<String>::new());
}

#[test]
fn agents_of_every_pool_are_told_until_it_goes_or_another_process_leads() {
    let metrics = Metrics::default();
    let until = Instant::now() + Duration::from_secs(60);
    let short = with_agents("readers", Some(2), 1);
    metrics.pools(&Scope::All, [&short].into_iter());
    assert_eq!(lines(&metrics, "docket_pool_"), Vec::<String>::new(), "who does not lead does not know");

    metrics.leadership(&Leadership::Leading { epoch: 1, until });
    let mut leaves = with_agents("leaving", Some(2), 1);
    leaves.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
    let (whole, new) = (with_agents("writers", Some(2), 2), with_agents("new", None, 0));
    metrics.pools(&Scope::All, [&short, &whole, &new, &leaves].into_iter());
    let of = |name: &str, pool: &str| format!("docket_pool_{name}_agents{{namespace=\"documents\",pool=\"{pool}\"}}");
    let readers = [format!("{} 1", of("ready", "readers")), format!("{} 2", of("wanted", "readers"))];
    let writers = [format!("{} 2", of("ready", "writers")), format!("{} 2", of("wanted", "writers"))];
    let both = [readers[0].clone(), writers[0].clone(), readers[1].clone(), writers[1].clone()];
    assert_eq!(lines(&metrics, "docket_pool_"), both);

    metrics.pools(&Scope::All, [&short].into_iter());
    assert_eq!(lines(&metrics, "docket_pool_"), readers, "the other pool has gone");
    metrics.leadership(&Leadership::Following { holder: None });
    assert_eq!(lines(&metrics, "docket_pool_"), Vec::<String>::new());
}

#[test]
fn who_watches_one_namespace_tells_nothing_about_the_pools_of_another() {
    let metrics = Metrics::default();
    metrics.leadership(&Leadership::Leading { epoch: 1, until: Instant::now() + Duration::from_secs(60) });
    let in_namespace = |namespace: &str| {
        let mut pool = with_agents("readers", Some(2), 1);
        pool.metadata.namespace = Some(namespace.to_owned());
        pool
    };
    let scope = |namespace: &str| Scope::Namespace(namespace.to_owned());
    let ready = |namespace: &str| format!("docket_pool_ready_agents{{namespace=\"{namespace}\",pool=\"readers\"}} 1");
    for namespace in ["finance", "law", "finance"] {
        metrics.pools(&scope(namespace), [&in_namespace(namespace)].into_iter());
    }
    assert_eq!(lines(&metrics, "docket_pool_ready"), [ready("finance"), ready("law")]);
    metrics.pools(&scope("law"), std::iter::empty());
    assert_eq!(lines(&metrics, "docket_pool_ready"), [ready("finance")]);
}
