//! What the broker says of a pool's tasks, asked as an administrator would, with `nats`.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Cluster, HOME, Kind, run};

/// Tasks of a pool, as the broker counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Tasks that were ever published.
    pub tasks: u64,
    /// Times that one was given to an agent: more than tasks where a lease was lost, or a task handed back.
    pub deliveries: u64,
}

/// The classes of priority, each a consumer.
const CLASSES: [&str; 4] = ["critical", "high", "normal", "low"];

impl Cluster {
    /// What became of a pool's tasks so far. `None` where the broker knows accounts instead of a password: they are not ours.
    pub async fn delivered(&self, pool: &str) -> Result<Option<Delivered>> {
        let secret = Kind::Secret.within(&self.client, HOME).get_opt("docket-nats-auth").await;
        if secret.context("read the broker's password")?.is_none() {
            return Ok(None);
        }
        let read = |field: &str| {
            let template = format!("go-template={{{{.data.{field} | base64decode}}}}");
            async move {
                self.kubectl(&["get", "secret", "docket-nats-auth", "--namespace", HOME, "--output", &template], "")
                    .await
            }
        };
        let (user, password) = (read("user").await?, read("password").await?);
        let service = Kind::Service.within(&self.client, HOME).get("docket-nats").await.context("find the broker")?;
        let address = service.data["spec"]["clusterIP"].as_str().context("the broker has no address")?;
        let server = format!("nats://{address}:4222");
        let ask = |words: Vec<String>| {
            let mut command: Vec<String> =
                ["nats", "--server", &server, "--user", &user, "--password", &password].map(str::to_owned).to_vec();
            command.extend(words);
            command.push("--json".to_owned());
            async move {
                let command: Vec<&str> = command.iter().map(String::as_str).collect();
                let said = run(&command, "").await?.or_fail("ask the broker")?;
                serde_json::from_str::<Value>(&said).context("read the broker's answer")
            }
        };
        let stream = format!("docket-{}-tasks-{pool}", self.namespace);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let info = ask(words(&["stream", "info", &stream])).await?;
        let tasks = info["state"]["last_seq"].as_u64().context("the broker names no last task")?;
        let mut deliveries = 0;
        for class in CLASSES {
            let info = ask(words(&["consumer", "info", &stream, class])).await?;
            deliveries += info["delivered"]["consumer_seq"].as_u64().context("the broker counts no deliveries")?;
        }
        Ok(Some(Delivered { tasks, deliveries }))
    }
}
