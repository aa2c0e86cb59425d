//! A real nats-server for tests: on a free port of this machine, with a folder of its own, gone when the test's process is,
//! however that ends.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

#[path = "ports.rs"]
mod ports;
pub use ports::free_port;

/// One of the versions that `scripts/nats-server.sh` fetches, and how it names acknowledgements: by stream and consumer alone,
/// or with a domain and an account before them, which servers can since 2.14 and do unasked from 2.16 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The newest at the time of writing.
    Newest,
    /// The same, with accounts in acknowledgements.
    NewestWithAccounts,
    /// The newest of the release before.
    Before,
    /// The same, with accounts in acknowledgements.
    BeforeWithAccounts,
    /// The oldest that has all that we need, with its first corrections.
    Oldest,
}

impl Version {
    const ALL: [Self; 5] =
        [Self::Newest, Self::NewestWithAccounts, Self::Before, Self::BeforeWithAccounts, Self::Oldest];

    fn text(self) -> &'static str {
        match self {
            Self::Newest | Self::NewestWithAccounts => "2.15.1",
            Self::Before | Self::BeforeWithAccounts => "2.14.6",
            Self::Oldest => "2.12.1",
        }
    }

    /// Whether acknowledgements name the account.
    pub fn names_accounts(self) -> bool {
        matches!(self, Self::NewestWithAccounts | Self::BeforeWithAccounts)
    }

    /// What the server's configuration says for it.
    pub fn settings(self) -> &'static str {
        if self.names_accounts() { "feature_flags { js_ack_fc_v2: true }" } else { "" }
    }
}

/// Tests that take a version, on each; both ways to name acknowledgements are among them.
macro_rules! on_each_version {
    ($($test:ident)+) => {
        on_each_version!(@ newest Newest $($test)+);
        on_each_version!(@ before_with_accounts BeforeWithAccounts $($test)+);
        on_each_version!(@ oldest Oldest $($test)+);
    };
    (@ $name:ident $version:ident $($test:ident)+) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::nats::Version::$version).await;
                }
            )+
        }
    };
}

/// How long a server may take to answer.
const READY: Duration = Duration::from_secs(30);

/// Runs the server; when nobody holds its standard input any more, kills it and removes its folder if told so.
const KEEPER: &str = r#"
remove=$1; shift
"$@" 2> /dev/null &
echo $!
cat > /dev/null
kill -9 $! 2> /dev/null
wait $! 2> /dev/null
[ -z "$remove" ] || rm -rf "$remove"
"#;

/// A running server.
pub struct Server {
    pub url: String,
    pub port: u16,
    process: u32,
    keeper: Child,
    alive: Option<ChildStdin>,
}

/// The program, if there is one. Without it a test says that it skips; `make test` fetches it. One that is named by
/// `DOCKET_NATS_SERVER` stands for the newest, and there is no other.
pub fn program(version: Version) -> Option<PathBuf> {
    let named = env::var_os("DOCKET_NATS_SERVER").filter(|path| !path.is_empty()).map(PathBuf::from);
    let program = match (named, version) {
        (Some(program), Version::Newest) => Some(program),
        (Some(_), _) => None,
        (None, version) => fetched(version),
    };
    let found = program.filter(|program| program.is_file());
    if found.is_none() {
        let version = version.text();
        println!("skipped: no nats-server {version} (scripts/nats-server.sh fetches it, or set DOCKET_NATS_SERVER)");
    }
    found
}

fn fetched(version: Version) -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))?;
    Some(cache.join("docket/servers").join(format!("nats-server-{}", version.text())))
}

/// A server for all tests of this process.
pub fn shared(version: Version) -> Option<&'static Server> {
    static SERVERS: [OnceLock<Option<Server>>; Version::ALL.len()] = [const { OnceLock::new() }; Version::ALL.len()];
    let place = Version::ALL.iter().position(|listed| *listed == version).expect("all are listed");
    let start = || {
        let program = program(version)?;
        let folder = tempfile::tempdir().expect("a temporary folder").keep();
        Some(Server::start_with(&program, &folder, (free_port(), true), version.settings()))
    };
    SERVERS[place].get_or_init(start).as_ref()
}

impl Server {
    /// Starts a server whose state lies in `folder`; `temporary` removes the folder with the server.
    pub fn start(program: &Path, folder: &Path, port: u16, temporary: bool) -> Self {
        Self::start_with(program, folder, (port, temporary), "")
    }

    /// The same, with more in its settings.
    pub fn start_with(program: &Path, folder: &Path, (port, temporary): (u16, bool), more: &str) -> Self {
        let settings = folder.join("nats.conf");
        let state = folder.join("state");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?}, sync_interval: always }}\n{more}\n",
            state.display().to_string()
        );
        std::fs::write(&settings, text).expect("write the server's settings");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(if temporary { folder.as_os_str() } else { "".as_ref() })
            .arg(program)
            .arg("-c")
            .arg(&settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the server");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("the server's process");
        let process = line.trim().parse().expect("a process id");
        let alive = keeper.stdin.take();
        let server = Self { url: format!("nats://127.0.0.1:{port}"), port, process, keeper, alive };
        server.wait_until_ready();
        server
    }

    /// Stands still from now on, or goes on.
    pub fn stands_still(&self, still: bool) {
        let signal = if still { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &self.process.to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    fn wait_until_ready(&self) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let started = Instant::now();
        loop {
            let greeted = TcpStream::connect_timeout(&address, READY).and_then(|mut stream| {
                stream.set_read_timeout(Some(READY))?;
                let mut greeting = [0; 5];
                stream.read_exact(&mut greeting).map(|()| greeting == *b"INFO ")
            });
            match greeted {
                Ok(true) => return,
                _ => assert!(started.elapsed() < READY, "the server does not answer"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Kills the server as a power cut would, and returns when it is gone.
impl Drop for Server {
    fn drop(&mut self) {
        let killed = Command::new("kill").args(["-9", &self.process.to_string()]).status();
        self.alive = None;
        let ended = self.keeper.wait();
        if !std::thread::panicking() {
            assert!(killed.expect("kill").success());
            ended.expect("the server has ended");
        }
    }
}
