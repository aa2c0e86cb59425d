//! Opinions on documents, as they are kept.

use agent_pod::runtime::feedback::{Example, all, forget, keep, list};

fn example(document: &str, by: &str, label: &str) -> Example {
    Example {
        document: document.to_owned(),
        tenant: "acme".to_owned(),
        source: "a.txt".to_owned(),
        payload: "digest".to_owned(),
        head: "kind".to_owned(),
        label: Some(label.to_owned()),
        score: None,
        by: by.to_owned(),
        at: 1,
        plan: "plan".to_owned(),
    }
}

#[tokio::test]
async fn one_person_has_one_opinion_on_a_document() {
    let ports = queue::memory::open();
    let records = ports.records.as_ref();
    assert!(keep(records, "p", &example("a", "ann", "lease")).await.expect("kept"));
    assert!(!keep(records, "p", &Example { at: 2, ..example("a", "ann", "lease") }).await.expect("kept"));
    assert!(keep(records, "p", &example("a", "ann", "invoice")).await.expect("kept"));
    assert!(keep(records, "p", &example("a", "bob", "lease")).await.expect("kept"));
    assert!(keep(records, "other", &example("b", "ann", "lease")).await.expect("kept"));
    let part = list(records, "p", None, 10).await.expect("read");
    let mut said: Vec<_> = part.examples.iter().map(|one| (one.by.as_str(), one.label.as_deref())).collect();
    said.sort_unstable();
    assert_eq!(said, [("ann", Some("invoice")), ("bob", Some("lease"))]);
    assert_eq!(part.next, None);
    let first = list(records, "p", None, 1).await.expect("read");
    let second = list(records, "p", first.next.as_deref(), 1).await.expect("read");
    assert_eq!((first.examples.len(), second.examples.len()), (1, 1));
    assert_ne!(first.examples, second.examples);
    assert_eq!(all(&ports.records).await.expect("read").len(), 2);
    let of_a = |pipeline: &str, example: &Example| pipeline == "p" && example.document == "a";
    assert_eq!(forget(records, of_a).await.expect("removed"), 2);
    assert_eq!(forget(records, of_a).await.expect("removed"), 0);
    assert_eq!(
        all(&ports.records).await.expect("read").into_keys().collect::<Vec<_>>(),
        [("other".to_owned(), "kind".to_owned())]
    );
}
