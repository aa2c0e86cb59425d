//! The broker as a process of the namespace sees it: with the credentials that its pods mount and the settings that they read,
//! asked by `nats`.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::Value;

use crate::{Cluster, HOME, Kind, Output, PATIENCE, answered, run};

/// Service of the broker, and Secret of each namespace with its credentials.
const BROKER: &str = "docket-nats";
/// Deployment of the gateway, who may count the tasks of every pool.
const GATEWAY: &str = "docket-gateway";
/// What the broker says to whom it does not let do something.
const REFUSED: &str = "Permissions Violation";
/// Between two tries: `nats` gives a connection up after two seconds.
const PAUSE: Duration = Duration::from_millis(500);
/// The classes of priority, each a consumer.
const CLASSES: [&str; 4] = ["critical", "high", "normal", "low"];

/// Tasks of a pool, as the broker counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Tasks that were ever published.
    pub tasks: u64,
    /// Times that one was given to an agent: more than tasks where a lease was lost, or a task handed back.
    pub deliveries: u64,
}

/// The broker, for whoever has these credentials.
pub struct Broker {
    /// Begins the names of the namespace's streams and subjects.
    pub prefix: String,
    /// Begins the subjects of answers to these processes, where they have some of their own.
    pub inbox: Option<String>,
    command: Vec<String>,
    credentials: Option<PathBuf>,
}

impl Cluster {
    /// The broker as the pods of a Deployment know it.
    pub async fn broker(&self, deployment: &str) -> Result<Broker> {
        let pods = self.get(Kind::Deployment, deployment).await?;
        let settings = self.settings(&pods).await?;
        let text = |field: &str| settings[field].as_str().map(str::to_owned);
        let services = Kind::Service.within(&self.client, HOME);
        let service = answered(async |_| services.get(BROKER).await).await.context("find the broker")?;
        let address = service.data["spec"]["clusterIP"].as_str().context("the broker has no address")?;
        let mut command = ["nats", "--server", &format!("nats://{address}:4222")].map(str::to_owned).to_vec();
        let mut credentials = None;
        if let Some(user) = text("user") {
            let password = self.secret(BROKER, "password").await?;
            command.extend(["--user".to_owned(), user, "--password".to_owned(), password]);
        } else {
            let key = volume(&pods, "nats")["secret"]["items"][0]["key"].as_str();
            let file = private_file(&self.secret(BROKER, key.context("its pods mount no credentials")?).await?)?;
            command.extend(["--creds".to_owned(), file.display().to_string()]);
            credentials = Some(file);
        }
        let inbox = text("inbox");
        command.extend(inbox.iter().flat_map(|inbox| ["--inbox-prefix".to_owned(), inbox.clone()]));
        let prefix = text("prefix").context("its settings name no prefix")?;
        Ok(Broker { prefix, inbox, command, credentials })
    }

    /// What became of a pool's tasks so far.
    pub async fn delivered(&self, pool: &str) -> Result<Delivered> {
        let broker = self.broker(GATEWAY).await?;
        let stream = broker.tasks(pool);
        let info = broker.ask(&format!("$JS.API.STREAM.INFO.{stream}")).await?;
        let tasks = info["state"]["last_seq"].as_u64().context("the broker names no last task")?;
        let mut deliveries = 0;
        for class in CLASSES {
            let info = broker.ask(&format!("$JS.API.CONSUMER.INFO.{stream}.{class}")).await?;
            deliveries += info["delivered"]["consumer_seq"].as_u64().context("the broker counts no deliveries")?;
        }
        Ok(Delivered { tasks, deliveries })
    }

    /// How a Deployment's pods are told to reach the broker.
    async fn settings(&self, pods: &DynamicObject) -> Result<Value> {
        let name = volume(pods, "config")["configMap"]["name"].as_str().context("its pods mount no settings")?;
        let files = self.get(Kind::ConfigMap, name).await?;
        let files = files.data["data"].as_object().into_iter().flatten();
        let read = files.filter_map(|(_, text)| serde_json::from_str::<Value>(text.as_str()?).ok());
        read.map(|mut file| file["nats"].take()).find(Value::is_object).context("its settings name no broker")
    }

    async fn secret(&self, name: &str, key: &str) -> Result<String> {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        self.kubectl(&["get", "secret", name, "--output", &template], "").await
    }
}

impl Broker {
    /// The stream of a pool's tasks.
    pub fn tasks(&self, pool: &str) -> String {
        format!("{}-tasks-{pool}", self.prefix)
    }

    /// What is answered to a request without a body. Where nothing is, and the request is not refused, it is put again.
    pub async fn ask(&self, subject: &str) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let said = self.run(&["request", "--raw", "--timeout", "10s", subject, ""]).await?;
            match serde_json::from_str::<Value>(&said.text) {
                Err(_) if begun.elapsed() < PATIENCE && !said.errors.contains(REFUSED) => {}
                answer => return answer.with_context(|| format!("read the answer to {subject}; {}", said.errors)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether these credentials are not good for publishing to a subject. Where they are, an empty message is.
    pub async fn refuses_from(&self, subject: &str) -> Result<bool> {
        let violation = format!("{REFUSED} for Publish to \"{subject}\"");
        self.refuses(&["publish", subject, ""], &violation).await
    }

    /// Whether these credentials are not good for hearing a subject.
    pub async fn refuses_to(&self, subject: &str) -> Result<bool> {
        let violation = format!("{REFUSED} for Subscription to \"{subject}\"");
        self.refuses(&["subscribe", "--count", "1", "--wait", "20s", subject], &violation).await
    }

    async fn refuses(&self, arguments: &[&str], violation: &str) -> Result<bool> {
        let (begun, mut taken) = (Instant::now(), 0);
        loop {
            let said = self.run(arguments).await?;
            if said.errors.contains(violation) {
                return Ok(true);
            }
            // `nats` waits ten seconds for what the server says of it, and takes none for good: it has to be so twice.
            taken += u32::from(said.succeeded);
            if taken == 2 {
                return Ok(false);
            }
            ensure!(begun.elapsed() < PATIENCE, "nats {} failed: {}", arguments.join(" "), said.errors);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let command: Vec<&str> = self.command.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        run(&command, "").await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(file) = &self.credentials {
            // Of a cluster that ends soon; what is left in the folder for passing files harms nobody.
            let _ = fs::remove_file(file);
        }
    }
}

/// A volume of a Deployment's pods.
fn volume<'a>(deployment: &'a DynamicObject, name: &str) -> &'a Value {
    let volumes = deployment.data["spec"]["template"]["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().find(|volume| volume["name"] == name).unwrap_or(&Value::Null)
}

/// A file that its owner alone can read: `nats` reads credentials more than once, so they cannot be its input.
fn private_file(text: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("docket-e2e-{}-{}.creds", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = made.with_context(|| format!("make {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
