//! Clients that take their time: they are cut off, and what they held is free for others.

use std::{
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use tonic::Code;

use super::{Attacked, MOMENT, frames::PREFACE, read_to_end, send};
use crate::{
    proto::{Head, SubmitRequest, gateway_client::GatewayClient, submit_request::Part},
    support::processes::PATIENCE,
};

/// Sends a byte every moment until the other side has closed.
fn drip(mut stream: TcpStream, bytes: &'static [u8]) {
    thread::spawn(move || {
        let begun = Instant::now();
        let more = std::iter::repeat(&b'x');
        for byte in bytes.iter().chain(more) {
            if !send(&mut stream, &[*byte]) || begun.elapsed() > PATIENCE {
                return;
            }
            thread::sleep(MOMENT);
        }
    });
}

#[test]
fn connections_that_say_nothing_or_not_enough_are_closed() {
    let attacked = Attacked::start("limits: {connections: 4}\n");
    let beginnings: [&[u8]; 5] =
        [b"", b"G", &PREFACE[..20], b"GET / HTTP/1.1\r\nhost:", b"GET / HTTP/1.1\r\nhost: a\r\nx: "];
    let silent: Vec<TcpStream> = beginnings
        .iter()
        .map(|beginning| {
            let mut stream = attacked.connect(&attacked.gateway.http);
            send(&mut stream, beginning);
            stream
        })
        .collect();
    // Every place is taken, until the first of them is cut off.
    attacked.others_are_served("waited");
    for mut stream in silent {
        read_to_end(&mut stream);
    }
    attacked.survives();
}

#[test]
fn headers_that_drip_do_not_hold_a_connection() {
    let attacked = Attacked::start("limits: {connections: 2}\n");
    for _ in 0..2 {
        drip(attacked.connect(&attacked.gateway.http), b"GET /v1/pipelines HTTP/1.1\r\nhost: gateway\r\nx-slow: ");
    }
    attacked.others_are_served("waited");
    attacked.survives();
}

#[test]
fn a_document_that_drips_is_refused_when_its_time_is_over() {
    let attacked = Attacked::start("limits: {requestTime: 2s}\n");
    let mut stream = attacked.connect(&attacked.gateway.http);
    let head = "POST /v1/pipelines/plain/documents?id=slow HTTP/1.1\r\nhost: gateway\r\ncontent-length: 100000\r\n\r\n";
    assert!(send(&mut stream, head.as_bytes()));
    drip(stream.try_clone().expect("a second handle"), b"");
    let answer = String::from_utf8(read_to_end(&mut stream)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("TooSlow"), "{answer}");
    attacked.survives();
}

#[test]
fn what_a_person_says_of_a_document_is_refused_when_it_does_not_come_in_time() {
    let attacked = Attacked::start("limits: {requestTime: 2s}\n");
    for what in ["approval", "feedback"] {
        let mut stream = attacked.connect(&attacked.gateway.http);
        let head = format!(
            "POST /v1/pipelines/plain/documents/warm/{what} HTTP/1.1\r\nhost: gateway\r\ncontent-length: 50000\r\n\r\n"
        );
        assert!(send(&mut stream, head.as_bytes()));
        drip(stream.try_clone().expect("a second handle"), b"");
        let answer = String::from_utf8(read_to_end(&mut stream)).expect("text");
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("TooSlow"), "{answer}");
    }
    attacked.survives();
}

#[tokio::test]
async fn a_message_that_never_comes_is_refused_when_its_time_is_over() {
    let attacked = tokio::task::spawn_blocking(|| Attacked::start("limits: {requestTime: 2s}\n"));
    let attacked = attacked.await.expect("started");
    let mut client = GatewayClient::connect(attacked.gateway.grpc.clone()).await.expect("it listens");
    let head = SubmitRequest { part: Some(Part::Head(Head { pipeline: "plain".to_owned(), ..Head::default() })) };
    for first in [vec![], vec![head]] {
        let endless = futures::StreamExt::chain(futures::stream::iter(first), futures::stream::pending());
        let refused = client.submit(endless).await.expect_err("it never ends");
        assert_eq!(refused.code(), Code::DeadlineExceeded, "{refused:?}");
    }
    tokio::task::spawn_blocking(|| attacked.survives()).await.expect("it survives");
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    let attacked = Attacked::start("limits: {connections: 1}\n");
    let mut stream = attacked.connect(&attacked.gateway.http);
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("set");
    let question = "GET /openapi.json HTTP/1.1\r\nhost: gateway\r\n\r\n".repeat(1_000);
    // Until the answers fill all that lies between the two.
    while send(&mut stream, question.as_bytes()) {}
    attacked.others_are_served("waited");
    attacked.survives();
}
