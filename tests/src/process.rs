//! One process of the system under test: started, broken, started again. It ends with the value that holds it.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How it is started.
pub struct Program {
    /// For the report and the log's name.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside the inherited one.
    pub environment: Vec<(String, String)>,
    /// Where it writes what it says.
    pub log: PathBuf,
}

/// A running process.
pub struct Process {
    program: Program,
    child: Child,
}

impl Process {
    /// Starts the program.
    pub fn start(program: Program) -> Result<Self> {
        let child = spawn(&program)?;
        Ok(Self { program, child })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// `kill -9`; returns when it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.program.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.program.name))?;
        Ok(())
    }

    /// Starts it again after it has ended.
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.program)?;
        Ok(())
    }

    /// Sends a signal by its name, for example `STOP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("failed to send {signal} to {}", self.program.name);
        }
        Ok(())
    }

    /// Waits for its end; whether it came in time.
    pub fn ended_within(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Fails where the process has ended by itself.
    pub fn assert_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = std::fs::read_to_string(&self.program.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(12).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            bail!("{} ended by itself ({status}):\n{}", self.program.name, tail.join("\n"));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Program) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&program.log);
    let log = log.with_context(|| format!("open {}", program.log.display()))?;
    Command::new(&program.path)
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {} ({})", program.name, program.path.display()))
}
