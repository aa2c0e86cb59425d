//! A gateway that is asked to end while clients are still sent to it: what has begun goes on, and who comes anew is told to come again.

use std::{io::Read as _, net::TcpStream};

use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Attacked, documents, read_to_end, send};
use crate::{
    proto::{StatsRequest, gateway_client::GatewayClient},
    support::processes::{client, host, wait_for},
};

/// The head of a submission, whose client waits until it is let in.
const HEAD: &str = "POST /v1/pipelines/plain/documents?id=begun HTTP/1.1\r\nhost: gateway\r\ncontent-length: 4\r\n\
                    expect: 100-continue\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const KEPT: &str = "GET /v1/pipelines HTTP/1.1\r\nhost: gateway\r\n\r\n";

impl Attacked {
    /// Sends the first signal, and waits until the gateway says that nobody is to be sent to it.
    fn leaves(&mut self) {
        let ready = format!("http://{}/readyz", self.gateway.process.says("health listens on "));
        let is_ready = || client().get(&ready).send().expect("it answers").status() == 200;
        assert!(is_ready());
        self.gateway.process.terminate();
        wait_for("it to say that it leaves", || (!is_ready()).then_some(()));
    }

    /// Ends it in order.
    #[track_caller]
    fn ends(mut self) {
        self.gateway.process.terminate();
        assert_eq!(self.gateway.process.ends().code(), Some(0), "{}", self.gateway.process.said());
    }
}

fn read(stream: &mut TcpStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("it answers");
    String::from_utf8(bytes).expect("text")
}

#[test]
fn what_has_begun_is_answered_and_who_comes_anew_is_told_to_come_again() {
    let mut attacked = Attacked::start("farewell: 1h\n");
    let mut begun = attacked.connect(&attacked.gateway.http);
    assert!(send(&mut begun, HEAD.as_bytes()));
    assert_eq!(read(&mut begun, CONTINUE.len()), CONTINUE);
    let mut kept = attacked.connect(&attacked.gateway.http);
    assert!(send(&mut kept, KEPT.as_bytes()));
    assert!(read(&mut kept, 12).ends_with("200"));

    attacked.leaves();
    assert!(send(&mut begun, b"text"));
    let answered = String::from_utf8(read_to_end(&mut begun)).expect("text");
    assert!(answered.starts_with("HTTP/1.1 202") && answered.contains("connection: close"), "{answered}");
    // A client that asks again on it would not come to another gateway.
    read_to_end(&mut kept);

    let late =
        client().post(format!("{}?id=late", documents(&attacked.gateway))).body("text").send().expect("it answers");
    let header = |name| late.headers()[name].as_bytes();
    assert_eq!((late.status().as_u16(), header("retry-after"), header("connection")), (503, &b"1"[..], &b"close"[..]));
    let said: serde_json::Value = late.json().expect("JSON");
    assert_eq!(said["error"]["reason"], "Unavailable");
    let models = client().get(format!("{}/v1/models", attacked.gateway.http)).send().expect("it answers");
    assert_eq!(models.status(), 503);
    let mut new = attacked.connect(&attacked.gateway.http);
    assert!(send(&mut new, KEPT.as_bytes()));
    assert!(String::from_utf8_lossy(&read_to_end(&mut new)).starts_with("HTTP/1.1 503"));
    attacked.ends();
}

#[test]
fn callers_over_grpc_are_told_to_come_again() {
    let mut attacked = Attacked::start("farewell: 1h\n");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let channel = Channel::from_shared(attacked.gateway.grpc.clone()).expect("an address");
    let channel = runtime.block_on(channel.connect()).expect("it listens");
    let mut gateway = GatewayClient::new(channel.clone());
    runtime.block_on(gateway.stats(StatsRequest::default())).expect("counts");

    attacked.leaves();
    let refused = runtime.block_on(gateway.stats(StatsRequest::default())).expect_err("a refusal");
    assert!(refused.code() == Code::Unavailable && refused.message().contains("ask again"), "{refused:?}");
    let request = HealthCheckRequest { service: "docket.gateway.v1.Gateway".to_owned() };
    let health = runtime.block_on(HealthClient::new(channel).check(request)).expect("an answer").into_inner();
    assert_eq!(health.status(), ServingStatus::NotServing);
    attacked.ends();
}

/// What waits for an answer keeps the process; who comes then must not wait for it.
#[test]
fn nobody_is_let_in_who_would_not_be_answered() {
    let mut attacked = Attacked::start("");
    let mut begun = attacked.connect(&attacked.gateway.http);
    assert!(send(&mut begun, HEAD.as_bytes()));
    assert_eq!(read(&mut begun, CONTINUE.len()), CONTINUE);
    attacked.leaves();
    let address = host(&attacked.gateway.http).to_owned();
    wait_for("connections to be refused", || TcpStream::connect(&address).is_err().then_some(()));
    assert!(send(&mut begun, b"text"));
    assert!(String::from_utf8_lossy(&read_to_end(&mut begun)).starts_with("HTTP/1.1 202"));
    assert_eq!(attacked.gateway.process.ends().code(), Some(0), "{}", attacked.gateway.process.said());
}
