//! Which servers are called of those that pools and pipelines name: what the file says, and what is the cluster's own.

use std::{net::IpAddr, sync::Arc};

use crds::{
    file::Located,
    schemars::{self, JsonSchema},
};
use engine::reach::{Kind, Reach, Settings, SystemNames};
use reqwest::Url;
use serde::Deserialize;

use crate::{Result, commands::validate};

/// The API server, as pods know it by name.
const API_SERVER: &str = "kubernetes.default.svc";

/// Which servers are called of those that pools and pipelines name: models fetched or asked, databases, the shared cache.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Calls {
    /// Whether loopback, link-local and metadata addresses, the API server, the broker and this process itself are refused: on
    /// where pools and pipelines are written by others than whoever starts this process.
    pub guarded: bool,
    /// Addresses that are called all the same, such as `127.0.0.1` for a model server that was put beside the agents.
    #[schemars(length(max = 64))]
    pub except: Vec<String>,
}

/// What the file comes to.
pub(super) fn of_file<T>(
    file: &Located<T>,
    written: &Calls,
    servers: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Reach> {
    let mut except = Vec::new();
    for (place, address) in written.except.iter().enumerate() {
        except.push(address.parse().map_err(|_| {
            let message = format!("\"{address}\" is no IP address; write one such as 127.0.0.1 or ::1, without a port");
            validate::usage(vec![file.error(&format!("calls.except[{place}]"), message)])
        })?);
    }
    Ok(if written.guarded { guarded(except, servers, variable) } else { Reach::anybody() })
}

/// The rules of an agent in a cluster. `servers` are those of the broker, separated by commas; `variable` reads the environment.
pub fn guarded(except: Vec<IpAddr>, servers: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Reach {
    let mut own = vec![(Kind::ApiServer, API_SERVER.to_owned())];
    own.extend(variable("KUBERNETES_SERVICE_HOST").map(|host| (Kind::ApiServer, host)));
    own.extend(variable("POD_IP").map(|address| (Kind::Own, address)));
    own.extend(servers.unwrap_or_default().split(',').filter_map(host).map(|host| (Kind::Broker, host)));
    Reach::guarded(Settings { own, except, names: Arc::new(SystemNames) })
}

/// The host of a broker's address, which may be a URL or `host:port` alone.
fn host(server: &str) -> Option<String> {
    let server = server.trim();
    let url = if server.contains("://") { Url::parse(server) } else { Url::parse(&format!("nats://{server}")) };
    url.ok()?.host_str().map(str::to_owned)
}
