//! How often kept answers would have been wrong.

use agent_pod::runtime::cache::semantic::shadow::{Checked, Compared, FILE, add, compare, is_due, read};
use serde_json::json;

#[test]
fn the_share_is_kept_and_none_and_all_are_exact() {
    let due = |share| (0..20_000).filter(|&hit| is_due("key", hit, share)).count();
    assert_eq!((due(0.0), due(1.0)), (0, 20_000));
    assert!((150..250).contains(&due(0.01)), "{}", due(0.01));
    assert!((9_700..10_300).contains(&due(0.5)), "{}", due(0.5));
    let first_hits = (0..20_000).filter(|n: &u32| is_due(&n.to_string(), 0, 0.01)).count();
    assert!((150..250).contains(&first_hits), "processes with one answer each: {first_hits}");
}

#[test]
fn answers_are_the_same_wrong_or_must_be_read() {
    let same = json!({"text": "a lease", "finish": "stop"});
    assert_eq!(compare(&same, &same), Compared::Same);
    for other in [json!({"text": "a lease"}), json!({"text": 1, "finish": "stop"}), json!(["a lease"]), json!(null)] {
        assert_eq!(compare(&same, &other), Compared::Wrong, "{other}");
    }
    assert_eq!(compare(&json!({"pets": true}), &json!({"pets": false})), Compared::Wrong);
    assert_eq!(compare(&json!([1, 2]), &json!([1])), Compared::Wrong);
    assert_eq!(compare(&json!({"rent": "500 a month"}), &json!({"rent": "600 a month"})), Compared::Wrong);
    let words = Compared::Words("a lease\n".to_owned(), "a rental\n".to_owned());
    assert_eq!(compare(&same, &json!({"finish": "stop", "text": "a rental"})), words);
}

#[test]
fn what_was_found_adds_up_over_processes_and_a_damaged_file_counts_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!((read(folder.path()), read(folder.path()).wrong_ratio()), (Checked::default(), None));
    for wrong in [false, true, false, false] {
        add(folder.path(), wrong).expect("written");
    }
    assert_eq!(read(folder.path()), Checked { checked: 4, wrong: 1 });
    assert_eq!(read(folder.path()).wrong_ratio(), Some(0.25));
    std::fs::write(folder.path().join(FILE), "{").expect("written");
    assert_eq!(read(folder.path()), Checked::default());
}
