//! The comparison with rivals, on a grid of one row.

use scaler::simulate::bench::{Entry, Grid, Row, compare};

fn row(attainments: Vec<f64>) -> Row {
    let grid = Grid {
        traces: Vec::new(),
        generated: vec![("sawtooth".to_owned(), 3)],
        service: "1".to_owned(),
        cold_start: "nowhere.csv".into(),
        slo: vec![60.0],
        concurrency: vec![8],
        max_replicas: 40,
        seeds: 1,
        trials: 1,
        attainments,
    };
    compare(&grid, |_| {}).expect("a sound grid").rows.remove(0)
}

fn promise(entry: &Entry) -> f64 {
    entry.settings.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a promise")
}

#[test]
fn promises_are_tried_between_the_one_that_attains_enough_and_the_one_below_it() {
    let row = row(vec![0.97, 0.9999]);
    let promises: Vec<f64> = row.ours.iter().map(promise).collect();
    assert!(promises.len() == 5 && promises.is_sorted(), "{promises:?}");
    let (our, rival) = (row.our().expect("there is one"), row.rival().expect("one attains 99 %"));
    let attains = |entry: &&Entry| entry.outcome.slo_attainment >= rival.outcome.slo_attainment;
    assert!(attains(&our));
    assert!(row.ours.iter().filter(attains).all(|other| our.outcome.pod_seconds <= other.outcome.pod_seconds));
    assert!(promise(our) < 0.9999, "what is cheapest is found: {promises:?}, {our:?}");
}
