//! The nearest answers of a scope.

use std::sync::Arc;

use agent_pod::runtime::cache::{
    kept::{Kept, Output, Owner, Question},
    semantic::index::{Index, cosine},
};
use serde_json::json;

fn question(guard: u8, vector: &[f32]) -> Question {
    Question { guard: [guard; 16], vector: vector.to_vec() }
}

fn answer(name: &str, made_at: u64, question: Question) -> Arc<Kept> {
    let output =
        Output { value: json!(name), references: Vec::new(), prompt_tokens: 0, completion_tokens: 0, model: None };
    Arc::new(Kept { made_at, owner: Owner::new("tenant", name), output, question: Some(question) })
}

fn name(kept: Option<Arc<Kept>>) -> Option<String> {
    Some(kept?.output.value.as_str()?.to_owned())
}

/// Vectors of length 1 at so many degrees.
fn at(degrees: f32) -> Vec<f32> {
    vec![degrees.to_radians().cos(), degrees.to_radians().sin()]
}

#[test]
fn the_nearest_answers_that_is_near_enough_and_whose_guard_is_equal() {
    let mut index = Index::default();
    for (n, (guard, degrees)) in [(0, 0.0), (0, 30.0), (1, 40.0), (0, 90.0), (0, 0.0)].into_iter().enumerate() {
        let key = n.to_string();
        assert!(index.add(&key, answer(&key, 1, question(guard, &at(degrees))), 10).is_empty());
    }
    let find = |guard, degrees, similarity| name(index.nearest(&question(guard, &at(degrees)), similarity, |_| true));
    assert_eq!(find(0, 28.0, 0.95).as_deref(), Some("1"));
    assert_eq!(find(0, 40.0, 0.95).as_deref(), Some("1"), "the one at 40 has another guard");
    assert_eq!(find(1, 40.0, 0.95).as_deref(), Some("2"));
    assert_eq!(find(0, 60.0, 0.95), None, "30 degrees are 0.87");
    assert_eq!(find(0, 61.0, 0.86).as_deref(), Some("3"));
    assert_eq!(find(0, 0.0, 0.95).as_deref(), Some("4"), "of equally near ones the newest");
    assert_eq!(find(2, 0.0, 0.5), None);
    assert_eq!(name(index.nearest(&question(0, &[1.0]), 0.1, |_| true)), None, "another model's vector");
    assert_eq!(name(index.nearest(&question(0, &[f32::NAN, 1.0]), 0.1, |_| true)), None);
    assert_eq!(name(index.nearest(&question(0, &at(0.0)), 0.1, |kept| kept.output.value != "4")).as_deref(), Some("0"));
}

#[test]
fn the_oldest_go_first_and_a_newer_answer_replaces_its_older() {
    let mut index = Index::default();
    let add = |index: &mut Index, key: &str, made_at| index.add(key, answer(key, made_at, question(0, &at(0.0))), 3);
    assert!(add(&mut index, "b", 20).is_empty());
    assert!(add(&mut index, "c", 30).is_empty());
    assert!(add(&mut index, "a", 10).is_empty(), "it comes late and is older");
    let full = index.weight();
    assert_eq!(add(&mut index, "d", 40), ["a"]);
    assert_eq!((index.count(), index.weight()), (3, full));
    assert!(add(&mut index, "b", 50).is_empty());
    assert!(add(&mut index, "b", 15).is_empty(), "older than what is there");
    assert_eq!(add(&mut index, "e", 60), ["c"]);
    assert_eq!(add(&mut index, "older than all", 1), ["older than all"]);
    index.forget(|kept| kept.made_at == 40);
    assert_eq!(index.forget_oldest(1), ["b"]);
    assert_eq!(index.forget_oldest(5), ["e"]);
    assert_eq!((index.count(), index.weight()), (0, 0));
}

#[test]
fn cosines_of_long_vectors_are_those_of_the_textbook() {
    let one: Vec<f32> = (0..387_u16).map(|n| f32::from(n % 7) - 3.0).collect();
    let other: Vec<f32> = (0..387_u16).map(|n| f32::from(n % 5) - 2.0).collect();
    let expected: f64 = one.iter().zip(&other).map(|(l, r)| f64::from(*l) * f64::from(*r)).sum();
    assert!((f64::from(cosine(&one, &other)) - expected).abs() < 1e-3);
}
