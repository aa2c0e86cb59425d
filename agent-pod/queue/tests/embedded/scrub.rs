//! What was removed is in no file any more.

use std::{fs, path::Path};

use queue::embedded;

use crate::{message, pull};

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        fs::read(&path).expect("a file").windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn what_was_removed_is_in_no_file_after_a_scrub_and_all_else_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ports = embedded::open(folder.path()).expect("open").ports;
    let digest = ports.payloads.put("the secret of a payload".into()).await.expect("put");
    let kept = ports.payloads.put("another payload".into()).await.expect("put");
    let revision = ports.records.create("a", "the secret of a record".into()).await.expect("create");
    ports.records.create("b", "another record".into()).await.expect("create");
    ports.queue.publish(vec![message("first"), message("second")]).await.expect("publish");
    ports.payloads.delete(&digest).await.expect("delete");
    ports.records.remove("a", revision).await.expect("remove");
    assert!(
        holds(folder.path(), b"the secret of"),
        "removed rows stay in free pages: otherwise this test shows nothing"
    );
    ports.payloads.scrub().await.expect("scrub");
    assert!(!holds(folder.path(), b"the secret of"));
    // The file is in use as before.
    let delivery = pull(&ports, 1).await.remove(0);
    ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
    assert!(embedded::open(folder.path()).is_err(), "and locked as before");
    drop(ports);
    let ports = embedded::open(folder.path()).expect("open again").ports;
    assert_eq!(ports.payloads.get(&kept).await.expect("get"), "another payload");
    assert_eq!(ports.records.get("b").await.expect("get").expect("a record").bytes, "another record");
    let left: Vec<String> = pull(&ports, 8).await.into_iter().map(|delivery| delivery.message.id).collect();
    assert_eq!(left, ["second"]);
}
