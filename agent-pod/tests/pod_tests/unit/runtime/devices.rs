//! What models run on, by what the pools say.

use agent_pod::runtime::devices::Chosen;
use crds::AgentPoolSpec;
use serde_json::json;

fn chosen(devices: &[serde_json::Value]) -> Chosen {
    let models = json!([{"name": "m", "task": "Embed", "source": {"catalog": "minilm"}}]);
    let pool = |device| serde_json::from_value(json!({"device": device, "models": models})).expect("a pool");
    let pools: Vec<AgentPoolSpec> = devices.iter().map(pool).collect();
    Chosen::of(pools.iter())
}

#[test]
fn a_process_goes_on_without_its_gpu_where_all_who_ask_for_it_say_so() {
    let (gpu, falls) = (json!({"kind": "Gpu"}), json!({"kind": "Gpu", "fallback": "Cpu"}));
    assert!(chosen(&[falls.clone(), json!({})]).falls_back);
    assert!(!chosen(&[falls, gpu.clone()]).falls_back);
    assert!(!chosen(&[gpu]).falls_back && !chosen(&[json!({})]).falls_back);
}

#[test]
fn the_widest_share_of_memory_counts_where_all_have_one() {
    let share = |share: f64| json!({"memoryFraction": share});
    assert_eq!(chosen(&[share(0.3), share(0.6)]).memory_fraction, Some(0.6));
    assert_eq!(chosen(&[share(0.3), json!({})]).memory_fraction, None);
    assert_eq!(Chosen::of(std::iter::empty()).memory_fraction, None);
}
