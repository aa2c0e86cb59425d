//! The comparison with rivals, on a grid of one row.

use scaler::simulate::bench::{Entry, Grid, Row, compare};

fn row(attainments: Vec<f64>) -> Row {
    let grid = Grid {
        traces: Vec::new(),
        generated: vec![("poisson".to_owned(), 3)],
        service: "1".to_owned(),
        cold_start: "nowhere.csv".into(),
        slo: vec![15.0],
        concurrency: vec![2],
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
    let row = row(vec![0.5, 0.9999]);
    let least = row.rival().expect("one attains 99 %").outcome.slo_attainment;
    let attains = |entry: &&Entry| entry.outcome.slo_attainment >= least;
    assert!(!attains(&&row.ours[0]), "the lowest promise is too low for this test: {:?}", row.ours[0]);
    let promises: Vec<f64> = row.ours.iter().map(promise).collect();
    assert!(promises.len() == 5 && promises.is_sorted() && promises[4] <= 0.9999, "{promises:?}");
    // Half way by the ratio of what may be late: the root of a half times a ten thousandth.
    assert!(promises[1..4].iter().any(|promise| (promise - 0.992_93).abs() < 1e-5), "{promises:?}");
    let our = row.our().expect("there is one");
    assert!(attains(&our) && promise(our) < 0.9999, "{our:?}");
    assert!(row.ours.iter().filter(attains).all(|other| our.outcome.pod_seconds <= other.outcome.pod_seconds));
}
