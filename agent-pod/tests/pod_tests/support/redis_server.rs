//! A redis-server of a test's own, on a free port of this machine, that keeps nothing and ends with the test.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::processes::free_port;

/// Longest time for a server to begin.
const BEGIN: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts one, or says that the test skips.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: there is no redis-server on PATH; get it with make servers");
            return None;
        }
        // Another process can take the port before the server does.
        (0..10).find_map(|_| Self::start_at(free_port()))
    }

    /// Starts one at a port; `None` where it ends at once.
    pub(crate) fn start_at(port: u16) -> Option<Self> {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        let mut server = Self { child, port };
        let begun = Instant::now();
        while begun.elapsed() < BEGIN {
            if server.child.try_wait().expect("its state").is_some() {
                return None;
            }
            if server.answers() {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server at port {port} does not answer");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Whether it answers.
    pub(crate) fn answers(&self) -> bool {
        self.command("PING").is_ok_and(|answer| answer.starts_with("+PONG"))
    }

    /// Sends a line and returns what comes first of the answer.
    pub(crate) fn command(&self, line: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("{line}\r\n").as_bytes())?;
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// It keeps its connections and answers nothing any more.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// It answers again, and what it was asked meanwhile.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill starts").success());
    }

    /// It is gone at once.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("it has ended");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
