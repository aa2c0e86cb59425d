//! Whom a process calls of those that somebody else has written down.
//!
//! Whoever writes a pool or a pipeline names servers, and an agent calls them from where it stands: beside the metadata service
//! of its machine, the API server and the broker, which its author may not reach. So an agent whose administrator says so
//! calls none of these, whatever the address is written as, a name leads to, or a redirect asks for.
//!
//! ```text
//! URL ──► port, host as written ──► names looked up ──► addresses that are left ──► connection to one of these
//!              ▲                                                                        │
//!              └───────────────────────────── redirect ◄────────────────────────────────┘
//! ```
//!
//! Knows nothing of pools and pipelines, nor of who its caller is.

mod http;
mod kinds;
mod own;

use std::{fmt, io, net::IpAddr, sync::Arc};

pub use kinds::{Kind, kind};
pub use own::{Names, SystemNames};
use own::{OwnHosts, plain};

/// Ports of the servers that a cluster consists of: etcd, NATS (clients, routes, its monitor), the API server, kubelets. Behind
/// a Service or on a machine these have addresses that nobody can tell beforehand.
const PORTS: [u16; 8] = [2379, 2380, 4222, 6222, 6443, 8222, 10250, 10255];

/// Whom a process calls: anybody, or whom its rules allow.
#[derive(Clone, Default)]
pub struct Reach(Option<Arc<Rules>>);

/// What rules are made of.
pub struct Settings {
    /// Hosts of the cluster itself, names or addresses, each with what it is.
    pub own: Vec<(Kind, String)>,
    /// Addresses that are called whatever they are.
    pub except: Vec<IpAddr>,
    /// Where names are looked up.
    pub names: Arc<dyn Names>,
}

struct Rules {
    own: OwnHosts,
    except: Vec<IpAddr>,
    names: Arc<dyn Names>,
}

/// A server that is not called. For whoever wrote its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// As it was written.
    pub host: String,
    /// What its name leads to, where it is a name and was looked up.
    pub address: Option<IpAddr>,
    /// Why.
    pub kind: Kind,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, kind, .. } = self;
        match self.address {
            Some(address) => write!(formatter, "{host} resolves to {address}, {kind}")?,
            None => write!(formatter, "{host} is {kind}")?,
        }
        write!(
            formatter,
            ", which agents in a cluster do not call; name a Service with a server of yours, or a server outside the cluster"
        )
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The refusal behind an error of a client, if there is one.
    pub fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref::<Self>() {
                return Some(refused);
            }
            // An error of the system hides what it was made of from those who ask for its source.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
        }
        None
    }
}

/// Why a host has no addresses to connect to.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    /// For whoever wrote it.
    #[error("it is not called")]
    Refuse(#[source] Refused),
    /// May pass.
    #[error("failed to look it up")]
    Find(#[source] io::Error),
}

impl Reach {
    /// Anybody: for processes whose user writes the addresses.
    pub fn anybody() -> Self {
        Self(None)
    }

    /// Whom these rules allow.
    pub fn guarded(settings: Settings) -> Self {
        let Settings { own, except, names } = settings;
        Self(Some(Arc::new(Rules { own: OwnHosts::new(own), except, names })))
    }

    /// Whether there are rules.
    pub fn is_guarded(&self) -> bool {
        self.0.is_some()
    }

    /// Addresses of a host that may be connected to, for clients that speak no HTTP; without rules `None`: any.
    ///
    /// # Errors
    /// None of its addresses is called, or it has none.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Option<Vec<IpAddr>>, LookUpError> {
        let Some(rules) = &self.0 else { return Ok(None) };
        let (rules, host) = (Arc::clone(rules), host.to_owned());
        let found = tokio::task::spawn_blocking(move || rules.addresses(&host, Some(port))).await;
        found.unwrap_or_else(|error| Err(LookUpError::Find(io::Error::other(error)))).map(Some)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_guarded() { "Reach(guarded)" } else { "Reach(anybody)" })
    }
}

impl Rules {
    /// What can be said of a host as it is written; its address, where it is one.
    fn host(&self, written: &str, port: Option<u16>) -> Result<Option<IpAddr>, Refused> {
        let host = plain(written);
        let refused = |host: String, kind| Refused { host, address: None, kind };
        let address = host.parse::<IpAddr>().ok();
        if address.is_some_and(|address| self.except.contains(&address)) {
            return Ok(address);
        }
        if let Some(port) = port.filter(|port| PORTS.contains(port)) {
            return Err(refused(format!("{written}:{port}"), Kind::Port));
        }
        let kind = match address {
            Some(address) => self.kind(address),
            None => self.own.named(&host),
        };
        kind.map_or(Ok(address), |kind| Err(refused(host, kind)))
    }

    fn kind(&self, address: IpAddr) -> Option<Kind> {
        if self.except.contains(&address) {
            return None;
        }
        kind(address).or_else(|| self.own.kind(address))
    }

    /// The addresses of a host that are called. Blocks.
    fn addresses(&self, written: &str, port: Option<u16>) -> Result<Vec<IpAddr>, LookUpError> {
        // What is known is said at once, without waiting for name servers.
        let known = self.host(written, port).map_err(LookUpError::Refuse)?;
        if let Some(address) = known.filter(|address| self.except.contains(address)) {
            return Ok(vec![address]);
        }
        self.own.look_up(self.names.as_ref());
        if let Some(address) = self.host(written, port).map_err(LookUpError::Refuse)? {
            return Ok(vec![address]);
        }
        let found = self.names.addresses(written).map_err(LookUpError::Find)?;
        let called: Vec<IpAddr> = found.iter().copied().filter(|&address| self.kind(address).is_none()).collect();
        match found.iter().find_map(|&address| Some((address, self.kind(address)?))) {
            Some((address, kind)) if called.is_empty() => {
                Err(LookUpError::Refuse(Refused { host: written.to_owned(), address: Some(address), kind }))
            }
            _ => Ok(called),
        }
    }
}
