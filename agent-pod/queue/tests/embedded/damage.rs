//! Bytes that changed on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use queue::{Error, embedded};
use redb::{Database, TableDefinition};

fn noise(length: usize) -> Bytes {
    let mut noise = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise.into()
}

fn file_of(folder: &Path, digest: &str) -> PathBuf {
    folder.join("payloads").join(&digest[..2]).join(&digest[2..])
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_healed_by_putting_it_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let payloads = embedded::open(folder.path()).expect("open").ports.payloads;
    let text = Bytes::from_iter(noise(1 << 20).iter().map(|byte| byte % 16));
    for payload in [noise(100_000), text] {
        let digest = payloads.put(payload.clone()).await.expect("put");
        let file = file_of(folder.path(), &digest);
        let whole = fs::read(&file).expect("a file of its own");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let mut unknown = whole.clone();
        unknown[0] = 77;
        for damaged in [&flipped[..], &unknown[..], &whole[..whole.len() / 2], &whole[..5], &[]] {
            fs::write(&file, damaged).expect("damage");
            let read = payloads.get(&digest).await;
            assert!(matches!(&read, Err(Error::Damaged { digest: named }) if *named == digest), "{read:?}");
        }
        payloads.put(payload.clone()).await.expect("put again");
        assert!(payloads.get(&digest).await.expect("get") == payload);
    }
}

#[tokio::test]
async fn a_damaged_small_payload_is_reported() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digest = {
        let payloads = embedded::open(folder.path()).expect("open").ports.payloads;
        payloads.put("small".into()).await.expect("put")
    };
    let hash = blake3::Hash::from_hex(&digest).expect("a digest");
    {
        let table: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("payloads");
        let database = Database::open(folder.path().join("state.redb")).expect("open the file");
        let transaction = database.begin_write().expect("begin");
        transaction.open_table(table).expect("the table").insert(hash.as_bytes(), &b"\0smell"[..]).expect("insert");
        transaction.commit().expect("commit");
    }
    let payloads = embedded::open(folder.path()).expect("open again").ports.payloads;
    assert!(matches!(payloads.get(&digest).await, Err(Error::Damaged { .. })));
    payloads.put("small".into()).await.expect("put again");
    assert_eq!(payloads.get(&digest).await.expect("get"), "small");
}

#[tokio::test]
async fn what_a_killed_process_left_half_written_is_removed_and_what_is_not_ours_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digest = {
        let payloads = embedded::open(folder.path()).expect("open").ports.payloads;
        payloads.put(noise(100_000)).await.expect("put")
    };
    let half = folder.path().join("payloads/incoming/half");
    fs::write(&half, "half").expect("write");
    let foreign = file_of(folder.path(), &digest).with_file_name("notes.txt");
    fs::write(&foreign, "notes").expect("write");
    let payloads = embedded::open(folder.path()).expect("open again").ports.payloads;
    assert_eq!(payloads.list(None, 1_000).await.expect("list"), [digest]);
    assert!(!half.exists());
    assert!(foreign.exists());
}
