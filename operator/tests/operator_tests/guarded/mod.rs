//! A nats-server that knows agents, who may do everything, and an operator, who may do what the server was last told.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::nats::{self, Server, Version};

pub const AGENTS: &str = "agents";
pub const OPERATOR: &str = "operator";
pub const PASSWORD: &str = "only-for-this-test";

/// How long the server may take to write its process id.
const READY: Duration = Duration::from_secs(30);

pub struct Guarded {
    pub server: Server,
    folder: TempDir,
}

impl Guarded {
    /// Starts it, with an operator who may do everything; none where there is no program.
    pub fn start() -> Option<Self> {
        let program = nats::program(Version::Newest)?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("users.conf"), users(&[])).expect("write the users");
        let more = format!("pid_file: {:?}\ninclude \"users.conf\"", pid_file(&folder));
        let server = Server::start_with(&program, folder.path(), (nats::free_port(), false), &more);
        Some(Self { server, folder })
    }

    /// Forbids the operator to publish to these subjects, and to no others, from now on.
    pub fn deny(&self, subjects: &[&str]) {
        fs::write(self.folder.path().join("users.conf"), users(subjects)).expect("write the users");
        let began = Instant::now();
        let process = loop {
            let written = fs::read_to_string(pid_file(&self.folder)).unwrap_or_default();
            if let Ok(process) = written.trim().parse::<u32>() {
                break process;
            }
            assert!(began.elapsed() < READY, "the server does not say which process it is");
            std::thread::sleep(Duration::from_millis(20));
        };
        let told = Command::new("kill").args(["-HUP", &process.to_string()]).status().expect("kill runs");
        assert!(told.success(), "the server was not told to read its users");
    }
}

fn pid_file(folder: &TempDir) -> String {
    folder.path().join("pid").display().to_string()
}

fn users(denied: &[&str]) -> String {
    format!(
        "authorization {{ users = [
            {{user: {AGENTS}, password: {PASSWORD}}}
            {{user: {OPERATOR}, password: {PASSWORD}, permissions: {{publish: {{allow: [\">\"], deny: {denied:?}}}}}}}
        ] }}\n"
    )
}
