//! The Lease over real HTTP: what the client does when the API server is slow, refuses or loses answers.

use std::{error::Error, time::Duration};

use crate::api_server::{ApiServer, Trouble};
use axum::http::Method;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use kube::{Api, Config};
use operator::{
    client::Clients,
    lease::{CallError, Elector, Identity, KubeLease, Leadership, LeaseApi, Timing},
};
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);
/// As usual, so that a leader on a machine that stands still for seconds is one on; but it asks more often, so that the tests are
/// short.
const PATIENT: Timing = Timing { retry: Duration::from_millis(100), ..Timing::USUAL };
/// Short, for one that is to lose its leadership; the ratios are those of the usual one.
const QUICK: Timing = Timing {
    lease: Duration::from_millis(3_000),
    renew_deadline: Duration::from_millis(2_000),
    retry: Duration::from_millis(100),
    call: Duration::from_millis(1_000),
};

async fn lease_of(server: &ApiServer) -> KubeLease {
    KubeLease::new(Clients::new(&server.config()).expect("clients").lease, "docket", "docket-operator")
}

/// Elects until the token is cancelled; the answer tells whether the Lease was released.
fn elect(
    lease: KubeLease,
    timing: Timing,
) -> (watch::Receiver<Leadership>, CancellationToken, tokio::task::JoinHandle<bool>) {
    let (mut elector, leadership) =
        Elector::new(lease, Identity::of_process("operator-a"), timing).expect("durations are safe");
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let running = tokio::spawn(async move {
        elector.run(&asked).await;
        elector.release().await
    });
    (leadership, stop, running)
}

async fn leads(leadership: &mut watch::Receiver<Leadership>) -> u32 {
    let leading = leadership.wait_for(|leadership| leadership.epoch_at(Instant::now()).is_ok());
    let led = timeout(PATIENCE, leading).await.expect("somebody leads in time").expect("the elector runs");
    led.epoch_at(Instant::now()).expect("it leads")
}

#[tokio::test]
async fn a_call_on_a_connection_that_never_answers_fails_within_its_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            open.push(connection);
        }
    });
    let config = Config::new(format!("http://{address}").parse().expect("a URL"));
    let clients = Clients::new(&config).expect("clients");
    let lease = KubeLease::new(clients.lease, "docket", "docket-operator");
    let secrets: Api<Secret> = Api::namespaced(clients.calls, "docket");
    let written = Lease::default();
    // The limits are 5 s and 10 s, and the machine is under load; kube's own client would wait for ever.
    let (read, replaced, called) = tokio::join!(
        timeout(PATIENCE, lease.get()),
        timeout(PATIENCE, lease.replace(&written)),
        timeout(PATIENCE, secrets.get("docket-nats")),
    );
    assert!(matches!(read.expect("it ends"), Err(CallError::Unclear(_))));
    assert!(matches!(replaced.expect("it ends"), Err(CallError::Unclear(_))));
    assert!(called.expect("it ends").is_err());
}

#[tokio::test]
async fn a_refused_request_is_sent_once() {
    let server = ApiServer::start().await;
    let lease = lease_of(&server).await;
    for code in [429, 503, 504] {
        server.contents().requests.clear();
        server.contents().trouble.push_back(Trouble::Refuse(code));
        let error = lease.create(&Lease::default()).await.expect_err("it is refused");
        // After 504 the API server may have done it all the same.
        assert_eq!(matches!(error, CallError::Refused(_)), code != 504, "{code}: {error:?}");
        assert!(error.source().is_some(), "it says why");
        assert_eq!(server.contents().requests.len(), 1, "{code} is not for the client to repeat");
    }
    let clients = Clients::new(&server.config()).expect("clients");
    server.contents().requests.clear();
    server.contents().trouble.push_back(Trouble::Refuse(503));
    let leases: Api<Lease> = Api::namespaced(clients.calls, "docket");
    assert!(leases.get("docket-operator").await.is_err());
    assert_eq!(server.contents().requests.len(), 1, "nor for the other client");
}

#[tokio::test]
async fn a_leader_outlasts_refusals_and_lost_answers_of_its_renewals() {
    let server = ApiServer::start().await;
    let (mut leadership, stop, running) = elect(lease_of(&server).await, PATIENT);
    let epoch = leads(&mut leadership).await;
    server.contents().trouble.extend([
        Trouble::Refuse(429),
        Trouble::Refuse(503),
        Trouble::LoseAnswer,
        Trouble::LoseAnswer,
        Trouble::Refuse(504),
    ]);
    let troubled = async {
        loop {
            assert_eq!(leads(&mut leadership).await, epoch, "it is one tenure");
            if server.contents().trouble.is_empty() {
                break;
            }
            leadership.changed().await.expect("the elector runs");
        }
    };
    timeout(PATIENCE, troubled).await.expect("all trouble is met");
    stop.cancel();
    assert!(running.await.expect("it ends in order"));
    assert_eq!(server.holder(), None);
}

#[tokio::test]
async fn who_gets_no_answer_when_taking_the_lease_finds_by_reading_that_it_is_theirs() {
    let server = ApiServer::start().await;
    // The read finds nothing; the answer to the creation is lost.
    server.contents().trouble.extend([Trouble::Refuse(429), Trouble::LoseAnswer, Trouble::LoseAnswer]);
    let (mut leadership, stop, running) = elect(lease_of(&server).await, PATIENT);
    leads(&mut leadership).await;
    let creations = server.contents().requests.iter().filter(|(method, _)| *method == Method::POST).count();
    assert!(creations <= 2, "a Lease that was made is not made again: {creations}");
    stop.cancel();
    assert!(running.await.expect("it ends in order"));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_leading_before_its_lease_is_over() {
    let server = ApiServer::start().await;
    let (mut leadership, stop, running) = elect(lease_of(&server).await, QUICK);
    leads(&mut leadership).await;
    server.contents().trouble.extend([Trouble::Refuse(503); 1_000]);
    let lost = leadership.wait_for(|leadership| matches!(leadership, Leadership::Following { .. }));
    timeout(PATIENCE, lost).await.expect("it notices").expect("the elector runs");
    assert!(server.holder().is_some_and(|holder| holder.starts_with("operator-a_")), "the Lease cannot say so");
    server.contents().trouble.clear();
    leads(&mut leadership).await;
    stop.cancel();
    assert!(running.await.expect("it ends in order"));
}
