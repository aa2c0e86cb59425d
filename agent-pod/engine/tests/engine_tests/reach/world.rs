//! Servers, names, and rules about them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use engine::reach::{Kind, Names, Reach, Settings};

/// Where the rules let nobody.
pub(super) const FORBIDDEN: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// An address that the rules except.
pub(super) const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A web server that ends with the test's process, and how often somebody connected.
pub(super) struct Server {
    pub(super) port: u16,
    connected: Arc<AtomicUsize>,
}

impl Server {
    /// It answers everything with these bytes, head included.
    pub(super) fn start(address: Ipv4Addr, port: u16, answer: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((address, port))?;
        let port = listener.local_addr()?.port();
        let connected = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&connected), answer.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                let _ = head.take_while(|line| !line.is_empty()).count();
                // A client that has hung up is that client's business.
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Ok(Self { port, connected })
    }

    pub(super) fn connected(&self) -> usize {
        self.connected.load(Ordering::SeqCst)
    }
}

/// An answer with a body.
pub(super) fn says(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// An answer that sends elsewhere.
pub(super) fn redirects(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A server that must not be called and one that may be, at the same port: a name can lead to either.
pub(super) fn both(forbidden: &str, allowed: &str) -> (Server, Server) {
    for _ in 0..100 {
        let first = Server::start(FORBIDDEN, 0, forbidden).expect("a free port");
        // Another process may have the port there.
        if let Ok(second) = Server::start(ALLOWED, first.port, allowed) {
            return (first, second);
        }
    }
    panic!("no port is free at both addresses");
}

/// Names that have one answer after the other, the last of them for ever.
#[derive(Default)]
pub(super) struct Scripted {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
}

impl Scripted {
    pub(super) fn of(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| answer.iter().map(|address| address.parse().expect("an address")).collect();
        let answers = names.iter().map(|(name, answers)| {
            // The next one is taken from the end.
            ((*name).to_owned(), answers.iter().rev().map(parsed).collect())
        });
        Arc::new(Self { answers: Mutex::new(answers.collect()) })
    }
}

impl Names for Scripted {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.answers.lock().expect("no panic");
        let left = answers.get_mut(host).ok_or_else(|| io::Error::other(format!("nobody knows {host}")))?;
        let next = if left.len() > 1 { left.pop() } else { left.last().cloned() };
        Ok(next.unwrap_or_default())
    }
}

/// The rules of an agent in a cluster.
pub(super) fn guarded(names: Arc<Scripted>) -> Reach {
    let own = vec![
        (Kind::ApiServer, "kubernetes.default.svc".to_owned()),
        (Kind::ApiServer, "10.96.0.1".to_owned()),
        (Kind::Broker, "broker.docket.svc".to_owned()),
        (Kind::Own, "10.1.2.3".to_owned()),
    ];
    Reach::guarded(Settings { own, except: vec![ALLOWED.into()], names })
}

/// The same for whoever may call the forbidden server too: what shows that it would count.
pub(super) fn lax(names: Arc<Scripted>) -> Reach {
    Reach::guarded(Settings { own: Vec::new(), except: vec![ALLOWED.into(), FORBIDDEN.into()], names })
}
