//! A process under test: started, stopped, broken. It ends with the value that holds it.

use std::{
    fs::File,
    hash::{BuildHasher as _, RandomState},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// Between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(10);

/// A running process.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes what it says to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let said = File::options().create(true).append(true).open(log).context("make a log")?;
        let errors = said.try_clone().context("make a log")?;
        command.stdin(Stdio::null()).stdout(said).stderr(errors);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill a process")?;
        self.child.wait().context("wait for a process").map(drop)
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "failed to send {signal}");
        Ok(())
    }

    /// Waits for its end; how long that took, none where it took longer than `limit`.
    pub async fn ended_within(&mut self, limit: Duration) -> Result<Option<Duration>> {
        let begun = Instant::now();
        while self.child.try_wait().context("look at a process")?.is_none() {
            if begun.elapsed() > limit {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(Some(begun.elapsed()))
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("look at a process")?.is_none())
    }

    /// Memory in use and the most that ever was, in MiB.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        (kib("VmRSS:").unwrap_or_default() >> 10, kib("VmHWM:").unwrap_or_default() >> 10)
    }

    /// Time of processors that it has used.
    pub fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
        // User and system time, in hundredths of a second on every Linux.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// All that it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.kill();
    }
}

/// A port that is free now, below those that systems give to connections.
pub fn free_port() -> Result<u16> {
    let random = |_| 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
    let free = (0..1_000).map(random).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.context("find a free port")
}
