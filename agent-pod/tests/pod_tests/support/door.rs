//! A door at which nobody may knock, and how often somebody did.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// It listens until the test's process ends.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    knocks: Arc<AtomicUsize>,
}

impl Door {
    /// One that says nothing and closes.
    pub(crate) fn closed(address: Ipv4Addr) -> Self {
        Self::answering(address, "")
    }

    /// One that answers a request of HTTP with these bytes, head included.
    pub(crate) fn answering(address: Ipv4Addr, answer: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let knocks = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&knocks), answer.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                if answer.is_empty() {
                    continue;
                }
                let head = BufReader::new(&stream).lines().map_while(Result::ok);
                let _ = head.take_while(|line| !line.is_empty()).count();
                // The client may have gone.
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        Self { address, knocks }
    }

    pub(crate) fn knocks(&self) -> usize {
        self.knocks.load(Ordering::SeqCst)
    }
}
