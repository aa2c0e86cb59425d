//! Databases and caches that are not called, and what a process's configuration says of whom it calls.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use agent_pod::{
    results::{
        Sink as _,
        postgres::{Postgres, asking::Happened},
        row::Row,
    },
    runtime::cache::{RedisSettings, inventory},
    serve::config::calls,
};
use crds::PostgresSink;
use engine::reach::{Kind, Names, Reach, Refused, Settings};
use reqwest::Url;

use crate::support::door::Door;

/// One name alone.
struct Localhost;

impl Names for Localhost {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host == "localhost" {
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        } else {
            Err(io::Error::other("nobody knows it"))
        }
    }
}

fn guarded() -> Reach {
    Reach::guarded(Settings { own: Vec::new(), except: Vec::new(), names: Arc::new(Localhost) })
}

fn database(url: &str) -> Postgres {
    let spec = PostgresSink { url: url.to_owned(), password_env: None, password_file: None, ca_file: None };
    Postgres::new(&spec).expect("it is right")
}

fn happened() -> Happened {
    Happened {
        key: "once".to_owned(),
        at: 5_000,
        event: "feedback",
        pipeline: "p".to_owned(),
        tenant: "acme".to_owned(),
        document: "a".to_owned(),
        stage: None,
        who: "ann".to_owned(),
        comment: None,
        detail: serde_json::json!({}),
    }
}

#[tokio::test]
async fn a_database_where_nobody_may_call_refuses_its_rows_and_is_not_reached() {
    let door = Door::closed(Ipv4Addr::LOCALHOST);
    let port = door.address.port();
    for url in [
        format!("postgres://docket@127.0.0.1:{port}/results"),
        format!("postgres://docket@localhost:{port}/results"),
        format!("postgres://docket@192.0.2.7:{port}/results?hostaddr=127.0.0.1"),
        format!("postgres://docket@10.0.0.9:5432,127.0.0.1:{port}/results"),
        "postgres://docket@%2Ftmp/results".to_owned(),
    ] {
        let sink = database(&url).reaching(&guarded());
        let rows = [Arc::new(Row::default()), Arc::new(Row::default())];
        let written = sink.write(&rows).await.expect("each row has its answer");
        for row in written {
            let problem = row.expect_err(&url);
            assert!(problem.starts_with("url: ") && problem.contains("agents in a cluster"), "{problem}");
        }
        let noted = sink.note(&happened()).await.expect_err(&url);
        assert!(noted.0.contains("agents in a cluster"), "{noted}");
    }
    assert_eq!(door.knocks(), 0);
    // Anybody else's is tried.
    let problem = database(&format!("postgres://docket@127.0.0.1:{port}/results")).note(&happened()).await;
    assert!(problem.is_err() && door.knocks() > 0);
}

#[tokio::test]
async fn a_cache_where_nobody_may_call_is_not_reached() {
    let door = Door::closed(Ipv4Addr::LOCALHOST);
    // An address that stands for all is refused by the client itself.
    for host in ["127.0.0.1", "localhost"] {
        let settings = RedisSettings::new(&format!("redis://{host}:{}", door.address.port()), Duration::MAX);
        let settings = settings.expect("a URL");
        let refused = inventory::on_redis(&settings.clone().reaching(&guarded())).await.expect_err(host);
        assert!(Refused::behind(&refused).is_some(), "{host}: {refused:?}");
        assert_eq!(door.knocks(), 0, "{host}");
    }
    let anybodys = RedisSettings::new(&format!("redis://{}", door.address), Duration::MAX).expect("a URL");
    assert!(inventory::on_redis(&anybodys).await.is_err());
    assert!(door.knocks() > 0);
}

#[test]
fn the_clusters_own_servers_are_what_the_process_knows_of_them() {
    let variable = |name: &str| match name {
        "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
        "POD_IP" => Some("10.244.0.7".to_owned()),
        _ => None,
    };
    let servers = "nats://user:word@10.96.7.7:4222, tls://broker.docket.svc:4222,10.96.7.8:4222,[fd00::2]:4222";
    let reach = calls::guarded(Vec::new(), Some(servers), variable);
    for (url, kind) in [
        ("https://[fd00::1]/", Kind::ApiServer),
        ("https://kubernetes.default.svc/", Kind::ApiServer),
        ("http://10.244.0.7:8080/", Kind::Own),
        ("http://10.96.7.7/", Kind::Broker),
        ("http://broker.docket.svc/", Kind::Broker),
        ("http://10.96.7.8/", Kind::Broker),
        ("http://[fd00::2]/", Kind::Broker),
    ] {
        assert_eq!(reach.check(&Url::parse(url).expect("a URL")).expect_err(url).kind, kind, "{url}");
    }
}
