//! A process that is killed while it works: this test binary starts itself as that process.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use queue::{Faults, Ports, clock::SystemClock, embedded};

use crate::{LEASE, message, pull};

const CHILD_FOLDER: &str = "QUEUE_TEST_CHILD_FOLDER";

/// Not a test of its own: the process that is killed. Says what it is about to do and what was confirmed.
#[test]
fn child_publishes_and_acknowledges_until_it_is_killed() {
    let Some(folder) = env::var_os(CHILD_FOLDER) else { return };
    let clock = Arc::new(SystemClock::default());
    let ports = embedded::open_at(folder.as_ref(), clock, LEASE, Faults::default()).expect("open").ports;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let round = ports.records.create("round", "".into()).await.is_ok();
        let publishers = (0..3).map(|publisher| tokio::spawn(publish_without_end(ports.clone(), publisher, round)));
        let workers = (0..3).map(|_| tokio::spawn(work_without_end(ports.clone())));
        for task in publishers.chain(workers).collect::<Vec<_>>() {
            task.await.expect("a task that never ends");
        }
    });
}

fn say(what: &str, id: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{what} {id}").and_then(|()| out.flush()).expect("the parent listens");
}

async fn publish_without_end(ports: Ports, publisher: usize, first_round: bool) {
    for number in 0.. {
        let id = format!("{first_round}-{publisher}-{number}");
        ports.queue.publish(vec![message(&id)]).await.expect("publish");
        say("published", &id);
    }
}

/// Acknowledges two of three messages and keeps the third in work.
async fn work_without_end(ports: Ports) {
    for turn in 0.. {
        for delivery in ports.queue.pull("readers", 1, Duration::from_millis(50)).await.expect("pull") {
            let id = &delivery.message.id;
            say("delivered", id);
            if turn % 3 != 0 {
                say("acknowledging", id);
                ports.queue.ack(&delivery.receipt).await.expect("acknowledge");
                say("acknowledged", id);
            }
        }
    }
}

#[derive(Default)]
struct Said {
    published: BTreeSet<String>,
    delivered: BTreeMap<String, u32>,
    acknowledging: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((what, id)) = line.split_once(' ') else { return };
        let id = id.to_owned();
        match what {
            "published" => drop(self.published.insert(id)),
            "delivered" => *self.delivered.entry(id).or_default() += 1,
            "acknowledging" => drop(self.acknowledging.insert(id)),
            "acknowledged" => drop(self.acknowledged.insert(id)),
            _ => {}
        }
    }
}

fn run_child_and_kill_it_after(folder: &std::path::Path, lines: usize, said: &mut Said) {
    let mut child = Command::new(env::current_exe().expect("this binary"))
        .args(["crash::child_publishes_and_acknowledges_until_it_is_killed", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start the child");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    let mut heard = 0;
    while out.read_line(&mut line).expect("read") > 0 {
        // A line without its end was cut off by the kill and says nothing.
        if let Some(line) = line.strip_suffix('\n').filter(|line| !line.is_empty()) {
            said.hear(line);
            heard += 1;
            if heard == lines {
                child.kill().expect("kill");
            }
        }
        line.clear();
    }
    child.wait().expect("the child has ended");
    assert!(heard >= lines, "the child ended by itself after {heard} lines");
}

#[tokio::test]
async fn a_kill_loses_no_confirmed_message_and_keeps_delivery_counts() {
    for lines in [1, 17, 60, 150, 333] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut said = Said::default();
        for _ in 0..2 {
            run_child_and_kill_it_after(folder.path(), lines, &mut said);
        }

        let ports = embedded::open(folder.path()).expect("open after the kill").ports;
        let depth = ports.queue.depth("readers").await.expect("depth");
        let left: BTreeMap<String, u32> = pull(&ports, usize::MAX)
            .await
            .into_iter()
            .map(|delivery| {
                assert_eq!(delivery.message, message(&delivery.message.id));
                (delivery.message.id, delivery.deliveries)
            })
            .collect();

        assert_eq!((depth.total(), depth.in_work), (left.len() as u64, 0));
        for id in said.published.difference(&said.acknowledging) {
            assert!(left.contains_key(id), "{id} was lost");
        }
        for id in &said.acknowledged {
            assert!(!left.contains_key(id), "{id} came back");
        }
        for (id, deliveries) in &left {
            let heard = said.delivered.get(id).copied().unwrap_or(0);
            // One delivery a life may have been made without being said.
            assert!((heard + 1..=heard + 3).contains(deliveries), "{id}: {heard} heard, now {deliveries}");
        }
    }
}
