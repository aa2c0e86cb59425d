//! One process of the system under test: started, broken, started again. It ends with the value that holds it.

use std::{
    fs::OpenOptions,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Lines of a log that a message quotes.
const QUOTED: usize = 12;

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
    /// Most KiB of address space; none is no limit.
    pub memory: Option<u64>,
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

    /// Gives a variable another value, for the next start.
    pub fn set(&mut self, name: &str, value: String) {
        self.program.environment.retain(|(other, _)| other != name);
        self.program.environment.push((name.to_owned(), value));
    }

    /// Sends a signal by its name, for example `STOP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("failed to send {signal} to {}", self.program.name);
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("look at {}", self.program.name))
    }

    /// Waits for its end; whether it came in time.
    pub fn ended_within(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while self.ended()?.is_none() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Fails where the process has ended by itself.
    pub fn assert_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself ({status}):\n{}", self.program.name, self.last_words()),
        }
    }

    /// Everything that it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.program.log).unwrap_or_default()
    }

    /// The end of what it said.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(QUOTED)..].join("\n")
    }

    /// Memory in use, in bytes; 0 where it has ended.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.unwrap_or(0_u64) << 10
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
    let mut command = match program.memory {
        None => Command::new(&program.path),
        Some(kib) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -v {kib}; exec \"$0\" \"$@\"")]).arg(&program.path);
            shell
        }
    };
    command
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {} ({})", program.name, program.path.display()))
}
