//! When an agent rests, and when it goes on.

use std::{sync::Arc, time::Duration};

use agent_pod::runtime::{
    rest::{Orders, Rest},
    stop::Stop,
};
use flow::PoolOrders;
use queue::Statuses;

/// Says something, and has whoever hears it do what it means.
async fn say(statuses: &dyn Statuses, word: Vec<u8>) {
    statuses.publish("_orders/readers", word.into()).await.expect("said");
    settle().await;
}

async fn order(statuses: &dyn Statuses, epoch: u64, resting: &[&str]) {
    let resting = resting.iter().map(|name| (*name).to_owned()).collect();
    say(statuses, PoolOrders { epoch, resting }.encode()).await;
}

/// On one thread, everybody has had several turns then.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

// Time that goes on only when all wait for it lets no order grow old while the test is held up.

#[tokio::test(start_paused = true)]
async fn an_agent_rests_while_orders_name_it_that_can_be_read_and_are_not_overtaken() {
    let statuses = queue::memory::open().statuses;
    let (rest, stop) = (Rest::default(), Stop::default());
    let following = {
        let (rest, stop, statuses) = (rest.clone(), stop.clone(), Arc::clone(&statuses));
        tokio::spawn(async move { rest.follow(statuses.as_ref(), ("readers", "one"), &stop).await })
    };
    settle().await;
    let statuses = statuses.as_ref();
    order(statuses, 3, &["two"]).await;
    assert!(!rest.is_told(), "another is meant");
    order(statuses, 3, &["two", "one"]).await;
    assert!(rest.is_told());
    order(statuses, 2, &[]).await;
    assert!(rest.is_told(), "who is replaced orders nothing");
    order(statuses, 4, &["two"]).await;
    assert!(!rest.is_told());
    order(statuses, 5, &["one"]).await;
    assert!(rest.is_told());
    say(statuses, b"nonsense".to_vec()).await;
    assert!(!rest.is_told(), "they cannot be read");
    order(statuses, 5, &["one"]).await;
    assert!(rest.is_told());
    statuses.remove("_orders/readers").await.expect("taken back");
    settle().await;
    assert!(!rest.is_told(), "they were taken back");
    stop.cordon();
    following.await.expect("it ends with the process");
}

#[tokio::test(start_paused = true)]
async fn orders_that_nobody_says_again_hold_no_longer() {
    let statuses = queue::memory::open().statuses;
    let rest = Rest::default();
    let mut orders = Orders::new(&rest, ("readers", "one"), Duration::from_millis(50));
    let ordering = async {
        settle().await;
        order(statuses.as_ref(), 1, &["one"]).await;
        assert!(rest.is_told());
        tokio::time::timeout(Duration::from_secs(30), rest.told(false)).await
    };
    let ended = tokio::select! {
        ended = ordering => ended,
        () = orders.hear(statuses.as_ref()) => panic!("it never ends"),
    };
    ended.expect("it takes tasks again");
}
