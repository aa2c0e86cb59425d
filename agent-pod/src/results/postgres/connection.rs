//! How a database is reached: its address, its password, TLS.

use std::{net::IpAddr, path::Path, str::FromStr as _};

use crds::PostgresSink;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use engine::reach::{LookUpError, Reach};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};

use super::{CONNECT, Problem, tls::Tls};
use crate::{error::chain, results::Unavailable, secrets};

/// Connections a database: one for batches, the others for questions.
const CONNECTIONS: usize = 4;
/// The port of a host that is written without one.
const PORT: u16 = 5432;

/// Says what is wrong with how a database is written, without reaching for it.
pub fn check(spec: &PostgresSink) -> Result<(), String> {
    config(spec).map(drop)
}

fn config(spec: &PostgresSink) -> Result<Config, String> {
    let mut config = Config::from_str(&spec.url).map_err(|error| format!("url: {}", chain(&error)))?;
    if config.get_password().is_some() {
        return Err("url: holds a password, which everyone who may read the pipeline could see; keep it in a \
                    file or a variable, and name that with passwordFile or passwordEnv"
            .to_owned());
    }
    if config.get_hosts().is_empty() {
        return Err("url: names no host; write postgres://user@host:5432/database".to_owned());
    }
    match (&spec.ca_file, config.get_ssl_mode()) {
        (None, SslMode::Require) => {
            return Err(
                "url: sslmode=require needs caFile, the certificates that the server's is checked with".to_owned()
            );
        }
        // A certificate that is to be checked is not left to the server's mood.
        (Some(_), SslMode::Prefer) => {
            config.ssl_mode(SslMode::Require);
        }
        (Some(_), SslMode::Disable) => {
            return Err("caFile: is of no use with sslmode=disable".to_owned());
        }
        _ => {}
    }
    if spec.ca_file.is_some() && config.get_hosts().iter().any(|host| matches!(host, Host::Unix(_))) {
        return Err("caFile: is of no use with a socket of this machine".to_owned());
    }
    config.connect_timeout(CONNECT).application_name("docket");
    Ok(config)
}

/// The addresses that connections are made to, one a host: the first that is called. None where they are not looked at, or
/// stand in the URL.
pub(super) async fn addresses(spec: &PostgresSink, reach: &Reach) -> Result<Vec<IpAddr>, Problem> {
    if !reach.is_guarded() {
        return Ok(Vec::new());
    }
    let config = config(spec).map_err(Problem::Refused)?;
    let (ports, written) = (config.get_ports(), config.get_hostaddrs());
    let mut addresses = Vec::new();
    for (place, host) in config.get_hosts().iter().enumerate() {
        let Host::Tcp(name) = host else {
            let problem = "url: a socket of the agent's own machine is not called by agents in a cluster; name a host";
            return Err(Problem::Refused(problem.to_owned()));
        };
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(PORT);
        let host = written.get(place).map_or_else(|| name.clone(), IpAddr::to_string);
        let found = reach.addresses(&host, port).await.map_err(|error| match error {
            LookUpError::Refuse(refused) => Problem::Refused(format!("url: {refused}")),
            LookUpError::Find(_) => Problem::Unavailable(Unavailable(format!("url: {host}: {}", chain(&error)))),
        })?;
        addresses.extend(found.into_iter().flatten().next());
    }
    Ok(if written.is_empty() { addresses } else { Vec::new() })
}

/// A pool of connections, none of them open yet, to these addresses or, without any, to those of the hosts. Reads the password
/// and the certificates; `variable` reads the environment.
pub fn pool(
    spec: &PostgresSink,
    addresses: &[IpAddr],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Pool, String> {
    let mut config = config(spec)?;
    for address in addresses {
        config.hostaddr(*address);
    }
    if let Some(name) = &spec.password_env {
        let password = secrets::variable(name, variable).map_err(|problem| format!("passwordEnv: {problem}"))?;
        if password.is_empty() {
            return Err(format!("passwordEnv: the variable {name} is not set"));
        }
        config.password(password);
    }
    if let Some(path) = &spec.password_file {
        let read = secrets::file(path.as_ref()).map_err(|error| format!("passwordFile {path}: {error}"))?;
        let read = String::from_utf8(read).map_err(|error| format!("passwordFile {path}: {error}"))?;
        config.password(read.trim_end_matches(['\r', '\n']));
    }
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = match &spec.ca_file {
        Some(path) => Manager::from_config(config, Tls::open(Path::new(path))?, settings),
        None => Manager::from_config(config, NoTls, settings),
    };
    Pool::builder(manager).max_size(CONNECTIONS).build().map_err(|error| chain(&error))
}
