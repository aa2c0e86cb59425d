//! Each line stands for itself.

use knowledge::jsonl::{Content, JsonDocument, LineError, documents};

fn all(lines: &[u8]) -> Vec<(u64, Result<JsonDocument, LineError>)> {
    documents(lines).collect()
}

#[test]
fn documents_come_with_text_or_path() {
    let lines = b"{\"id\": \"a\", \"text\": \"one\", \"metadata\": {\"year\": 1998}, \"priority\": \"high\"}\n\
        {\"id\": 7, \"path\": \"b.pdf\", \"title\": \"kept\"}";
    let found = all(lines);
    let first = found[0].1.as_ref().expect("first");
    assert_eq!((first.id.as_str(), &first.content), ("a", &Content::Text("one".to_owned())));
    assert_eq!(first.metadata["year"], 1998);
    assert_eq!(first.priority.as_deref(), Some("high"));
    let second = found[1].1.as_ref().expect("second");
    assert_eq!((second.id.as_str(), &second.content), ("7", &Content::Path("b.pdf".into())));
    assert_eq!(second.metadata["title"], "kept");
}

#[test]
fn a_wrong_line_is_named_and_does_not_stop_the_others() {
    let lines = b"{\"id\": \"a\", \"text\": \"one\"}\nnot json\n\n{\"text\": \"no id\"}\n{\"id\": \"b\"}\n\
        {\"id\": \"\xff\", \"text\": \"x\"}\n[1]\n{\"id\": \"c\", \"text\": \"last\"}\n";
    let found = all(lines);
    let outcome: Vec<(u64, bool)> = found.iter().map(|(line, document)| (*line, document.is_ok())).collect();
    assert_eq!(outcome, [(1, true), (2, false), (4, false), (5, false), (6, false), (7, false), (8, true)]);
    assert!(found[1].1.as_ref().is_err_and(|error| error.to_string().contains("line 2")));
}

#[test]
fn a_line_beyond_the_limit_is_passed_over() {
    let long = format!("{{\"id\": \"a\", \"text\": \"{}\"}}\n", "x".repeat(1000));
    let lines = format!("{long}{{\"id\": \"b\", \"text\": \"two\"}}\n{long}");
    let found: Vec<_> = documents(lines.as_bytes()).with_max_line_bytes(100).collect();
    assert!(matches!(found[0], (1, Err(LineError::TooLong { line: 1, limit: 100 }))));
    assert!(found[1].1.is_ok());
    assert!(matches!(found[2], (3, Err(LineError::TooLong { .. }))));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_line_of_exactly_the_limit_is_read() {
    let line = b"{\"id\":\"a\",\"text\":\"b\"}";
    assert!(documents(&line[..]).with_max_line_bytes(line.len() as u64).all(|(_, document)| document.is_ok()));
}
