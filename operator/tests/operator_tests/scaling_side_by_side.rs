//! Pools of a namespace are acted on side by side, each as long as it still is what was decided about; with a real nats-server and
//! a played cluster, which does a write of a Deployment only when it is told to.

use std::sync::OnceLock;

use crate::{
    cluster::{Cluster, NAMESPACE, POOL},
    nats::{self, Server, Version},
    scaling_loop::{Leader, PATIENCE, ports, until},
};
use operator::scaling::board::Report;
use serde_json::json;

/// Pools that are looked at at once (`scaling/namespace.rs`): the one after them waits until one of them is done.
const AT_ONCE: usize = 16;
/// On a machine that stands still, writes are refused before the test has come so far; not each time.
const TRIES: usize = 5;

/// A leader and pools of which each wants an agent, while writes of their Deployments are held. `None` without a nats-server.
async fn held(others: &[String]) -> Option<(Server, Cluster, Leader)> {
    let program = nats::program(Version::Newest)?;
    // Other tests have a namespace of this name at the server that is shared.
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let server = Server::start(&program, &folder, nats::free_port(), true);
    let scaling = json!({"minReplicas": 1, "maxReplicas": 6});
    let cluster = Cluster::new(ports(&server.url).await, scaling.clone());
    others.iter().for_each(|pool| cluster.add(pool, scaling.clone()));
    cluster.hold_writes(true);
    let leader = Leader::start(&cluster.serve().await, &server.url, 7).await;
    Some((server, cluster, leader))
}

fn report(leader: &Leader, uid: &str) -> Option<Report> {
    leader.ctx.scaling.of(&(NAMESPACE.to_owned(), POOL.to_owned()), Some(uid))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_whose_write_hangs_keeps_no_other_of_its_namespace_waiting() {
    // It comes before the other one, by its name.
    const HANGS: &str = "hangs";
    let Some((_server, cluster, leader)) = held(&[HANGS.to_owned()]).await else { return };
    // Of two that are written one after the other, never both are.
    until("both are being written, and one of them is done", &cluster, || {
        cluster.held() == [HANGS, POOL] && cluster.let_go(POOL, true)
    })
    .await;
    until("one was written", &cluster, || cluster.replicas() == 1).await;
    assert_eq!(cluster.replicas_of(HANGS), 0, "it was not told to go on");
    cluster.hold_writes(false);
    until("the other one was written, too", &cluster, || cluster.replicas_of(HANGS) == 1).await;
    leader.end().await;
}

/// Changes the pool while what was decided about it waits for its turn to be done, and sees to it that it is not done. Writes are
/// held on.
async fn is_left(cluster: &Cluster, leader: &Leader, others: &[String], change: impl Fn(usize)) {
    let mut seen = Vec::new();
    for number in 0..TRIES {
        // A look begins: all others are being written, so that the pool has to wait.
        until("all others are being written", cluster, || cluster.held() == others).await;
        let ((uid, generation), writes) = (cluster.pool(), cluster.writes());
        leader.ctx.scaling.forget(&(NAMESPACE.to_owned(), POOL.to_owned()));
        change(number);
        let knows = tokio::time::timeout(PATIENCE, cluster.until_seen("agentpools"));
        knows.await.expect("the leader watches pools");
        // A write that is refused is done, too. Next comes the pool.
        cluster.let_go(&others[0], false);
        let (next, _) = cluster.pool();
        let said = OnceLock::new();
        until("it was its turn", cluster, || {
            let report = report(leader, &uid).or_else(|| report(leader, &next));
            report.is_some_and(|report| said.set(report).is_ok())
        })
        .await;
        let (said, written) = (said.into_inner().expect("it was said"), cluster.writes() - writes);
        let is_of_before = said.uid.as_ref() == Some(&uid) && said.generation == generation;
        let wants_more = said.scaling.desired.is_some_and(|desired| desired > 0);
        if is_of_before && wants_more && written == 0 {
            return;
        }
        seen.push((is_of_before, wants_more, written));
    }
    panic!("(decided about the pool of before, wanted more, writes) are {seen:?}");
}

fn others() -> Vec<String> {
    (0..AT_ONCE).map(|number| format!("before-{number:02}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_was_changed_since_it_was_looked_at_is_left_for_the_next_second() {
    let others = others();
    let Some((_server, cluster, leader)) = held(&others).await else { return };
    is_left(&cluster, &leader, &others, |_| cluster.set_scaling("minReplicas", json!(2))).await;
    assert_eq!(cluster.replicas(), 0);
    cluster.hold_writes(false);
    until("what it is now counts", &cluster, || cluster.replicas() == 2).await;
    leader.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_was_made_again_since_it_was_looked_at_is_left_for_the_next_second() {
    let others = others();
    let Some((_server, cluster, leader)) = held(&others).await else { return };
    // Its generation is the same.
    is_left(&cluster, &leader, &others, |number| cluster.remake(&format!("uid-again-{number}"))).await;
    assert_eq!(cluster.replicas(), 0);
    cluster.hold_writes(false);
    until("the next one is acted on", &cluster, || cluster.replicas() == 1).await;
    leader.end().await;
}
