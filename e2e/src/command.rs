//! Runs the programs that a person would: kubectl, helm.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{io::AsyncWriteExt as _, process::Command, time::timeout};

use crate::away::repeated;

/// Longest time that a command may take: `helm --wait` waits up to five minutes itself.
const PATIENCE: Duration = Duration::from_secs(420);

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it ended well.
    pub succeeded: bool,
    /// Standard output.
    pub text: String,
    /// Standard error.
    pub errors: String,
}

impl Output {
    /// Standard output of a command that had to end well.
    pub fn or_fail(self, what: &str) -> Result<String> {
        ensure!(self.succeeded, "{what} failed:\n{}{}", self.text, self.errors);
        Ok(self.text)
    }
}

/// Runs a command in the root of the repository with this input, whatever it ends with. Where it could not ask the API server it is
/// run again.
pub async fn run(command: &[&str], input: &str) -> Result<Output> {
    repeated(command, async || once(command, input).await).await
}

async fn once(command: &[&str], input: &str) -> Result<Output> {
    let [program, arguments @ ..] = command else { bail!("no command") };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(repository())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {program}; run stories by e2e/cluster/run.sh"))?;
    let mut stdin = child.stdin.take().context("a child's input is piped")?;
    let fed = async move {
        // A command that ends before it has read all says itself why.
        let _ = stdin.write_all(input.as_bytes()).await;
    };
    let ended = timeout(PATIENCE, async { tokio::join!(fed, child.wait_with_output()).1 }).await;
    let output = ended.with_context(|| format!("{} took too long", command.join(" ")))?.context("wait for a child")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { succeeded: output.status.success(), text: text(output.stdout), errors: text(output.stderr) })
}

/// The root of the repository: beside the package where cargo runs a test of it, else where the program was started. Asked
/// while running, because a build folder may serve several checkouts.
pub(crate) fn repository() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from("."), |package| PathBuf::from(package).join(".."))
}
