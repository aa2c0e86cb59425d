//! Processes of a small cluster on this machine: a broker, gateways, workers. Each is ended by its own process id, at the
//! latest when its value is dropped.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::Place;

#[path = "../../../queue/tests/support/ports.rs"]
mod ports;
pub(crate) use ports::free_port;

/// How long anything may take that is waited for: machines that run tests are slow at times.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `found` gives something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}

/// A process of `docket` whose words on standard error are kept.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    /// Who hears it to its end, where somebody does.
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts `docket` in a test's folder.
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::run(place.command(arguments))
    }

    /// Runs a command that was prepared.
    pub(crate) fn run(command: Command) -> Self {
        let (mut process, stderr) = Self::spawn(command);
        let said = Arc::clone(&process.said);
        process.listener = Some(thread::spawn(move || hear(stderr, &said, |_| false)));
        process
    }

    /// The same, heard until the line that begins so: from then on nobody reads its standard error.
    pub(crate) fn run_unheard_after(begin: &str, command: Command) -> Self {
        let (process, stderr) = Self::spawn(command);
        hear(stderr, &process.said, |line| line.starts_with(begin));
        process
    }

    fn spawn(mut command: Command) -> (Self, ChildStderr) {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("docket starts");
        let stderr = child.stderr.take().expect("piped");
        (Self { child, said: Arc::default(), listener: None }, stderr)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no panic while it is held").clone()
    }

    /// The rest of the line that begins so.
    #[track_caller]
    pub(crate) fn says(&mut self, begin: &str) -> String {
        wait_for(begin, || {
            let said = self.said();
            let found = said.lines().find_map(|line| line.strip_prefix(begin)).map(str::to_owned);
            if found.is_none() {
                let ended = self.child.try_wait().expect("it can be asked");
                assert!(ended.is_none(), "it ended ({ended:?}) before it said \"{begin}\":\n{said}");
            }
            found
        })
    }

    /// A size in bytes of those that the kernel keeps of the process: `VmRSS` (memory now), `VmHWM` (most so far).
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a size");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("kilobytes");
        kilobytes << 10
    }

    /// Has the kernel forget how much memory the process once had.
    pub(crate) fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("the process is ours");
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// SIGTERM, as a supervisor stops a process.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// SIGKILL: it can do nothing any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Its end; all that it said was heard then.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let status = wait_for("the process's end", || self.child.try_wait().expect("it can be asked"));
        if let Some(listener) = self.listener.take() {
            // What it starts speaks elsewhere. Something that did not would keep this open; it is not waited for without end.
            wait_for("its last words", || listener.is_finished().then_some(()));
            listener.join().expect("who hears does not panic");
        }
        status
    }
}

/// Keeps what is said up to the last line that is wanted, or to the end.
fn hear(stderr: ChildStderr, said: &Mutex<String>, is_last: impl Fn(&str) -> bool) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut said = said.lock().expect("no panic while it is held");
        said.push_str(&line);
        said.push('\n');
        if is_last(&line) {
            return;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- process {} said:\n{}", self.child.id(), self.said());
        }
    }
}

/// A gateway and where it listens.
pub(crate) struct GatewayProcess {
    pub(crate) process: Process,
    pub(crate) http: String,
    pub(crate) grpc: String,
}

impl GatewayProcess {
    /// Starts a gateway on free ports; `config` is what its file holds beside addresses.
    pub(crate) fn start(place: &Place, config: &str) -> Self {
        Self::start_with(place, config, "info,async_nats=warn", &[])
    }

    /// The same, with what it logs and variables of its own.
    pub(crate) fn start_with(place: &Place, config: &str, log: &str, variables: &[(&str, &str)]) -> Self {
        let file = format!("http: 127.0.0.1:0\ngrpc: 127.0.0.1:0\nhealth: 127.0.0.1:0\n{config}");
        place.write("gateway.yaml", file);
        let mut command = place.command(&["gateway", "--config", "gateway.yaml", "--log", log]);
        command.envs(variables.iter().copied());
        let mut process = Process::run(command);
        process.says("gateway ");
        let http = format!("http://{}", process.says("http listens on "));
        let grpc = format!("http://{}", process.says("grpc listens on "));
        Self { process, http, grpc }
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&mut self) -> String {
        metrics(&mut self.process)
    }
}

/// A worker of a pool; `config` is what its file holds beside its name.
pub(crate) fn worker(place: &Place, name: &str, config: &str) -> Process {
    let file = format!("name: {name}\nhealth: 127.0.0.1:0\nstate: state-{name}\n{config}");
    let path = format!("{name}.yaml");
    place.write(&path, file);
    Process::start(place, &["worker", "--config", &path, "--log", "info,async_nats=warn"])
}

pub(crate) fn metrics(process: &mut Process) -> String {
    let address = process.says("health listens on ");
    client().get(format!("http://{address}/metrics")).send().expect("it answers").text().expect("text")
}

/// `host:port` of a URL.
pub(crate) fn host(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, host)| host)
}

/// The sum of all values of a metric.
pub(crate) fn sum(metrics: &str, name: &str) -> f64 {
    let of_name = metrics.lines().filter(|line| line.starts_with(name));
    of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// An HTTP client for tests.
pub(crate) fn client() -> reqwest::blocking::Client {
    // Another test of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::blocking::Client::builder().timeout(PATIENCE).build().expect("a client")
}

/// A NATS server with a folder of its own.
pub(crate) struct Nats {
    pub(crate) url: String,
    program: PathBuf,
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Nats {
    /// Starts one on a free port, or notes that the test skips.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts one whose file holds more.
    pub(crate) fn start_with(more: &str) -> Option<Self> {
        let program = nats_program()?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Another process can take the port before the server does.
        for _ in 0..10 {
            let port = free_port();
            let (state, name) = (folder.path().join("state").display().to_string(), nats_name(folder.path()));
            let text = format!(
                "server_name: {name:?}\nlisten: \"127.0.0.1:{port}\"\n\
                 jetstream {{ store_dir: {state:?}, sync_interval: always }}\n{more}\n"
            );
            std::fs::write(folder.path().join("nats.conf"), text).expect("written");
            if let Some(child) = run_nats(&program, folder.path(), port) {
                return Some(Self { url: format!("nats://127.0.0.1:{port}"), program, child, port, folder });
            }
        }
        panic!("a NATS server does not start");
    }

    /// Where it keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Kills it, unless that was done, and starts it again on what it left.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = run_nats(&self.program, self.folder.path(), self.port).expect("the port is free again");
    }
}

/// What a server is called, by its folder: so it is known from another test's that has taken its port.
fn nats_name(folder: &Path) -> String {
    folder.file_name().expect("a folder has a name").to_string_lossy().trim_start_matches('.').to_owned()
}

/// Runs one until it answers; `None` where it ends before.
fn run_nats(program: &Path, folder: &Path, port: u16) -> Option<Child> {
    let settings = folder.join("nats.conf");
    let mut child = Command::new(program).arg("-c").arg(&settings).stderr(Stdio::null()).spawn().expect("it starts");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let answers = || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut greeting = String::new();
        BufReader::new(stream).read_line(&mut greeting).ok()?;
        (greeting.starts_with("INFO ") && greeting.contains(&nats_name(folder))).then_some(true)
    };
    let lives =
        wait_for("the NATS server", || answers().or_else(|| child.try_wait().expect("its state").map(|_ended| false)));
    lives.then_some(child)
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nats_program() -> Option<PathBuf> {
    let named = std::env::var_os("DOCKET_NATS_SERVER").filter(|path| !path.is_empty()).map(PathBuf::from);
    let program = named.or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
        let servers = std::fs::read_dir(cache.join("docket/servers")).ok()?;
        let mut found: Vec<PathBuf> = servers.filter_map(|entry| Some(entry.ok()?.path())).collect();
        found.sort();
        found.into_iter().rfind(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nats-server-")) && path.is_file()
        })
    });
    if program.is_none() {
        eprintln!("skipped: there is no nats-server (make test fetches it, or set DOCKET_NATS_SERVER)");
    }
    program
}
