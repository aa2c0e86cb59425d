//! Subjects of documents' events.

use agent_pod::runtime::progress::{subject, tokens_prefix, tokens_subject};

#[test]
fn a_document_whose_name_begins_like_another_has_subjects_of_its_own() {
    assert!(!tokens_subject("p", "a/b", "s").starts_with(&tokens_prefix("p", "a")));
    assert_ne!(subject("p", "a.b"), subject("p", "a/b"));
    assert_eq!(subject("p", "ä b"), "documents/p/%C3%A4%20b");
}
