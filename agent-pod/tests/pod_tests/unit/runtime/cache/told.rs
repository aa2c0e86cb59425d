//! What processes are told to forget.

use agent_pod::runtime::{cache::orders, stop::Stop};

use super::*;

#[tokio::test]
async fn processes_forget_what_they_are_told_at_once_or_when_they_come_back() {
    let ports = queue::memory::open();
    let (here, away) = (Place::new(), Place::new());
    let levels = Levels { memory: true, disk: true, ..NONE };
    let work = Counted::new(Ok("text "));
    let cache = here.open().await;
    ask(&cache, "key", levels, &work).await;
    ask(&away.open().await, "key", levels, &work).await;
    let stop = Stop::default();
    let told = async {
        // The listener is there when it answers.
        let there = tokio::time::timeout(PATIENT, async {
            loop {
                let answers = orders::tell(&ports).await.expect("asked");
                if let [answer] = answers.as_slice() {
                    break answer.clone();
                }
            }
        });
        let there = there.await.expect("it answers");
        assert_eq!((there.process.as_str(), there.done), ("worker-1", true));
        assert_eq!(there.disk.map(|disk| disk.entries), Some(1));
        assert_eq!(there.memory.map(|memory| memory.entries), Some(1));
        let answers = orders::forget(&ports, &Selection::of(Some("tenant"), None)).await.expect("told");
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].done, answers[0].disk.map(|disk| disk.entries)), (true, Some(1)));
        stop.cordon();
    };
    let listening = orders::listen(&cache, &ports, "worker-1", (HashSet::new(), stop.clone()));
    tokio::join!(told, listening);
    assert!(!ask(&cache, "key", levels, &work).await.1);
    // The other one comes back.
    let cache = away.open().await;
    let obeyed = orders::catch_up(&cache, ports.records.as_ref()).await;
    assert_eq!((obeyed.len(), cache.on_disk().await.expect("counted").entries), (1, 0));
    assert!(!ask(&cache, "key", levels, &work).await.1);
    // An order says nothing of what is made after it.
    orders::catch_up(&cache, ports.records.as_ref()).await;
    assert!(ask(&cache, "key", levels, &work).await.1);
}
