//! A PostgreSQL server outside the cluster, at an address that the node is given. This needs to run in the cluster's network, as
//! root.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::SocketAddrV4,
    os::unix::{fs::chown, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{command::run, elsewhere::give_node};

/// Longest time for a server to begin.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries to reach one that begins.
const PAUSE: Duration = Duration::from_millis(100);
/// What psql says where it could not connect.
const NO_CONNECTION: &str = "connection to server at";
/// Folder of its data.
const DATA: &str = "data";
const USER: &str = "docket";
const PASSWORD: &str = "not-a-secret";
const DATABASE: &str = "results";

/// A server with one database, and a folder that ends with it.
pub struct Postgres {
    programs: PathBuf,
    /// Whom it runs as: user and group.
    owner: (u32, u32),
    folder: PathBuf,
    address: SocketAddrV4,
    child: Option<Child>,
}

impl Postgres {
    /// Starts one, or says that the story skips.
    pub async fn start(address: SocketAddrV4) -> Result<Option<Self>> {
        let Some(programs) = programs() else {
            eprintln!("skipped: there is no PostgreSQL server here; get it with make servers");
            return Ok(None);
        };
        // The server refuses to run as root.
        let owner = ["postgres", "nobody"].into_iter().find_map(|name| number("-u", name).zip(number("-g", name)));
        let Some(owner) = owner else {
            eprintln!("skipped: a PostgreSQL server needs another user than root, and there is none");
            return Ok(None);
        };
        give_node(*address.ip()).await?;
        let name = format!("docket-e2e-postgres-{}-{}", address.ip(), std::process::id());
        let mut server = Self { programs, owner, folder: std::env::temp_dir().join(name), address, child: None };
        server.make()?;
        server.start_again().await?;
        server.ask_patiently("postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
        Ok(Some(server))
    }

    /// Starts it where it was.
    pub async fn start_again(&mut self) -> Result<()> {
        let log = self.folder.join("log");
        let errors = File::create(&log).context("make the log of PostgreSQL")?;
        let (addresses, port) = (format!("listen_addresses={}", self.address.ip()), self.address.port().to_string());
        let mut command = self.program("postgres");
        command.args(["-D", &self.path(DATA), "-p", &port, "-c", &addresses]);
        command.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        self.child = Some(command.spawn().context("start PostgreSQL")?);
        let begun = Instant::now();
        while let Err(error) = self.ask("postgres", "SELECT 1").await {
            let ended = self.child.as_mut().map(Child::try_wait).transpose().context("look after PostgreSQL")?;
            if let Some(status) = ended.flatten() {
                bail!("PostgreSQL ended ({status}):\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            ensure!(begun.elapsed() < PATIENCE, "PostgreSQL does not answer: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// It stops at once, as in a crash of its machine.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // SIGQUIT ends its children too, which SIGKILL does not.
        let told = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
        if !told.is_ok_and(|told| told.success()) {
            let _ = child.kill();
        }
        let _ = child.wait();
    }

    /// The address as a pipeline names it.
    pub fn url(&self) -> String {
        format!("postgres://{USER}@{}/{DATABASE}", self.address)
    }

    /// The password of its user.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// What a statement says, a line a row, fields between `|`.
    pub async fn query(&self, sql: &str) -> Result<String> {
        self.ask_patiently(DATABASE, sql).await
    }

    /// Asks again where no connection was made, so that nothing was done.
    async fn ask_patiently(&self, database: &str, sql: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            match self.ask(database, sql).await {
                Err(error) if begun.elapsed() < PATIENCE && error.to_string().contains(NO_CONNECTION) => {}
                answer => return answer,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, database: &str, sql: &str) -> Result<String> {
        let psql = self.programs.join("psql").display().to_string();
        let url = format!("postgres://{USER}:{PASSWORD}@{}/{database}?connect_timeout=10", self.address);
        let command = [psql.as_str(), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql];
        Ok(run(&command, "").await?.or_fail(sql)?.trim_end().to_owned())
    }

    /// Makes its folder and its data.
    fn make(&self) -> Result<()> {
        fs::create_dir(&self.folder).with_context(|| format!("make {}", self.folder.display()))?;
        let password = self.folder.join("password");
        fs::write(&password, PASSWORD).context("write the password of PostgreSQL")?;
        let (user, group) = self.owner;
        for path in [&self.folder, &password] {
            chown(path, Some(user), Some(group)).with_context(|| format!("give {} away", path.display()))?;
        }
        let mut command = self.program("initdb");
        command.args(["-D", &self.path(DATA), "-U", USER, "--auth=scram-sha-256"]);
        command.args(["--pwfile", &self.path("password"), "--no-sync", "--encoding=UTF8", "--locale=C"]);
        let made = command.output().context("run initdb")?;
        ensure!(made.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&made.stderr));
        // By itself it lets in only who comes from its machine.
        let rules = self.folder.join(DATA).join("pg_hba.conf");
        let mut rules = OpenOptions::new().append(true).open(rules).context("open PostgreSQL's rules")?;
        rules.write_all(b"host all all all scram-sha-256\n").context("let clients in to PostgreSQL")
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.folder).uid(self.owner.0).gid(self.owner.1);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder with all programs of a server.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
    // Debian keeps them off the path, a folder a version.
    let of_debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut of_debian: Vec<PathBuf> = of_debian.map(|version| version.path().join("bin/initdb")).collect();
    of_debian.sort();
    let found = on_path.chain(of_debian.into_iter().rev());
    let mut folders = found.filter_map(|initdb| Some(initdb.parent()?.to_path_buf()));
    folders.find(|folder| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file()))
}

fn number(kind: &str, name: &str) -> Option<u32> {
    let said = Command::new("id").args([kind, name]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}
