//! Trouble between a client and a server.

use std::time::Duration;

use docket_faults::proxy::{LOOK, Mode, Proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn trouble_reaches_connections_that_are_open() {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let target = echo.local_addr().expect("its address").to_string();
    tokio::spawn(async move {
        let (mut peer, _) = echo.accept().await.expect("a connection");
        let (mut from, mut to) = peer.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    let proxy = Proxy::start(&target).await.expect("a proxy");
    let mut client = TcpStream::connect(proxy.address).await.expect("connected");
    let mut byte = [0];
    client.write_all(b"a").await.expect("sent");
    client.read_exact(&mut byte).await.expect("echoed");
    proxy.set(Mode::Swallow);
    tokio::time::sleep(LOOK * 3).await;
    client.write_all(b"bc").await.expect("sent");
    let answer = tokio::time::timeout(LOOK * 10, client.read_exact(&mut byte)).await;
    // What the pump had begun to read before may still pass.
    if answer.is_ok() {
        let answer = tokio::time::timeout(LOOK * 10, client.read_exact(&mut byte)).await;
        assert!(answer.is_err(), "nothing passes");
    }
    proxy.set(Mode::Reset);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), client.read_to_end(&mut rest)).await;
    assert!(ended.expect("it ends").is_err(), "a reset, not an end");
}
