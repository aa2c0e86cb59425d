//! A PostgreSQL server of a test's own, on a free port of this machine, with a folder that ends with the test.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::processes::free_port;

/// Longest time for a server to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "not a secret";

/// A running server with one database, `results`.
pub(crate) struct PostgresServer {
    programs: PathBuf,
    folder: tempfile::TempDir,
    owner: Option<(u32, u32)>,
    child: Option<Child>,
    port: u16,
}

impl PostgresServer {
    /// Starts one, or says that the test skips.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: there is no PostgreSQL server here; get it with make servers");
            return None;
        };
        // The server refuses to run as root.
        let owner = if number("-u", None) == Some(0) {
            let other = ["postgres", "nobody"]
                .into_iter()
                .find_map(|name| number("-u", Some(name)).zip(number("-g", Some(name))));
            if other.is_none() {
                eprintln!("skipped: a PostgreSQL server needs another user than root, and there is none");
                return None;
            }
            other
        } else {
            None
        };
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("password"), PASSWORD).expect("written");
        if let Some((user, group)) = owner {
            for path in [folder.path().to_path_buf(), folder.path().join("password")] {
                chown(path, Some(user), Some(group)).expect("the folder is given away");
            }
        }
        let mut server = Self { programs, folder, owner, child: None, port: 0 };
        let data = server.folder.path().join("data").display().to_string();
        let password = server.folder.path().join("password").display().to_string();
        let made = server
            .program("initdb")
            .args(["-D", &data, "-U", "docket", "--auth=scram-sha-256", "--pwfile", &password])
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .stdout(Stdio::null())
            .status()
            .expect("initdb starts");
        assert!(made.success());
        // Another process can take the port before the server does.
        for _ in 0..10 {
            server.port = free_port();
            if server.run(&[]) {
                server.ask("postgres", "CREATE DATABASE results").expect("made");
                return Some(server);
            }
        }
        panic!("a PostgreSQL server does not start");
    }

    /// Starts it again where it was, with more settings.
    pub(crate) fn start_again(&mut self, settings: &[&str]) {
        assert!(self.run(settings), "the server does not start again");
    }

    fn run(&mut self, settings: &[&str]) -> bool {
        let data = self.folder.path().join("data").display().to_string();
        let mut command = self.program("postgres");
        command.args(["-D", &data, "-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "log_min_messages=fatal"]);
        for setting in settings {
            command.args(["-c", setting]);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("postgres starts");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if child.try_wait().expect("its state").is_some() {
                return false;
            }
            if self.ask("postgres", "SELECT 1").is_ok() {
                self.child = Some(child);
                return true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("the PostgreSQL server at port {} does not answer", self.port);
    }

    /// It stops at once, as in a crash of its machine.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // SIGQUIT ends its children too, which SIGKILL does not.
        let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
        let begun = Instant::now();
        while child.try_wait().expect("its state").is_none() {
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address as a pipeline names it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://docket@127.0.0.1:{}/results", self.port)
    }

    /// The same by a name, for certificates.
    pub(crate) fn url_by_name(&self) -> String {
        format!("postgres://docket@localhost:{}/results", self.port)
    }

    /// The file with its password.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// The folder of its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Gives a file to the user that the server runs as.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).expect("the file is given away");
        }
    }

    /// What a statement says, a line a row, fields between `|`.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> String {
        self.ask("results", sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn ask(&self, database: &str, sql: &str) -> Result<String, String> {
        let url = format!("postgres://docket@127.0.0.1:{}/{database}", self.port);
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]).env("PGPASSWORD", PASSWORD);
        let said = command.env("PGCONNECT_TIMEOUT", "10").output().expect("psql starts");
        match said.status.success() {
            true => Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned()),
            false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
        }
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder with all programs of a server.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<PathBuf> = of_debian.map(|version| version.path().join("bin/initdb")).collect();
    of_debian.sort();
    let mut folders =
        on_path.chain(of_debian.into_iter().rev()).filter_map(|found| found.parent().map(Path::to_path_buf));
    folders.find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file()))
}

fn number(kind: &str, name: Option<&str>) -> Option<u32> {
    let said = Command::new("id").arg(kind).args(name).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}
