//! The level on disk and its bound.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use agent_pod::runtime::cache::disk::{Bound, Disk, SLACK, files, prune};

#[test]
fn the_oldest_files_go_until_the_rest_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, age) in [("aa/old", 300), ("bb/older", 400), ("aa/new", 100)] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, [0; 10]).expect("a file");
        let written_at = SystemTime::now() - Duration::from_secs(age);
        std::fs::File::options().append(true).open(&path).expect("open").set_modified(written_at).expect("a time");
    }
    prune(folder.path(), 30).expect("pruned");
    assert_eq!(files(folder.path()).expect("files").len(), 3);
    prune(folder.path(), 15).expect("pruned");
    let left = files(folder.path()).expect("files");
    assert_eq!(left.len(), 1);
    assert!(left[0].0.ends_with("aa/new"));
}

#[tokio::test]
async fn the_folder_stays_within_its_bound_while_it_is_written() {
    const BOUND: u64 = 64 << 10;
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open_bounded(folder.path(), Bound::new(BOUND)).expect("it opens");
    let held = || files(folder.path()).expect("files").iter().map(|(_, file)| file.len()).sum::<u64>();
    let mut written = 0;
    for n in 0..200_u64 {
        // Digits of a digest cannot be compressed to nothing.
        let text: String =
            (0..40).map(|part| blake3::hash(&(n * 100 + part).to_le_bytes()).to_hex().to_string()).collect();
        let kept = Arc::new(super::kept(n, &text));
        written += kept.encode("any key").expect("bytes").len() as u64;
        disk.put(&format!("{n:04}"), kept).await;
        assert!(held() <= BOUND + BOUND / SLACK, "after {n}");
    }
    assert!(written > 3 * BOUND, "{written}");
    assert!(held() > BOUND / 2);
    assert_eq!(disk.counts.errors.load(Ordering::Relaxed), 0);
    assert!(disk.get("0199").await.is_some(), "the newest is there");
    assert!(disk.get("0000").await.is_none(), "the oldest has gone");
}
