//! Keys of results in the cache.

use agent_pod::stages::cache_key;

#[test]
fn the_key_of_a_result_keeps_tenants_specifications_and_inputs_apart() {
    let inputs = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let keys = [
        cache_key("specification", "one", &inputs(&["a", "b"])),
        cache_key("specification", "other", &inputs(&["a", "b"])),
        cache_key("changed", "one", &inputs(&["a", "b"])),
        cache_key("specification", "one", &inputs(&["ab"])),
        cache_key("specification", "onea", &inputs(&["b"])),
        cache_key("specification", "one", &inputs(&["a", "", "b"])),
    ];
    for (place, key) in keys.iter().enumerate() {
        assert!(!keys[place + 1..].contains(key), "{place} is not alone");
    }
    assert_eq!(keys[0], cache_key("specification", "one", &inputs(&["a", "b"])));
}
