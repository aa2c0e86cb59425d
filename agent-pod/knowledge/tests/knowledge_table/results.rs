//! Tables of results.

use knowledge::{ResultRow, ResultsTable};

fn row(tenant: &str, document: &str, submitted_at: u64) -> ResultRow {
    ResultRow {
        key: format!("{tenant}-{document}"),
        tenant: tenant.to_owned(),
        document: document.to_owned(),
        outcome: "succeeded".to_owned(),
        output: format!("{{\"at\": {submitted_at}}}"),
        quality: Some(0.5),
        submitted_at,
        ..ResultRow::default()
    }
}

async fn shown(table: &ResultsTable) -> Vec<String> {
    let rows = table.outputs().await.expect("the rows");
    rows.into_iter().map(|[key, _, _, output]| format!("{key} {output}")).collect()
}

#[tokio::test]
async fn a_document_has_one_row_the_one_of_its_last_execution() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = ResultsTable::open(folder.path()).await.expect("a table");
    let rows = [row("acme", "a", 1), row("acme", "a", 2), row("acme", "b", 1)];
    assert_eq!(table.upsert(&rows).await.expect("written"), 2);
    assert_eq!(table.upsert(&rows).await.expect("nothing to write"), 0);
    assert_eq!(table.upsert(&[row("acme", "a", 1), row("acme", "b", 3)]).await.expect("written"), 1);
    assert_eq!(shown(&table).await, ["acme-a {\"at\": 2}", "acme-b {\"at\": 3}"]);
    let again = ResultsTable::open(folder.path()).await.expect("the same table");
    assert_eq!(again.count().await.expect("counted"), 2);
}

#[tokio::test]
async fn two_writers_of_one_table_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (
        ResultsTable::open(folder.path()).await.expect("a table"),
        ResultsTable::open(folder.path()).await.expect("a table"),
    );
    for n in 0..5 {
        let (left, right) = ([row("acme", &format!("left{n}"), 1)], [row("acme", &format!("right{n}"), 1)]);
        let (left, right) = tokio::join!(one.upsert(&left), other.upsert(&right));
        assert_eq!((left.expect("written"), right.expect("written")), (1, 1));
    }
    assert_eq!(one.count().await.expect("counted"), 10);
}

#[tokio::test]
async fn what_is_erased_is_in_no_file_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = ResultsTable::open(folder.path()).await.expect("a table");
    let secret = ResultRow { output: "{\"text\": \"the-secret-of-acme\"}".to_owned(), ..row("acme", "a", 1) };
    table.upsert(&[secret, row("acme", "b", 1), row("o'ther", "c", 1)]).await.expect("written");
    let holds_secret = || {
        let mut open = vec![folder.path().to_path_buf()];
        let mut found = false;
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()));
            } else {
                let bytes = std::fs::read(path).expect("a file");
                found |= bytes.windows(18).any(|part| part == b"the-secret-of-acme");
            }
        }
        found
    };
    assert!(holds_secret(), "texts this short are not compressed");
    assert_eq!(table.erase(Some("acme-a"), None).await.expect("erased"), 1);
    assert!(!holds_secret());
    assert_eq!(table.erase(None, Some("o'ther")).await.expect("erased"), 1);
    assert_eq!(table.erase(None, None).await.expect("nothing is meant"), 0);
    assert_eq!(shown(&table).await, ["acme-b {\"at\": 1}"]);
}

#[tokio::test]
async fn what_is_erased_is_not_in_a_file_of_a_writer_that_died_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = ResultsTable::open(folder.path()).await.expect("a table");
    table.upsert(&[row("acme", "a", 1), row("acme", "b", 1)]).await.expect("written");
    // What such a writer leaves behind: rows in a file that no version names.
    let left_behind = folder.path().join("results.lance").join("data").join("0123abcd.lance");
    std::fs::write(&left_behind, b"the-secret-of-acme").expect("a file");
    assert_eq!(table.erase(Some("acme-a"), None).await.expect("erased"), 1);
    assert!(!left_behind.exists());
    assert_eq!(shown(&table).await, ["acme-b {\"at\": 1}"]);
}
