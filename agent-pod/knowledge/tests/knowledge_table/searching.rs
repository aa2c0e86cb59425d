//! Search by vector is exact, search by words finds what was just written, both are fused by rank.

use knowledge::{Error, Hit, KnowledgeBase, Query};

use crate::fake::{cosine, vector};
use crate::{document, open};

fn by_vector(text: &str, top_k: usize) -> Query {
    Query {
        text: text.to_owned(),
        vector: Some(vector(text)),
        top_k,
        vector_search: true,
        full_text: false,
        tenant: None,
    }
}

fn by_words(text: &str, top_k: usize) -> Query {
    Query { vector: None, vector_search: false, full_text: true, ..by_vector(text, top_k) }
}

fn by_both(text: &str, top_k: usize) -> Query {
    Query { full_text: true, ..by_vector(text, top_k) }
}

async fn search(knowledge: &KnowledgeBase, query: &Query) -> Vec<Hit> {
    knowledge.search(query).await.expect("search")
}

fn texts(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.text.as_str()).collect()
}

async fn filled(folder: &std::path::Path, count: usize) -> (KnowledgeBase, Vec<String>) {
    let knowledge = open(folder).await;
    let texts: Vec<String> = (0..count).map(|n| format!("clause number {n} of the text")).collect();
    let documents: Vec<_> = (0..).zip(&texts).map(|(n, text)| document(&format!("d{n}"), &[text])).collect();
    knowledge.upsert_all(&documents).await.expect("upsert");
    (knowledge, texts)
}

#[tokio::test]
async fn vector_search_agrees_with_brute_force_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, texts) = filled(folder.path(), 300).await;
    let on_disk = knowledge.with_max_rows_in_memory(0);
    for question in ["what is due", "who may copy", "when does it end"] {
        let query = vector(question);
        let mut expected: Vec<(f64, &String)> =
            texts.iter().map(|text| (cosine(&query, &vector(text)), text)).collect();
        expected.sort_by(|a, b| b.0.total_cmp(&a.0));
        for knowledge in [&knowledge, &on_disk] {
            let hits = search(knowledge, &by_vector(question, 10)).await;
            assert_eq!(hits.len(), 10);
            for (hit, (score, text)) in hits.iter().zip(&expected) {
                assert_eq!(&hit.text, *text);
                assert!((f64::from(hit.score) - score).abs() < 1e-5, "{} against {score}", hit.score);
            }
        }
    }
}

#[tokio::test]
async fn a_view_that_followed_many_changes_answers_like_a_fresh_one() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, _) = filled(folder.path(), 60).await;
    let question = Query { text: "clause number 7 of the text".to_owned(), ..by_both("which one is it", 80) };
    for n in 0..80 {
        match n % 4 {
            0 => knowledge.upsert(&document(&format!("new{n}"), &["first", &format!("second {n}")])).await.map(drop),
            1 => knowledge.upsert(&document(&format!("d{n}"), &[&format!("changed {n}")])).await.map(drop),
            2 => knowledge.delete_document("t", &format!("d{}", n / 2)).await.map(drop),
            _ if n == 43 => knowledge.compact().await,
            _ => Ok(()),
        }
        .expect("change");
        let followed = search(&knowledge, &question).await;
        if n % 16 == 3 {
            assert_eq!(followed, search(&open(folder.path()).await, &question).await, "after change {n}");
        }
    }
}

#[tokio::test]
async fn hits_say_where_they_are() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert(&document("a", &["first chunk", "second chunk"])).await.expect("upsert");
    let hits = search(&knowledge, &by_vector("second chunk", 1)).await;
    let [hit] = &hits[..] else { panic!("one hit: {hits:?}") };
    assert_eq!((hit.document.as_str(), hit.source.as_str(), hit.chunk, hit.rank), ("a", "files/a", 1, 1));
    assert_eq!((hit.start, hit.end, hit.text.as_str()), (12, 24, "second chunk"));
    assert!((hit.score - 1.0).abs() < 1e-6);
}

#[tokio::test]
async fn equal_scores_come_in_the_same_order_from_every_table() {
    let mut answers = Vec::new();
    for order in [false, true] {
        let folder = tempfile::tempdir().expect("folder");
        let knowledge = open(folder.path()).await;
        let mut documents: Vec<_> = (0..20).map(|n| document(&format!("d{n}"), &["the same text"])).collect();
        if order {
            documents.reverse();
        }
        for document in &documents {
            knowledge.upsert(document).await.expect("upsert");
        }
        for query in [by_vector("the same text", 7), by_words("same text", 7), by_both("the same text", 7)] {
            let hits = search(&knowledge, &query).await;
            answers.push(hits.into_iter().map(|hit| hit.document).collect::<Vec<_>>());
        }
    }
    assert_eq!(answers[..3], answers[3..]);
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn words_find_rows_that_no_index_holds_yet() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, _) = filled(folder.path(), 100).await;
    knowledge.upsert(&document("rare", &["a quokka is mentioned here"])).await.expect("upsert");
    assert_eq!(texts(&search(&knowledge, &by_words("quokka", 5)).await), ["a quokka is mentioned here"]);
    knowledge.compact().await.expect("compact");
    assert_eq!(texts(&search(&knowledge, &by_words("Quokka?", 5)).await), ["a quokka is mentioned here"]);
    knowledge.upsert(&document("new", &["an axolotl came afterwards"])).await.expect("upsert");
    assert_eq!(texts(&search(&knowledge, &by_words("axolotl", 5)).await), ["an axolotl came afterwards"]);
    assert_eq!(texts(&search(&knowledge, &by_words("the axolotls", 5)).await), ["an axolotl came afterwards"]);
    let both = search(&knowledge, &by_words("quokka axolotl", 5)).await;
    assert_eq!(both.len(), 2);
    assert!(knowledge.delete_document("t", "rare").await.expect("delete"));
    assert!(search(&knowledge, &by_words("quokka", 5)).await.is_empty());
}

#[tokio::test]
async fn a_row_that_both_searches_find_comes_first() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, _) = filled(folder.path(), 100).await;
    knowledge.upsert(&document("wanted", &["the wombat digs"])).await.expect("upsert");
    knowledge.upsert(&document("words", &["wombat wombat wombat"])).await.expect("upsert");
    let hits = search(&knowledge, &by_both("the wombat digs", 3)).await;
    assert_eq!(hits[0].text, "the wombat digs");
    // First by vector, and first or second by words.
    let best = 1.0 / 61.0 + 1.0 / 61.0;
    let second = 1.0 / 61.0 + 1.0 / 62.0;
    assert!([best, second].iter().any(|score: &f32| (score - hits[0].score).abs() < 1e-6), "{}", hits[0].score);
    assert!(hits[1..].iter().any(|hit| hit.text == "wombat wombat wombat"), "{hits:?}");
    assert!(hits.iter().map(|hit| hit.rank).eq(1..=3));
}

#[tokio::test]
async fn words_respect_the_tenant_and_odd_queries_find_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    assert!(search(&knowledge, &by_both("anything", 5)).await.is_empty());
    let mut theirs = document("a", &["the numbat of theirs"]);
    theirs.tenant = "u".to_owned();
    knowledge.upsert_all(&[document("a", &["the numbat of ours"]), theirs]).await.expect("upsert");
    for indexed in [false, true] {
        if indexed {
            knowledge.compact().await.expect("compact");
        }
        let query = Query { tenant: Some("u".to_owned()), ..by_words("numbat", 5) };
        assert_eq!(texts(&search(&knowledge, &query).await), ["the numbat of theirs"]);
        for odd in ["", "the", "?!", "\"unbalanced AND (", "漢字", &"word ".repeat(5000)] {
            assert!(search(&knowledge, &by_words(odd, 5)).await.is_empty(), "{odd:.20}");
        }
    }
    assert!(search(&knowledge, &by_words("numbat", 0)).await.is_empty());
}

#[tokio::test]
async fn queries_that_cannot_be_answered_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let neither = Query { vector_search: false, ..by_vector("a", 5) };
    let without_vector = Query { vector: None, ..by_vector("a", 5) };
    let short = Query { vector: Some(vec![1.0]), ..by_vector("a", 5) };
    for query in [neither, without_vector, short] {
        assert!(matches!(knowledge.search(&query).await, Err(Error::InvalidQuery { .. })));
    }
}

#[tokio::test]
async fn a_search_of_a_version_does_not_see_what_came_later() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, _) = filled(folder.path(), 3).await;
    let version = knowledge.version().await.expect("version");
    let question = "clause number 99 of the text";
    knowledge.upsert(&document("later", &[question])).await.expect("upsert");
    for query in [by_vector(question, 10), by_words(question, 10), by_both(question, 10)] {
        let old = knowledge.search_version(&query, version).await.expect("search");
        assert!(!old.is_empty() && old.iter().all(|hit| hit.document != "later"), "{old:?}");
        let newest = knowledge.version().await.expect("version");
        assert_eq!(knowledge.search_version(&query, newest).await.expect("search"), search(&knowledge, &query).await);
        assert!(search(&knowledge, &query).await.iter().any(|hit| hit.document == "later"));
    }
    assert!(matches!(knowledge.search_version(&by_vector(question, 10), 9_999).await, Err(Error::Read { .. })));
}
