//! What is erased is in no file any more; everything else is found as before.

use std::{collections::BTreeSet, fs, path::Path};

use knowledge::{
    KnowledgeBase, Query, document_key,
    erasing::{Rows, erase},
};

use crate::{document, open};

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
        } else if fs::read(&path).expect("a file").windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.display().to_string());
        }
    }
    found
}

async fn by_words(knowledge: &KnowledgeBase, words: &str) -> Vec<String> {
    let query = Query {
        text: words.to_owned(),
        vector: None,
        top_k: 10,
        vector_search: false,
        full_text: true,
        tenant: Some("t".to_owned()),
    };
    knowledge.search(&query).await.expect("search").into_iter().map(|hit| hit.document).collect()
}

fn rows(documents: &[&str]) -> Rows {
    Rows { documents: documents.iter().map(|id| document_key("t", id).to_string()).collect(), tenant: None }
}

#[tokio::test]
async fn a_document_that_is_erased_is_in_no_file() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let secret = document("secret-name", &["the zanzibarine clause", "another zanzibarine clause"]);
    knowledge.upsert_all(&[secret, document("other", &["a quokkaesque clause"])]).await.expect("upsert");
    knowledge.compact().await.expect("compact");
    knowledge.upsert(&document("secret-name", &["the zanzibarine clause", "changed"])).await.expect("upsert");
    assert!(!holding(folder.path(), b"zanzibarine").is_empty());
    let erased = erase(folder.path(), Some("texts"), &rows(&["secret-name"])).await.expect("erase");
    assert_eq!((erased[0].table.as_str(), erased[0].rows, erased[0].left), ("texts", 2, 0));
    for word in ["zanzibarine", "secret-name"] {
        assert_eq!(holding(folder.path(), word.as_bytes()), [""; 0], "{word}");
    }
    // Also for who has had the table open all the time: a reader sees it within a second.
    let begun = std::time::Instant::now();
    while !by_words(&knowledge, "zanzibarine").await.is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it is still found");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(by_words(&knowledge, "quokkaesque").await, ["other"]);
    knowledge.upsert(&document("secret-name", &["the zanzibarine clause"])).await.expect("it can come again");
    assert_eq!(by_words(&knowledge, "zanzibarine").await, ["secret-name"]);
}

#[tokio::test]
async fn all_of_a_tenant_can_be_erased_from_all_tables() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    let second = KnowledgeBase::open(folder.path(), "second", crate::DIMENSIONS, crate::EMBEDDER).await.expect("table");
    let mut of_other = document("other", &["a quokkaesque clause"]);
    of_other.tenant = "the tenant's \"other\"".to_owned();
    for table in [&knowledge, &second] {
        table.upsert_all(&[document("a", &["one"]), document("b", &["two"]), of_other.clone()]).await.expect("upsert");
    }
    let tenant = |name: &str| Rows { documents: BTreeSet::new(), tenant: Some(name.to_owned()) };
    let erased = erase(folder.path(), None, &tenant("t")).await.expect("erase");
    assert_eq!(erased.iter().map(|erased| erased.rows).collect::<Vec<_>>(), [2, 2]);
    assert!(!holding(folder.path(), b"quokkaesque").is_empty(), "another tenant keeps its own");
    erase(folder.path(), None, &tenant(&of_other.tenant)).await.expect("erase");
    assert_eq!(holding(folder.path(), b"quokkaesque"), [""; 0], "also where no row is left");
    knowledge.upsert(&document("a", &["one"])).await.expect("the table is as good as new");
    assert_eq!(by_words(&knowledge, "one").await, ["a"]);
}

#[tokio::test]
async fn an_erasure_that_was_broken_off_is_ended_by_the_next() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert_all(&[document("a", &["zanzibarine"]), document("b", &["two"])]).await.expect("upsert");
    // The row is gone and the process dies before its file is.
    fs::write(folder.path().join("texts.erasing"), "").expect("written");
    assert!(knowledge.delete_document("t", "a").await.expect("delete"));
    assert!(!holding(folder.path(), b"zanzibarine").is_empty());
    let erased = erase(folder.path(), None, &rows(&["a"])).await.expect("erase");
    assert_eq!((erased[0].rows, erased[0].left), (0, 0));
    assert_eq!(holding(folder.path(), b"zanzibarine"), [""; 0]);
    assert!(!folder.path().join("texts.erasing").exists());
    assert!(erase(&folder.path().join("nowhere"), None, &rows(&["a"])).await.expect("erase").is_empty());
}
