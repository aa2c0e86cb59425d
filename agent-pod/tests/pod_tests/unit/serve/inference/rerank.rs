//! The order of documents, and how they are read.

use agent_pod::serve::inference::{
    fields::Fields,
    rerank::{documents, ranked},
};

#[test]
fn the_nearest_comes_first_and_of_equals_the_earlier() {
    let vectors = vec![vec![0.0, 1.0], vec![1.0, 0.0], vec![-1.0, 0.0], vec![0.0, 1.0]];
    assert_eq!(ranked(&[0.0, 1.0], &vectors, usize::MAX), [(0, 1.0), (3, 1.0), (1, 0.0), (2, 0.0)]);
    assert_eq!(ranked(&[1.0, 0.0], &vectors, 2), [(1, 1.0), (0, 0.0)]);
    assert!(ranked(&[1.0, 0.0], &[], 2).is_empty());
}

#[test]
fn documents_are_texts_or_objects_with_a_text() {
    let read = |body: &str| documents(&Fields::read(body.as_bytes()).unwrap_or_else(|_| panic!("JSON")), 2);
    assert_eq!(read(r#"{"documents": ["a", {"text": "b"}]}"#), Ok(vec!["a".to_owned(), "b".to_owned()]));
    for body in
        [r#"{}"#, r#"{"documents": []}"#, r#"{"documents": [1]}"#, r#"{"documents": [""]}"#, r#"{"documents": "a"}"#]
    {
        assert!(read(body).is_err(), "{body}");
    }
    assert!(read(r#"{"documents": ["a", "b", "c"]}"#).is_err());
}
