//! A disk without room, for real: the system refuses to let a file grow. The limit holds for a whole process, so this test
//! binary starts itself as one that has it.

use std::{
    env,
    process::{Command, Stdio},
};

use bytes::Bytes;
use queue::{Error, Message, embedded};
use rlimit::Resource;

use crate::{chain, message, pull};

const CHILD_FOLDER: &str = "QUEUE_TEST_LIMITED_FOLDER";
const LIMIT: u64 = 2 << 20;

/// Not a test of its own: the process with the limit.
#[tokio::test]
async fn child_runs_out_of_room_and_gets_it_back() {
    let Some(folder) = env::var_os(CHILD_FOLDER) else { return };
    let folder = std::path::Path::new(&folder);
    let ports = embedded::open(folder).expect("open").ports;
    let (_, most) = Resource::FSIZE.get().expect("the limit");
    Resource::FSIZE.set(LIMIT, most).expect("limit the size of files");

    ports.records.create("key", "value".into()).await.expect("there is room for this");
    let body = Bytes::from(vec![1; 16 << 10]);
    let mut published = Vec::new();
    let refused = loop {
        let id = format!("m{:04}", published.len());
        match ports.queue.publish(vec![Message { body: body.clone(), ..message(&id) }]).await {
            Ok(()) => published.push(id),
            Err(error) => break error,
        }
        assert!(published.len() < 1000, "the limit does not hold");
    };
    assert!(matches!(refused, Error::Store { .. }), "{refused:?}");
    assert!(chain(&refused).contains("too large"), "{}", chain(&refused));
    assert!(!published.is_empty());
    let mut large = vec![0; 4 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut large);
    let refused = ports.payloads.put(large.clone().into()).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    let in_parts = futures::stream::iter([Ok(Bytes::from(large.clone()))]);
    let refused = ports.payloads.put_stream(Box::pin(in_parts)).await;
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    assert!(ports.payloads.list().await.expect("list").is_empty());
    let unfinished = std::fs::read_dir(folder.join("payloads/incoming")).expect("the folder").count();
    assert_eq!(unfinished, 0, "what could not be written is removed");
    assert_eq!(ports.records.get("key").await.expect("reads work").expect("a record").bytes, "value");

    Resource::FSIZE.set(most, most).expect("lift the limit");
    ports.queue.publish(vec![message("n")]).await.expect("there is room again");
    published.push("n".to_owned());
    let digest = ports.payloads.put(large.clone().into()).await.expect("there is room again");
    drop(ports);

    let ports = embedded::open(folder).expect("open again").ports;
    let ids: Vec<String> = pull(&ports, usize::MAX).await.into_iter().map(|delivery| delivery.message.id).collect();
    assert_eq!(ids, published);
    assert!(ports.payloads.get(&digest).await.expect("get") == large);
}

#[test]
fn a_disk_without_room_refuses_and_goes_on_when_it_has_room_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The signal that a refused write sends would end the process; who is started by a shell that ignores it ignores it.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().expect("this binary"))
        .args(["file_limit::child_runs_out_of_room_and_gets_it_back", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("start the child");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}
