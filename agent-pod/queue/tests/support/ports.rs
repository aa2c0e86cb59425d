//! Ports for servers that cannot say which one they took.

use std::{
    hash::{BuildHasher, RandomState},
    net::TcpListener,
};

/// A port that nobody listens on, and that stays free while the server is away: systems give connections higher ones.
pub fn free_port() -> u16 {
    let random = |_| 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
    (0..1000).map(random).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
