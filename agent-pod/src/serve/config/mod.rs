//! The configuration files of `docket worker` and `docket gateway`, and what flags change in them.
//!
//! Files are read as strictly as resources are: an unknown field is an error with its line. Paths in a file are seen from
//! the file's folder.

pub mod calls;
pub mod file;
pub mod kubernetes;
mod resolve;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crds::{AgentPoolSpec, Pipeline, file::Located};
use engine::reach::Reach;
use flow::Plan;
use queue::jetstream::Settings;

pub use self::file::{GatewayFile, Limits, Passes, TlsFiles, WorkerFile};
use self::resolve::{address, base, check_reach, nats, plain_nats, process, resolved, resolved_all};
use super::{inference::InferenceLimits, reviews::ReviewSettings};
use crate::{
    Error, Result,
    args::{self, ServeArguments, WorkerArguments},
    commands::validate,
    runtime::cache::RedisSettings,
};

/// A worker's configuration, resolved.
pub struct WorkerConfig {
    /// The pool's name.
    pub pool: String,
    /// The pool.
    pub spec: AgentPoolSpec,
    /// The pipelines of the resource files that use it.
    pub pipelines: Vec<String>,
    /// The broker.
    pub nats: Settings,
    /// Where the OpenAI-compatible interface is served.
    pub http: Option<SocketAddr>,
    /// How gateways reach it.
    pub advertise: Option<String>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Where other tokens are reviewed.
    pub(in crate::serve) reviews: Option<ReviewSettings>,
    /// Its bounds.
    pub inference: InferenceLimits,
    /// Whom it calls of those that the pool names.
    pub reach: Reach,
    /// The rest.
    pub process: ProcessConfig,
}

/// A gateway's configuration, resolved.
pub struct GatewayConfig {
    /// The plans of the pipelines, by name.
    pub plans: BTreeMap<String, Plan>,
    /// Names of those that go on by pools as they were before.
    pub former: BTreeSet<String>,
    /// Names of those that take no further documents.
    pub closed: BTreeSet<String>,
    /// The broker; none where the gateway works the documents itself.
    pub nats: Option<Settings>,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where gRPC is served.
    pub grpc: Option<SocketAddr>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Where other tokens are reviewed.
    pub(in crate::serve) reviews: Option<ReviewSettings>,
    /// The files of the certificate.
    pub tls: Option<TlsFiles>,
    /// How long it serves on after the signal to stop.
    pub farewell: Duration,
    /// Bounds.
    pub limits: Limits,
    /// When what is over is removed.
    pub retention: Passes,
    /// Bounds of the OpenAI-compatible interface.
    pub inference: InferenceLimits,
    /// Whom it calls of those that pools and pipelines name.
    pub reach: Reach,
    /// The rest.
    pub process: ProcessConfig,
}

/// What both have in common, resolved.
pub struct ProcessConfig {
    /// Name of this process.
    pub name: String,
    /// Folder of state.
    pub state: PathBuf,
    /// Folder of models.
    pub models: Option<PathBuf>,
    /// Where health and metrics are served.
    pub health: Option<SocketAddr>,
    /// The file with the token of those who may read metrics; none: anyone may.
    pub metrics_token: Option<PathBuf>,
    /// Longest time to stop.
    pub grace: Duration,
    /// The server of the cache that processes share.
    pub redis: Option<RedisSettings>,
}

impl WorkerConfig {
    /// Reads the file; flags win over it.
    pub fn read(arguments: &WorkerArguments) -> Result<Self> {
        let file: Located<WorkerFile> = crds::file::settings(&arguments.serve.config).map_err(validate::usage)?;
        let base = base(&arguments.serve.config);
        let pool = arguments.pool.clone().unwrap_or_else(|| file.pool.clone());
        let resources = validate::read_files(&resolved_all(base, &file.resources))?;
        let found = resources.pools.iter().find(|candidate| candidate.name() == pool);
        let Some(found) = found else {
            let known: Vec<&str> = resources.pools.iter().map(Located::name).collect();
            let message = format!("the resource files hold no AgentPool \"{pool}\"; they hold: {}", known.join(", "));
            return Err(validate::usage(vec![file.error("pool", message)]));
        };
        let mut process = process(&file, &file.process, base, &arguments.serve)?;
        let nats = nats(&file, &file.nats, &file.process, base, (&process, &arguments.serve))?;
        let reach = calls::of_file(&file, &file.process.calls, Some(&nats.servers), args::variable)?;
        process.redis = process.redis.map(|redis| redis.reaching(&reach));
        let http = arguments.http.as_deref().or(file.http.as_deref());
        let http = http.map(|text| address(&file, "http", text)).transpose()?;
        let tokens = file.tokens.as_ref().map(|path| resolved(base, path));
        let reviews = kubernetes::reviews(&file, file.kubernetes.as_ref(), base, args::variable)?;
        check_reach(&file, tokens.is_some() || reviews.is_some(), "http", http)?;
        let advertise = arguments.advertise.clone().or_else(|| file.advertise.clone());
        let uses = |pipeline: &&Located<Pipeline>| pipeline.resource.spec.stages.iter().any(|stage| stage.pool == pool);
        let pipelines = resources.pipelines.iter().filter(uses).map(|pipeline| pipeline.name().to_owned()).collect();
        let inference = file.inference.clone();
        let spec = found.resource.spec.clone();
        Ok(Self { pool, spec, pipelines, nats, http, advertise, tokens, reviews, inference, reach, process })
    }
}

impl GatewayConfig {
    /// Reads the file; flags win over it.
    pub fn read(arguments: &ServeArguments, http: Option<&str>, grpc: Option<&str>) -> Result<Self> {
        let file: Located<GatewayFile> = crds::file::settings(&arguments.config).map_err(validate::usage)?;
        let base = base(&arguments.config);
        let (plans, former) = plans(&file, base)?;
        let mut process = process(&file, &file.process, base, arguments)?;
        let settings = match &file.nats {
            Some(nats_file) => Some(nats(&file, nats_file, &file.process, base, (&process, arguments))?),
            None => match &arguments.nats {
                Some(servers) => Some(plain_nats(servers, &file.process, (&process, arguments))),
                None if file.process.payloads.is_some() => {
                    let message = "needs nats: without a broker, documents are kept in the state folder";
                    return Err(validate::usage(vec![file.error("payloads", message)]));
                }
                None => None,
            },
        };
        let servers = settings.as_ref().map(|settings| settings.servers.as_str());
        let reach = calls::of_file(&file, &file.process.calls, servers, args::variable)?;
        process.redis = process.redis.map(|redis| redis.reaching(&reach));
        let http = address(&file, "http", http.unwrap_or(&file.http))?;
        let grpc = grpc.or(file.grpc.as_deref()).map(|text| address(&file, "grpc", text)).transpose()?;
        let tokens = file.tokens.as_ref().map(|path| resolved(base, path));
        let tls = file.tls.as_ref().map(|files| TlsFiles {
            certificate: resolved(base, &files.certificate),
            key: resolved(base, &files.key),
            client_ca: files.client_ca.as_ref().map(|path| resolved(base, path)),
        });
        let reviews = kubernetes::reviews(&file, file.kubernetes.as_ref(), base, args::variable)?;
        let knows_clients =
            tokens.is_some() || reviews.is_some() || tls.as_ref().is_some_and(|files| files.client_ca.is_some());
        for (field, address) in [("http", Some(http)), ("grpc", grpc)] {
            check_reach(&file, knows_clients, field, address)?;
        }
        let retention = file.retention.clone();
        if retention.every.0.is_zero() || retention.settle.0 < retention.every.0 * 2 {
            let message = "must be at least twice every, and every longer than 0";
            return Err(validate::usage(vec![file.error("retention.settle", message)]));
        }
        let (limits, inference) = (file.limits.clone(), file.inference.clone());
        let closed = file.closed.iter().cloned().collect();
        Ok(Self {
            plans,
            former,
            closed,
            nats: settings,
            http,
            grpc,
            tokens,
            reviews,
            tls,
            farewell: file.farewell.0,
            limits,
            retention,
            inference,
            reach,
            process,
        })
    }
}

/// The plans of a gateway's pipelines, and the names of those that go on by pools as they were before.
fn plans(file: &Located<GatewayFile>, base: &Path) -> Result<(BTreeMap<String, Plan>, BTreeSet<String>)> {
    let mut plans = validate::all_plans(&resolved_all(base, &file.resources))?;
    let mut former = BTreeSet::new();
    for files in &file.former {
        for (name, plan) in validate::all_plans(&resolved_all(base, files))? {
            if plans.insert(name.clone(), plan).is_some() {
                let message = format!("the Pipeline \"{name}\" is in other files too");
                return Err(validate::usage(vec![file.error("former", message)]));
            }
            former.insert(name);
        }
    }
    if plans.is_empty() {
        return Err(Error::usage("the files hold no Pipeline"));
    }
    Ok((plans, former))
}
