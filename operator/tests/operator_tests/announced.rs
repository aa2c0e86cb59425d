//! Who may remove something at the broker: by the record that leaders change, and with a real server.

use std::{sync::Arc, time::Duration};

use operator::{
    announced::{Announced, NotAnnounced},
    broker::{Brokers, RemoveError},
    config::Config,
    kept::KeepError,
    lease::Leadership,
    names,
};
use queue::{
    Message, Priority, Records,
    jetstream::{self, JetStream, Settings},
    memory,
};
use tokio::{sync::watch, time::Instant};

const NAMESPACE: &str = "removals";
const POOL: &str = "readers";

async fn say(announced: &mut Announced, records: &Arc<dyn Records>, epoch: u32) -> Result<(), NotAnnounced> {
    announced.say(records, epoch, "operator", "something".to_owned()).await
}

fn is_overtaken(said: &Result<(), NotAnnounced>) -> bool {
    matches!(said, Err(NotAnnounced::Keep(KeepError::Overtaken { .. })))
}

#[tokio::test]
async fn a_leader_of_before_hears_of_its_successor_again_and_again() {
    let records = memory::open().records;
    let (mut before, mut after) = (Announced::default(), Announced::default());
    for _ in 0..3 {
        say(&mut before, &records, 4).await.expect("it leads alone");
    }
    say(&mut after, &records, 5).await.expect("a later leader goes first");
    for _ in 0..3 {
        assert!(is_overtaken(&say(&mut before, &records, 4).await));
        say(&mut after, &records, 5).await.expect("it leads on");
    }
    // It is elected again, later.
    say(&mut before, &records, 6).await.expect("it leads");
    assert!(is_overtaken(&say(&mut after, &records, 5).await));
}

#[tokio::test]
async fn epochs_that_begin_anew_with_a_new_lease_are_no_hindrance() {
    let records = memory::open().records;
    say(&mut Announced::default(), &records, 40).await.expect("the only one");
    let mut anew = Announced::default();
    say(&mut anew, &records, 1).await.expect("Docket was installed again, beside the broker's old files");
    say(&mut anew, &records, 1).await.expect("it leads on");
}

#[tokio::test]
async fn a_leader_of_before_does_not_begin_anew_what_went_with_its_namespace() {
    let records = memory::open().records;
    let (mut before, mut after) = (Announced::default(), Announced::default());
    say(&mut before, &records, 4).await.expect("it leads alone");
    say(&mut after, &records, 5).await.expect("a later leader goes first");
    records.delete(flow::keys::LEADER).await.expect("it goes with the namespace");
    let said = say(&mut before, &records, 4).await;
    assert!(matches!(said, Err(NotAnnounced::Keep(KeepError::Gone { .. }))), "{said:?}");
    say(&mut Announced::default(), &records, 5).await.expect("the namespace is there again");
    // It is elected again, later.
    say(&mut before, &records, 6).await.expect("it leads");
}

/// An operator's way to the broker, and whether it leads.
fn operator(url: &str, epoch: u32) -> (Brokers, watch::Sender<Leadership>) {
    let config = Config { nats_servers: vec![url.to_owned()], nats_replicas: 1, ..crate::support::config() };
    let until = Instant::now() + Duration::from_secs(3_600);
    let (leads, leadership) = watch::channel(Leadership::Leading { epoch, until });
    (Brokers::new(config, leadership), leads)
}

async fn agents(url: &str) -> JetStream {
    let settings = Settings { bucket_prefix: names::broker_prefix(NAMESPACE), ..Settings::new(url) };
    jetstream::open(settings).await.expect("the broker answers")
}

async fn publish(agents: &JetStream, id: &str) {
    let message =
        Message { id: id.to_owned(), pool: POOL.to_owned(), priority: Priority::Normal, body: Vec::new().into() };
    agents.ports.queue.publish(vec![message]).await.expect("the broker takes it");
}

async fn waiting(agents: &JetStream) -> u64 {
    agents.ports.queue.depth(POOL).await.expect("the broker answers").total()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_leads_no_more_removes_nothing_of_a_pool_that_was_made_again() {
    let Some(server) = crate::nats::shared(crate::nats::Version::Newest) else { return };
    let agents = agents(&server.url).await;
    let (before, leads) = operator(&server.url, 4);
    let (after, _leads) = operator(&server.url, 5);
    publish(&agents, "of the first pool").await;
    before.remove_pool(NAMESPACE, POOL).await.expect("it leads");
    assert_eq!(waiting(&agents).await, 0);

    // The pool goes and is made again under the next leader, which the one of before has not noticed.
    after.remove_pool(NAMESPACE, POOL).await.expect("it leads");
    publish(&agents, "of the second pool").await;
    let removed = before.remove_pool(NAMESPACE, POOL).await;
    assert!(matches!(removed, Err(RemoveError::Announce(_))), "{removed:?}");
    let removed = before.remove_pipeline(NAMESPACE, "letters").await;
    assert!(matches!(removed, Err(RemoveError::Announce(_))), "{removed:?}");
    assert_eq!(waiting(&agents).await, 1);

    // Now it has.
    leads.send_replace(Leadership::Following { holder: None });
    let removed = before.remove_pool(NAMESPACE, POOL).await;
    assert!(matches!(removed, Err(RemoveError::NotLeading)), "{removed:?}");
    let forgotten = before.forget_scaling(NAMESPACE, POOL).await;
    assert!(matches!(forgotten, Err(RemoveError::NotLeading)), "{forgotten:?}");
    assert_eq!(waiting(&agents).await, 1);
    after.remove_pool(NAMESPACE, POOL).await.expect("it leads on");
    assert_eq!(waiting(&agents).await, 0);
}
