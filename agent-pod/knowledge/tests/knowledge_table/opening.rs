//! A table is opened as it was left, and only for vectors of the model that made it.

use knowledge::{Error, KnowledgeBase};

use crate::{DIMENSIONS, EMBEDDER, document, open};

#[tokio::test]
async fn a_table_of_other_vectors_is_refused_with_a_clear_error() {
    let folder = tempfile::tempdir().expect("folder");
    open(folder.path()).await;
    let open = async |dimensions, embedder| {
        let opened = KnowledgeBase::open(folder.path(), "texts", dimensions, embedder).await;
        opened.err().expect("refused")
    };
    let error = open(384, EMBEDDER).await;
    assert!(matches!(error, Error::OtherDimensions { found: DIMENSIONS, wanted: 384, .. }));
    assert_eq!(error.to_string(), "knowledge base 'texts' holds vectors of 24 dimensions, the embedder makes 384");
    assert!(matches!(open(DIMENSIONS, "fake-2").await, Error::OtherEmbedder { .. }));
}

#[tokio::test]
async fn what_was_committed_is_there_when_the_writer_is_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert_all(&[document("a", &["one", "two"]), document("b", &["three"])]).await.expect("upsert");
    let version = knowledge.version().await.expect("version");
    drop(knowledge);
    let knowledge = open(folder.path()).await;
    assert_eq!(knowledge.version().await.expect("version"), version);
    assert_eq!(knowledge.count().await.expect("count"), 3);
    let again = knowledge.upsert(&document("a", &["one", "two"])).await.expect("upsert");
    assert_eq!(again.unchanged, 1);
}

#[tokio::test]
async fn files_of_a_commit_that_never_came_do_no_harm() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.upsert(&document("a", &["one"])).await.expect("upsert");
    drop(knowledge);
    // What a killed writer leaves behind: data files and temporary manifests that no version names.
    let table = folder.path().join("texts.lance");
    std::fs::write(table.join("data").join("0123abcd.lance"), b"half a file").expect("data file");
    std::fs::write(table.join("_versions").join(".tmp_99.manifest_0"), b"half").expect("manifest");
    std::fs::write(folder.path().join("texts.lock"), b"").expect("lock file");
    let knowledge = open(folder.path()).await;
    knowledge.upsert(&document("b", &["two"])).await.expect("upsert");
    knowledge.compact().await.expect("compact");
    assert_eq!(knowledge.count().await.expect("count"), 2);
}

#[tokio::test]
async fn compacting_again_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let knowledge = open(folder.path()).await;
    knowledge.compact().await.expect("compact an empty table");
    for batch in 0..12 {
        let texts: Vec<String> = (0..1_000).map(|n| format!("text {n} of batch {batch}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        knowledge.upsert(&document(&format!("d{batch}"), &texts)).await.expect("upsert");
    }
    knowledge.compact().await.expect("compact");
    let version = knowledge.version().await.expect("version");
    knowledge.compact().await.expect("compact again");
    assert_eq!(knowledge.version().await.expect("version"), version);
    assert_eq!(knowledge.count().await.expect("count"), 12_000);
    assert_eq!(knowledge.fragments().await.expect("fragments"), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("file");
    let error = KnowledgeBase::open(&file.join("sub"), "texts", DIMENSIONS, EMBEDDER).await.err().expect("refused");
    assert!(matches!(error, Error::CreateFolder { .. }), "{error}");
}
