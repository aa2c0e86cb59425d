//! The edge of a gateway and of a worker: large documents, hostile clients and messages, TLS; and work
//! that hangs.

mod adaptive;
mod frames;
mod hostile;
mod leaving;
mod messages;
mod slow;
mod submits;
mod tls;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::support::{
    PLAIN, Place, changed,
    processes::{GatewayProcess, PATIENCE, client, host},
};

/// How much more memory a process may ever have than before an attack or a large document.
const ALLOWED: u64 = 64 << 20;
const MIB: usize = 1 << 20;

/// The pipeline, with nothing worked of it, for documents of 100 MiB.
fn suspended() -> String {
    let suspended = ("spec:\n  stages:", "spec:\n  suspend: true\n  stages:");
    changed(PLAIN, &[suspended, ("parse: {}", "parse: {maxBytes: 104857600}")])
}

/// A gateway that keeps what it takes in its own folder and works nothing.
fn gateway(place: &Place, config: &str) -> GatewayProcess {
    place.write("pipeline.yaml", suspended());
    GatewayProcess::start(place, &format!("resources: [pipeline.yaml]\nstate: state\n{config}"))
}

fn documents(gateway: &GatewayProcess) -> String {
    format!("{}/v1/pipelines/plain/documents", gateway.http)
}

/// A gateway under attack, and how it was before.
struct Attacked {
    gateway: GatewayProcess,
    _place: Place,
    before: u64,
}

impl Attacked {
    fn start(config: &str) -> Self {
        let place = Place::new();
        let gateway = gateway(&place, config);
        let attacked = Self { gateway, _place: place, before: 0 };
        // Whatever is made on first use is there now.
        attacked.others_are_served("warm");
        attacked.gateway.process.forget_peak();
        Self { before: attacked.gateway.process.memory("VmRSS"), ..attacked }
    }

    /// A connection to the HTTP or the gRPC interface.
    fn connect(&self, interface: &str) -> TcpStream {
        let stream = TcpStream::connect(host(interface)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// Another client's document is taken.
    #[track_caller]
    fn others_are_served(&self, id: &str) {
        let address = format!("{}?id={id}", documents(&self.gateway));
        let answer = client().post(address).body("text").send().expect("it answers");
        assert_eq!(answer.status(), 202, "{}", answer.text().unwrap_or_default());
    }

    /// It lives, serves others and has stayed small.
    #[track_caller]
    fn survives(mut self) {
        assert!(self.gateway.process.is_alive(), "the gateway has ended:\n{}", self.gateway.process.said());
        self.others_are_served("after");
        let grown = self.gateway.process.memory("VmHWM").saturating_sub(self.before);
        assert!(grown < ALLOWED, "the gateway's memory has grown by {} MiB", grown >> 20);
        let said = self.gateway.process.said();
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Sends all of it, or until the other side has had enough; whether all was sent.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}

/// Everything until the other side closes.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(length) => all.extend_from_slice(&part[..length]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the connection was not closed")
            }
            // Reset instead of ended: closed, too.
            Err(_) => return all,
        }
    }
}

const MOMENT: Duration = Duration::from_millis(200);
