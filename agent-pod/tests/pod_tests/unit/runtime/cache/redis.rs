//! How long results live at a Redis server.

use std::time::Duration;

use agent_pod::runtime::cache::redis::lifetime;

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn results_that_were_made_at_once_expire_at_different_times_within_their_time() {
    let mut lifetimes: Vec<u64> =
        (0..100_u8).filter_map(|n| lifetime(&blake3::hash(&[n]).to_hex(), 5_000, HOUR, 5_000)).collect();
    assert!(lifetimes.iter().all(|lifetime| (3_240_000..=3_600_000).contains(lifetime)), "{lifetimes:?}");
    lifetimes.sort_unstable();
    lifetimes.dedup();
    assert!(lifetimes.len() > 50, "{lifetimes:?}");
}

#[test]
fn a_result_from_another_level_keeps_its_age() {
    let whole = lifetime("key", 0, HOUR, 0).expect("a time");
    let half = lifetime("key", 0, HOUR, 1_800_000).expect("a time");
    assert!(half <= 1_800_000 && half < whole, "{half} of {whole}");
    assert_eq!(lifetime("key", 0, HOUR, 3_600_000), None);
    assert_eq!(lifetime("key", 0, Duration::ZERO, 0), None);
}
