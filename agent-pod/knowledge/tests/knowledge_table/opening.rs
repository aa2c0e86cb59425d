//! A table is opened as it was left, and only for vectors of the model that made it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use knowledge::{Error, KnowledgeBase, Query};

use crate::{DIMENSIONS, EMBEDDER, document, fake, open};

/// Where the writer process of the kill test writes.
const FOLDER: &str = "KNOWLEDGE_TEST_FOLDER";
/// The file by which it says that it has written.
const WRITTEN: &str = "written";
/// Longest wait for it; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);

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
async fn the_longer_vectors_are_the_fewer_are_held_in_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let rows = async |name, dimensions| {
        let opened = KnowledgeBase::open(folder.path(), name, dimensions, EMBEDDER).await;
        opened.expect("knowledge base").max_rows_in_memory()
    };
    assert_eq!(rows("short", DIMENSIONS).await, 500_000);
    assert_eq!(rows("usual", 384).await, 500_000);
    assert_eq!(rows("long", 1_536).await, 125_000);
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

/// Not a test: the process that [`a_writer_that_is_killed_leaves_whole_documents`] starts and kills.
#[tokio::test]
#[ignore = "started by the test that kills it"]
async fn writer_process() {
    let folder = std::env::var_os(FOLDER).expect("a folder");
    let knowledge = open(folder.as_ref()).await;
    for round in 0_u64.. {
        let texts = ["first", "second", "third"].map(|part| format!("{part} of round {round}"));
        let texts = [texts[0].as_str(), &texts[1], &texts[2]];
        knowledge.upsert(&document(&format!("d{}", round % 7), &texts)).await.expect("upsert");
        if round == 0 {
            std::fs::write(Path::new(&folder).join(WRITTEN), b"").expect("file");
        }
    }
}

#[tokio::test]
async fn a_writer_that_is_killed_leaves_whole_documents() {
    let folder = tempfile::tempdir().expect("folder");
    let written = folder.path().join(WRITTEN);
    for kill in 0..6 {
        let mut writer = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "opening::writer_process", "--ignored"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("writer");
        // On a busy machine it takes its time to begin.
        let started = Instant::now();
        while !written.exists() && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Odd steps, so that the kills hit different moments of a commit.
        tokio::time::sleep(Duration::from_millis(53 * kill)).await;
        writer.kill().expect("kill");
        writer.wait().expect("dead");
        std::fs::remove_file(&written).expect("the writer came so far as to write");
        let knowledge = open(folder.path()).await;
        let query = Query {
            text: String::new(),
            vector: Some(fake::vector("any")),
            top_k: 1_000,
            vector_search: true,
            full_text: false,
            tenant: None,
        };
        let mut rounds: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for hit in knowledge.search(&query).await.expect("search") {
            let round = hit.text.rsplit(' ').next().unwrap_or_default().to_owned();
            rounds.entry(hit.document).or_default().push(round);
        }
        for (document, rounds) in rounds {
            assert!(rounds.len() == 3 && rounds.iter().all(|round| *round == rounds[0]), "{document}: {rounds:?}");
        }
        knowledge
            .upsert(&document("after", &[&format!("kill 1 of round {kill}"), "2 of round x"]))
            .await
            .expect("upsert");
        assert!(knowledge.delete_document("t", "after").await.expect("delete"));
    }
    let knowledge = open(folder.path()).await;
    assert!(knowledge.count().await.expect("count") > 0, "what was written is gone");
}
