//! What strangers publish to the broker: it is dropped, said so, and holds nobody up.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::Value;

use super::ALLOWED;
use crate::support::{
    PLAIN, Place,
    processes::{GatewayProcess, Nats, PATIENCE, client, host, metrics, sum, wait_for, worker},
};

/// A client of NATS by hand: it may say what no library would.
pub(crate) struct Raw {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut raw = Self { reader, stream };
        raw.line();
        raw.say(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n");
        raw.flush();
        raw
    }

    /// Publishes, with headers where there are any.
    fn publish(&mut self, subject: &str, headers: &str, body: &[u8]) {
        let mut message = if headers.is_empty() {
            format!("PUB {subject} {}\r\n", body.len()).into_bytes()
        } else {
            let headers = format!("NATS/1.0\r\n{headers}\r\n\r\n");
            let sizes = format!("{} {}", headers.len(), headers.len() + body.len());
            format!("HPUB {subject} {sizes}\r\n{headers}").into_bytes()
        };
        message.extend_from_slice(body);
        message.extend_from_slice(b"\r\n");
        self.say(&message);
    }

    /// What the broker says of the last message of a subject.
    pub(crate) fn last(&mut self, stream: &str, subject: &str) -> String {
        self.say(b"SUB answers.one 1\r\n");
        let body = format!("{{\"last_by_subj\":\"{subject}\"}}");
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        self.say(format!("PUB {subject} answers.one {}\r\n{body}\r\n", body.len()).as_bytes());
        loop {
            let line = self.line();
            if line.starts_with("MSG answers.one ") {
                let length = line.rsplit(' ').next().and_then(|length| length.parse().ok()).expect("a length");
                let mut answer = vec![0; length];
                self.reader.read_exact(&mut answer).expect("the answer");
                return String::from_utf8(answer).expect("JSON");
            }
        }
    }

    /// Returns when the broker has seen everything so far.
    fn flush(&mut self) {
        self.say(b"PING\r\n");
        while self.line() != "PONG" {}
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("the broker speaks");
        assert!(!line.is_empty(), "the broker has closed the connection");
        line.trim_end().to_owned()
    }
}

const READERS: &str = "docket.tasks.readers.normal";
/// A task of a version that nobody has written yet: field 1 is 99.
const NEWER: &[u8] = &[0x08, 99];
/// The largest message that the broker takes is 1 MiB, headers included.
const LARGEST: usize = (1 << 20) - 100;

#[test]
fn foreign_messages_are_dropped_and_documents_go_on() {
    let Some(nats) = Nats::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let common = format!("resources: [pipeline.yaml]\nnats: {{servers: ['{}']}}\n", nats.url);
    let mut gateway = GatewayProcess::start(&place, &common);
    let mut worker = worker(&place, "w1", &format!("pool: readers\n{common}"));
    worker.says("worker w1 takes tasks");
    let documents = format!("{}/v1/pipelines/plain/documents", gateway.http);
    let ends = |id: &str| {
        let taken = client().post(format!("{documents}?id={id}")).body(format!("text of {id}")).send();
        assert_eq!(taken.expect("it answers").status(), 202);
        let ended = client().get(format!("{documents}/{id}?wait=60")).send().expect("it answers");
        let ended: Value = ended.json().expect("JSON");
        assert_eq!(ended["outcome"], "succeeded", "{ended}");
    };
    ends("before");
    let counted = metrics(&mut worker);
    assert!(counted.contains("docket_unreadable_tasks_total{pool=\"readers\"} 0\n"), "{counted}");
    worker.forget_peak();
    let before = worker.memory("VmRSS");

    let mut stranger = Raw::connect(host(&nats.url));
    let noise: Vec<u8> = (0..LARGEST).map(|place| (place % 251) as u8).collect();
    for number in 0..50 {
        let subject = |kind: &str| format!("{READERS}.{kind}{number}");
        stranger.publish(&subject("bare"), "", b"garbage");
        stranger.publish(&subject("nameless"), "Other: header", b"garbage");
        stranger.publish(&subject("misnamed"), "Docket-Id: =ZZ", b"garbage");
        stranger.publish(&subject("garbage"), &format!("Docket-Id: garbage{number}"), b"\xff\xff\xff\xff");
        stranger.publish(&subject("empty"), &format!("Docket-Id: empty{number}"), b"");
        stranger.publish(&subject("newer"), &format!("Docket-Id: newer{number}"), NEWER);
    }
    for number in 0..8 {
        let subject = |kind: &str| format!("{READERS}.{kind}{number}");
        stranger.publish(&subject("large"), &format!("Docket-Id: large{number}"), &noise);
        stranger.publish(&subject("bare-large"), "", &noise);
    }
    // Records, events and timers are no better a place.
    stranger.publish("docket.events.plain.x", "", b"\xff\x00");
    stranger.flush();

    for number in 0..20 {
        ends(&format!("d{number}"));
    }
    let dropped = wait_for("the foreign tasks to be dropped", || {
        let dropped = sum(&metrics(&mut worker), "docket_unreadable_tasks_total");
        (dropped >= 158.0).then_some(dropped)
    });
    assert_eq!(dropped, 158.0, "each once: 50 garbage, 50 empty, 50 newer and 8 large");
    let complaint = "removed a message that Docket has not written";
    wait_for("the complaint to be heard", || worker.said().contains(complaint).then_some(()));
    // The depth is measured every few seconds.
    wait_for("the queue to be empty", || {
        let metrics = gateway.metrics();
        (metrics.contains("docket_queue_waiting") && sum(&metrics, "docket_queue_waiting") == 0.0).then_some(())
    });
    assert!(worker.is_alive() && gateway.process.is_alive());
    let grown = worker.memory("VmHWM").saturating_sub(before);
    assert!(grown < ALLOWED, "the worker's memory has grown by {} MiB", grown >> 20);
}
