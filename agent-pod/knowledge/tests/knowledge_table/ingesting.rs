//! Each distinct text is embedded once, and a second ingest changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use knowledge::{Counts, DocumentText, Ingestor, KnowledgeBase, Query};

use crate::fake::{FakeEmbedder, vector};
use crate::open;

const TOKENS: usize = 24;
const OVERLAP: usize = 4;

fn licence(author: usize) -> DocumentText {
    let shared: Vec<String> = ["grant", "notice", "warranty"].iter().map(|word| vec![*word; 15].join(" ")).collect();
    DocumentText {
        document: format!("licence-{author}"),
        tenant: "t".to_owned(),
        source: format!("crate-{author}/LICENSE"),
        text: format!("Copyright {author} Author\n\n{}\n", shared.join("\n\n")),
    }
}

async fn ingest(knowledge: &KnowledgeBase, embedder: &Arc<FakeEmbedder>, documents: Vec<DocumentText>) -> Counts {
    let mut ingestor = Ingestor::new(knowledge.clone(), Arc::<FakeEmbedder>::clone(embedder), TOKENS, OVERLAP);
    for document in documents {
        ingestor.add(document).await.expect("add");
    }
    let counts = ingestor.finish().await.expect("finish");
    knowledge.compact().await.expect("compact");
    counts
}

async fn fresh(folder: &Path) -> (KnowledgeBase, Arc<FakeEmbedder>) {
    (open(folder).await, Arc::default())
}

#[tokio::test]
async fn shared_paragraphs_are_embedded_once_in_a_run() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    let counts = ingest(&knowledge, &embedder, (0..150).map(licence).collect()).await;
    // Each has a chunk of its own (copyright and grant) and two shared ones.
    assert_eq!(counts, Counts { documents: 150, unchanged: 0, chunks: 450, embedded: 152, reused: 298 });
    assert_eq!(embedder.texts.load(Ordering::SeqCst), 152);
    assert_eq!(knowledge.count().await.expect("count"), 450);
}

#[tokio::test]
async fn a_second_ingest_embeds_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    ingest(&knowledge, &embedder, (0..80).map(licence).collect()).await;
    let version = knowledge.version().await.expect("version");
    let again = ingest(&knowledge, &embedder, (0..80).map(licence).collect()).await;
    assert_eq!(again, Counts { documents: 80, unchanged: 80, ..Counts::default() });
    assert_eq!(knowledge.version().await.expect("version"), version);
}

#[tokio::test]
async fn a_new_document_reuses_the_vectors_of_the_table() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    ingest(&knowledge, &embedder, (0..3).map(licence).collect()).await;
    let counts = ingest(&knowledge, &embedder, vec![licence(3)]).await;
    assert_eq!(counts, Counts { documents: 1, unchanged: 0, chunks: 3, embedded: 1, reused: 2 });
}

#[tokio::test]
async fn hits_cite_the_bytes_of_their_document() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    let document = licence(9);
    ingest(&knowledge, &embedder, vec![document.clone(), licence(10)]).await;
    let query = Query {
        text: "Copyright 9".to_owned(),
        vector: Some(vector("Copyright 9")),
        top_k: 10,
        vector_search: true,
        full_text: true,
        tenant: None,
    };
    let hits = knowledge.search(&query).await.expect("search");
    let mine: Vec<_> = hits.iter().filter(|hit| hit.document == document.document).collect();
    assert_eq!(mine.len(), 3);
    for hit in mine {
        assert_eq!(hit.source, document.source);
        assert_eq!(&document.text[hit.start..hit.end], hit.text);
    }
}

#[tokio::test]
async fn a_changed_document_embeds_only_what_changed() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    ingest(&knowledge, &embedder, (0..3).map(licence).collect()).await;
    let mut changed = licence(1);
    changed.text.push_str("\nAn appendix that is new, of some more words than the rest of it\n");
    let counts = ingest(&knowledge, &embedder, vec![changed, licence(2)]).await;
    assert_eq!(counts, Counts { documents: 2, unchanged: 1, chunks: 4, embedded: 1, reused: 3 });
    assert_eq!(knowledge.count().await.expect("count"), 10);
}

#[tokio::test]
async fn what_another_process_has_just_removed_is_written_again() {
    let folder = tempfile::tempdir().expect("folder");
    let (knowledge, embedder) = fresh(folder.path()).await;
    let other = open(folder.path()).await;
    ingest(&knowledge, &embedder, vec![licence(1)]).await;
    // From here on this handle would take the version that it knows for the newest, for a second.
    assert_eq!(knowledge.count().await.expect("count"), 3);
    assert!(other.delete_document("t", "licence-1").await.expect("delete"));
    let counts = ingest(&knowledge, &embedder, vec![licence(1)]).await;
    assert_eq!((counts.unchanged, counts.chunks), (0, 3), "{counts:?}");
    assert_eq!(knowledge.count().await.expect("count"), 3);
}
