//! Streams of pools where the operator alone makes them, with a real server that knows namespaces by accounts.

use std::time::Duration;

use operator::{
    broker::Brokers,
    config::{Config, Credentials},
    lease::Leadership,
    names,
};
use queue::{
    Depth,
    jetstream::{self, Keys, Role, Settings},
};
use tokio::{sync::watch, time::Instant};

use crate::nats::{Server, Version};

const NAMESPACE: &str = "remade";
const POOL: &str = "readers";

#[tokio::test]
async fn a_stream_that_somebody_has_removed_is_made_again_and_that_of_a_pool_that_is_gone_is_not() {
    let Some(program) = crate::nats::program(Version::Newest) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (keys, port) = (Keys::generate(), crate::nats::free_port());
    let trust = keys.server_configuration(&folder.path().join("accounts").display().to_string());
    let server = Server::start_with(&program, folder.path(), (port, false), &trust);
    let prefix = names::broker_prefix(NAMESPACE);
    let creds = keys.account(&prefix).user(&Role::Operator).creds;
    let config = Config {
        nats_servers: vec![server.url.clone()],
        nats_replicas: 1,
        nats_credentials: Some(Credentials::Keys(Box::new(keys))),
        ..crate::support::config()
    };
    let until = Instant::now() + Duration::from_secs(3_600);
    let (_leads, leadership) = watch::channel(Leadership::Leading { epoch: 1, until });
    let brokers = Brokers::new(config, leadership);
    let depth = async || {
        let sample = brokers.sample(NAMESPACE, POOL).await.expect("the broker answers");
        sample.map(|(depth, _)| depth)
    };
    assert_eq!(depth().await, Some(Depth::default()), "it is made with the first look");

    let settings = Settings {
        bucket_prefix: prefix,
        credentials: Some(jetstream::Credentials::Creds(creds)),
        inbox: Some(Role::Operator.inbox()),
        scoped: flow::keys::OF_ONE_PIPELINE.to_vec(),
        ..Settings::new(server.url.clone())
    };
    let somebody = jetstream::open(settings).await.expect("the broker answers");
    somebody.remove_pool(POOL).await.expect("it is removed");
    assert_eq!(depth().await, None);
    assert_eq!(depth().await, Some(Depth::default()), "the next look makes it again");

    brokers.remove_pool(NAMESPACE, POOL).await.expect("the pool is gone");
    for _ in 0..3 {
        assert_eq!(depth().await, None);
    }
}
