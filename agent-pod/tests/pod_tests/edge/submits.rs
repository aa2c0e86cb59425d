//! A document of 100 MiB goes through a gateway that never holds it.

use std::io::{self, Read};

use bytes::Bytes;
use reqwest::blocking::Body;
use serde_json::Value;

use super::{ALLOWED, MIB, documents, gateway, messages::Raw, suspended};
use crate::{
    proto::{Head, SubmitRequest, gateway_client::GatewayClient, submit_request::Part},
    support::{
        Place,
        processes::{GatewayProcess, Nats, client, host, wait_for},
    },
};

/// MiB of a large document.
const LARGE: u32 = 100;

/// One MiB of a document, the same in every run, that does not compress.
fn part(number: u32) -> Bytes {
    let mut part = vec![0; MIB];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut part);
    part.into()
}

fn digest() -> String {
    let mut hasher = blake3::Hasher::new();
    for number in 0..LARGE {
        hasher.update(&part(number));
    }
    hasher.finalize().to_hex().to_string()
}

/// The document as something that is read and made while it is read.
struct Reader {
    next: u32,
    part: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && self.next < LARGE {
            self.part = part(self.next);
            self.next += 1;
        }
        let taken = self.part.split_to(self.part.len().min(buffer.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

fn submit_by_http(gateway: &GatewayProcess, id: &str) -> Value {
    let body = Body::new(Reader { next: 0, part: Bytes::new() });
    let answer = client().post(format!("{}?id={id}", documents(gateway))).body(body).send().expect("it answers");
    assert!(answer.status().is_success(), "{}", answer.text().unwrap_or_default());
    answer.json().expect("JSON")
}

fn submit_by_grpc(gateway: &GatewayProcess, id: &str) -> bool {
    let head = Head { pipeline: "plain".to_owned(), id: Some(id.to_owned()), ..Head::default() };
    let parts = std::iter::once(Part::Head(head)).chain((0..LARGE).map(|number| Part::Chunk(part(number))));
    let parts = futures::stream::iter(parts.map(|part| SubmitRequest { part: Some(part) }));
    let address = gateway.grpc.clone();
    let submit = async move {
        let mut client = GatewayClient::connect(address).await.expect("it listens");
        client.submit(parts).await.expect("accepted").into_inner()
    };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(submit).repeated
}

/// Submits by both interfaces and says by how much the gateway's memory has grown.
fn grown(gateway: &GatewayProcess) -> u64 {
    let warm = client().post(format!("{}?id=warm", documents(gateway))).body("text").send().expect("it answers");
    assert_eq!(warm.status(), 202);
    gateway.process.forget_peak();
    let before = gateway.process.memory("VmRSS");
    assert_eq!(submit_by_http(gateway, "large")["repeated"], false);
    // The same id with any other bytes would be refused.
    assert!(submit_by_grpc(gateway, "large"));
    assert!(!submit_by_grpc(gateway, "large-too"));
    gateway.process.memory("VmHWM").saturating_sub(before)
}

#[test]
fn a_hundred_mebibytes_are_taken_into_the_gateways_own_folder_with_flat_memory() {
    let place = Place::new();
    let gateway = gateway(&place, "limits: {requestTime: 10m}\n");
    let grown = grown(&gateway);
    let digest = digest();
    let stored = place.path("state/payloads").join(&digest[..2]).join(&digest[2..]);
    assert!(stored.metadata().expect("it is stored under its digest").len() > u64::from(LARGE) << 20);
    assert!(grown < ALLOWED, "the gateway's memory has grown by {} MiB", grown >> 20);
    assert_eq!(place.path("state/payloads/incoming").read_dir().expect("a folder").count(), 0);
}

#[test]
fn a_hundred_mebibytes_are_taken_into_the_broker_with_flat_memory() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", suspended());
    let config =
        format!("resources: [pipeline.yaml]\nnats: {{servers: ['{}']}}\nlimits: {{requestTime: 10m}}\n", nats.url);
    let gateway = GatewayProcess::start(&place, &config);
    let grown = grown(&gateway);
    let mut broker = Raw::connect(host(&nats.url));
    let head = broker.last("docket-payloads", &format!("docket.payloads.{}", digest()));
    assert!(head.contains("\"message\""), "it is stored under its digest: {head}");
    assert!(grown < ALLOWED, "the gateway's memory has grown by {} MiB", grown >> 20);
}

#[test]
fn a_document_that_breaks_off_or_is_too_large_leaves_nothing() {
    let place = Place::new();
    let gateway = gateway(&place, "limits: {documentBytes: 3000000}\n");
    let stored = || {
        let entries = place.path("state/payloads").read_dir().expect("a folder");
        let files = entries.flat_map(|entry| entry.expect("an entry").path().read_dir().expect("a folder"));
        files.count()
    };
    let too_large = client().post(documents(&gateway)).body(Body::new(Reader { next: 0, part: Bytes::new() })).send();
    // It is refused before all was sent; whether its answer is read then is up to the client.
    assert!(too_large.is_err() || too_large.is_ok_and(|answer| answer.status() == 413));
    struct Breaks(Reader);
    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.next > 2 { Err(io::Error::other("gone")) } else { self.0.read(buffer) }
        }
    }
    let body = Body::new(Breaks(Reader { next: 0, part: Bytes::new() }));
    client().post(documents(&gateway)).body(body).send().expect_err("it broke off");
    wait_for("both to be removed", || (stored() == 0).then_some(()));
}

#[test]
fn documents_that_find_no_room_are_asked_to_come_again() {
    let place = Place::new();
    let gateway = gateway(&place, "limits: {bufferedBytes: 1000000}\n");
    // It takes all the room and never ends.
    let (sender, receiver) = std::sync::mpsc::channel::<Bytes>();
    struct Slow(std::sync::mpsc::Receiver<Bytes>, Bytes);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1.is_empty() {
                self.1 = self.0.recv().unwrap_or_default();
            }
            let taken = self.1.split_to(self.1.len().min(buffer.len()));
            buffer[..taken.len()].copy_from_slice(&taken);
            Ok(taken.len())
        }
    }
    let address = format!("{}?id=slow", documents(&gateway));
    let slow = std::thread::spawn(move || {
        client().post(address).body(Body::new(Slow(receiver, Bytes::new()))).send().expect("it answers").status()
    });
    sender.send(part(0)).expect("it is read");
    wait_for("the room to be taken", || {
        let answer = client().post(documents(&gateway)).body("text").send().expect("it answers");
        let is_full = answer.status() == 429;
        assert!(!is_full || answer.headers().contains_key("retry-after"));
        is_full.then_some(())
    });
    drop(sender);
    assert_eq!(slow.join().expect("it ended"), 202, "a document larger than all the room is still taken");
    let answer = client().post(documents(&gateway)).body("text").send().expect("it answers");
    assert_eq!(answer.status(), 202);
}
