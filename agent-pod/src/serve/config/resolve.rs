//! What the files, and the flags above them, come to: addresses, paths, secrets, the broker.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crds::file::Located;
use queue::jetstream::{Authorities, Credentials, Settings};

use super::{
    ProcessConfig,
    file::{Nats, Process, RedisServer, default_redis_timeout},
};
use crate::{
    Error, Result,
    args::ServeArguments,
    commands::validate,
    error::chain,
    runtime::cache::RedisSettings,
    serve::{listen::Tls, metrics_token},
};

/// How long a process that starts asks again for a broker that cannot be reached. The network of a new pod may let it through
/// some seconds after it runs, and a broker that is itself started anew is back within as long.
const BROKER_PATIENCE: Duration = Duration::from_secs(30);

/// Where clients are not known, nobody but who is on this machine may ask.
pub(super) fn check_reach<T>(
    file: &Located<T>,
    knows_clients: bool,
    field: &str,
    address: Option<SocketAddr>,
) -> Result<()> {
    if !knows_clients && address.is_some_and(|address| !address.ip().is_loopback()) {
        let message = "can be reached from other machines, so tokens must name a file of bearer tokens, kubernetes say \
                       whose tokens are let in, or a gateway's tls.clientCa name the certificates that vouch for clients";
        return Err(validate::usage(vec![file.error(field, message)]));
    }
    Ok(())
}

pub(super) fn base(config: &Path) -> &Path {
    config.parent().unwrap_or(Path::new(""))
}

pub(super) fn resolved(base: &Path, path: &Path) -> PathBuf {
    base.join(path)
}

pub(super) fn resolved_all(base: &Path, paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| resolved(base, path)).collect()
}

pub(super) fn address<T>(file: &Located<T>, field: &str, text: &str) -> Result<SocketAddr> {
    text.parse().map_err(|_| {
        let message = format!("\"{text}\" is not an address; write for example 127.0.0.1:8080 or [::]:8080");
        validate::usage(vec![file.error(field, message)])
    })
}

pub(super) fn process<T>(
    file: &Located<T>,
    written: &Process,
    base: &Path,
    arguments: &ServeArguments,
) -> Result<ProcessConfig> {
    let health = arguments.health.as_deref().or(written.health.as_deref());
    Ok(ProcessConfig {
        name: arguments.name.clone().or_else(|| written.name.clone()).unwrap_or_else(own_name),
        state: arguments.state.clone().unwrap_or_else(|| resolved(base, &written.state)),
        models: arguments.models.folder.clone().or_else(|| written.models.as_ref().map(|path| resolved(base, path))),
        health: health.map(|text| address(file, "health", text)).transpose()?,
        metrics_token: metrics_token(file, written.metrics_token_file.as_deref(), base, arguments)?,
        grace: written.grace.0,
        redis: redis(file, written.redis.as_ref(), base, arguments)?,
    })
}

fn metrics_token<T>(
    file: &Located<T>,
    written: Option<&Path>,
    base: &Path,
    arguments: &ServeArguments,
) -> Result<Option<PathBuf>> {
    let named = arguments.metrics_token_file.clone();
    let Some(path) = named.or_else(|| written.map(|path| resolved(base, path))) else { return Ok(None) };
    metrics_token::check(&path).map_err(|error| {
        let message = format!("failed to read a token from {}: {error}", path.display());
        match arguments.metrics_token_file {
            Some(_) => Error::usage(format!("--metrics-token-file: {message}")),
            None => validate::usage(vec![file.error("metricsTokenFile", message)]),
        }
    })?;
    Ok(Some(path))
}

fn redis<T>(
    file: &Located<T>,
    written: Option<&RedisServer>,
    base: &Path,
    arguments: &ServeArguments,
) -> Result<Option<RedisSettings>> {
    let wrong = |field: &str, message: String| validate::usage(vec![file.error(field, message)]);
    let timeout = written.map_or_else(default_redis_timeout, |written| written.timeout).0;
    let unusable = |error| format!("{error}; write it as redis://[user:password@]host[:port][/database]");
    if let Some(url) = &arguments.redis {
        let settings = RedisSettings::new(url, timeout);
        return settings.map(Some).map_err(|error| Error::usage(format!("--redis: {}", unusable(error))));
    }
    let Some(written) = written else { return Ok(None) };
    let (field, url) = match (&written.url, &written.url_file) {
        (Some(url), None) => ("redis.url", url.clone()),
        (None, Some(path)) => {
            let path = resolved(base, path);
            let text = std::fs::read_to_string(&path);
            let text =
                text.map_err(|error| wrong("redis.urlFile", format!("failed to read {}: {error}", path.display())))?;
            ("redis.urlFile", text.trim_end().to_owned())
        }
        _ => return Err(wrong("redis", "set exactly one of url, urlFile".to_owned())),
    };
    RedisSettings::new(&url, timeout).map(Some).map_err(|error| wrong(field, unusable(error)))
}

/// The host's name and the process's number: unique among the processes of a broker.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

pub(super) fn plain_nats(
    servers: &str,
    written: &Process,
    (process, arguments): (&ProcessConfig, &ServeArguments),
) -> Settings {
    let mut settings = Settings::new(servers);
    settings.patience = BROKER_PATIENCE;
    settings.name.clone_from(&process.name);
    settings.scoped = flow::keys::OF_ONE_PIPELINE.to_vec();
    if let Some(payloads) = arguments.payloads.clone().or_else(|| written.payloads.clone()) {
        settings.payloads = payloads;
    }
    settings
}

pub(super) fn nats<T>(
    file: &Located<T>,
    nats: &Nats,
    written: &Process,
    base: &Path,
    (process, arguments): (&ProcessConfig, &ServeArguments),
) -> Result<Settings> {
    let servers = arguments.nats.clone().unwrap_or_else(|| nats.servers.join(","));
    let mut settings = plain_nats(&servers, written, (process, arguments));
    settings.bucket_prefix.clone_from(&nats.prefix);
    settings.replicas = nats.replicas as usize;
    if let Some(lease) = nats.lease {
        settings.lease = lease.0;
    }
    if let Some(timeout) = nats.timeout {
        settings.timeout = timeout.0;
    }
    settings.inbox.clone_from(&nats.inbox);
    settings.makes_streams = nats.make_streams;
    let wrong = |field: &str, message: String| validate::usage(vec![file.error(&format!("nats.{field}"), message)]);
    if let Some(path) = &nats.ca {
        let path = resolved(base, path);
        Tls::check_certificates(&path).map_err(|error| wrong("ca", chain(&error)))?;
        settings.ca = Some(Authorities::File(path));
    }
    let secret = |field: &str, path: &Path| {
        let path = resolved(base, path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| wrong(field, format!("failed to read {}: {error}", path.display())))?;
        Ok::<_, Error>(text.trim_end().to_owned())
    };
    settings.credentials = match (&nats.credentials, &nats.token_file, &nats.user, &nats.password_file) {
        (None, None, None, None) => None,
        (Some(path), None, None, None) => {
            secret("credentials", path)?;
            Some(Credentials::File(resolved(base, path)))
        }
        (None, Some(path), None, None) => Some(Credentials::Token(secret("tokenFile", path)?)),
        (None, None, Some(name), Some(path)) => {
            Some(Credentials::User { name: name.clone(), password: secret("passwordFile", path)? })
        }
        _ => {
            let message = "set one of credentials, tokenFile, or user with passwordFile";
            return Err(validate::usage(vec![file.error("nats", message)]));
        }
    };
    Ok(settings)
}
