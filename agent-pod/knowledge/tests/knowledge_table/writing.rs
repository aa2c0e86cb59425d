//! Writing the same changes nothing; writing something else leaves nothing stale.

use knowledge::{Error, Query, Upserted};

use crate::{document, open};

async fn texts(knowledge: &knowledge::KnowledgeBase, tenant: Option<&str>) -> Vec<String> {
    let query = Query {
        text: String::new(),
        vector: Some(crate::fake::vector("any")),
        top_k: 100,
        vector_search: true,
        full_text: false,
        tenant: tenant.map(str::to_owned),
    };
    let mut texts: Vec<String> =
        knowledge.search(&query).await.expect("search").into_iter().map(|hit| hit.text).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn the_same_document_twice_makes_one_version() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let first = knowledge.upsert(&document("a", &["one", "two"])).await.expect("upsert");
    assert_eq!(first, Upserted { created: 1, chunks: 2, ..Upserted::default() });
    let version = knowledge.version().await.expect("version");
    let second = knowledge.upsert(&document("a", &["one", "two"])).await.expect("upsert");
    assert_eq!(second, Upserted { unchanged: 1, ..Upserted::default() });
    assert_eq!(knowledge.version().await.expect("version"), version);
    assert_eq!(knowledge.count().await.expect("count"), 2);
}

#[tokio::test]
async fn a_changed_document_loses_its_stale_chunks_in_one_version() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let documents = [document("a", &["one", "two", "three"]), document("b", &["other"])];
    knowledge.upsert_all(&documents).await.expect("upsert");
    let version = knowledge.version().await.expect("version");
    let outcome = knowledge
        .upsert_all(&[document("a", &["one", "new"]), document("c", &["more"]), document("b", &["other"])])
        .await
        .expect("upsert");
    assert_eq!(outcome, Upserted { created: 1, changed: 1, unchanged: 1, chunks: 3 });
    assert_eq!(knowledge.version().await.expect("version"), version + 1);
    assert_eq!(texts(&knowledge, None).await, ["more", "new", "one", "other"]);
}

#[tokio::test]
async fn changes_after_indexing_are_as_exact_as_before() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let documents: Vec<_> = (0..50).map(|n| document(&format!("d{n}"), &[&format!("text {n}"), "shared"])).collect();
    knowledge.upsert_all(&documents).await.expect("upsert");
    knowledge.compact().await.expect("compact");
    knowledge.upsert(&document("d7", &["replaced"])).await.expect("upsert");
    knowledge.upsert(&document("d50", &["added"])).await.expect("upsert");
    assert!(knowledge.delete_document("t", "d8").await.expect("delete"));
    knowledge.compact().await.expect("compact");
    let unchanged = knowledge.upsert(&documents[9]).await.expect("upsert");
    assert_eq!(unchanged.unchanged, 1);
    let texts = texts(&knowledge, None).await;
    assert_eq!(texts.len(), 50 * 2 - 2 + 1 + 1 - 2);
    assert!(texts.contains(&"replaced".to_owned()) && texts.contains(&"added".to_owned()));
    assert!(!texts.contains(&"text 7".to_owned()) && !texts.contains(&"text 8".to_owned()));
}

#[tokio::test]
async fn the_last_of_several_versions_in_a_batch_counts() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert_all(&[document("a", &["old"]), document("a", &["new"])]).await.expect("upsert");
    assert_eq!(texts(&knowledge, None).await, ["new"]);
}

#[tokio::test]
async fn many_single_writes_leave_few_files() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    for n in 0..130 {
        knowledge.upsert(&document(&format!("d{n}"), &[&format!("text {n}")])).await.expect("upsert");
    }
    assert_eq!(knowledge.count().await.expect("count"), 130);
    let fragments = knowledge.fragments().await.expect("fragments");
    assert!(fragments <= 64, "{fragments} fragments");
}

#[tokio::test]
async fn tenants_do_not_share_documents() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let mut theirs = document("a", &["theirs"]);
    theirs.tenant = "u' OR '1'='1".to_owned();
    knowledge.upsert_all(&[document("a", &["ours"]), theirs.clone()]).await.expect("upsert");
    assert_eq!(texts(&knowledge, None).await, ["ours", "theirs"]);
    assert_eq!(texts(&knowledge, Some("t")).await, ["ours"]);
    assert_eq!(texts(&knowledge, Some(&theirs.tenant)).await, ["theirs"]);
    assert!(texts(&knowledge, Some("nobody")).await.is_empty());
    assert!(knowledge.delete_document(&theirs.tenant, "a").await.expect("delete"));
    assert_eq!(texts(&knowledge, None).await, ["ours"]);
}

#[tokio::test]
async fn deleting_and_emptying_remove_all_chunks() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert_all(&[document("a", &["one"]), document("b", &["two", "three"])]).await.expect("upsert");
    assert!(knowledge.delete_document("t", "a").await.expect("delete"));
    let version = knowledge.version().await.expect("version");
    assert!(!knowledge.delete_document("t", "a").await.expect("delete again"));
    assert_eq!(knowledge.version().await.expect("version"), version);
    knowledge.upsert(&document("b", &[])).await.expect("empty");
    knowledge.upsert(&document("c", &[])).await.expect("empty from the start");
    assert_eq!(knowledge.count().await.expect("count"), 0);
}

#[tokio::test]
async fn vectors_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let mut short = document("a", &["one"]);
    short.chunks[0].vector.pop();
    let mut not_finite = document("a", &["one"]);
    not_finite.chunks[0].vector[0] = f32::NAN;
    let mut twice = document("a", &["one", "two"]);
    twice.chunks[1].index = 0;
    for bad in [short, not_finite, twice] {
        let error = knowledge.upsert_all(&[document("b", &["good"]), bad]).await.expect_err("refused");
        assert!(matches!(error, Error::InvalidChunk { .. }), "{error}");
    }
    assert_eq!(knowledge.count().await.expect("count"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_readers_at_the_same_time_lose_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let first = open(folder.path()).await;
    let second = open(folder.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let knowledge = if writer % 2 == 0 { first.clone() } else { second.clone() };
        tasks.spawn(async move {
            for round in 0..3 {
                let id = format!("w{writer}-{round}");
                knowledge.upsert(&document(&id, &[&id, "shared"])).await.expect("upsert");
                knowledge.upsert(&document("contended", &[&id])).await.expect("upsert");
                texts(&knowledge, None).await;
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("writer");
    }
    let third = open(folder.path()).await;
    assert_eq!(third.count().await.expect("count"), 6 * 3 * 2 + 1);
    assert_eq!(texts(&third, None).await.len(), 6 * 3 * 2 + 1);
}
