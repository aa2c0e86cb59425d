//! What is of the cluster itself: its API server, its broker, the process that asks. They have names, whose addresses change.

use std::{
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::kinds::{Kind, meanings};

/// How long addresses of a name count: as long as a cluster's name server lets others keep them.
const KEPT: Duration = Duration::from_secs(30);

/// From names to addresses.
pub trait Names: Send + Sync {
    /// All addresses of a name. Blocks.
    ///
    /// # Errors
    /// It has none, or nobody says so.
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's names: its files, and the name servers of its cluster.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Hosts that are nobody's but the cluster's, and their addresses as they were last known.
pub(super) struct OwnHosts {
    hosts: Vec<(Kind, String)>,
    /// For each host its addresses.
    known: RwLock<Vec<Vec<IpAddr>>>,
    /// When they were looked up; whoever looks holds it.
    looked: Mutex<Option<Instant>>,
}

impl OwnHosts {
    /// `hosts` are names or addresses.
    pub(super) fn new(hosts: Vec<(Kind, String)>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(|(kind, host)| (kind, plain(&host))).collect();
        let known = hosts.iter().map(|(_, host)| host.parse().into_iter().collect()).collect();
        Self { hosts, known: RwLock::new(known), looked: Mutex::default() }
    }

    /// Whether addresses are so old that they must be looked up again, or somebody does so now. Does not block.
    pub(super) fn are_old(&self) -> bool {
        self.looked.try_lock().map_or(true, |looked| looked.is_none_or(|at| at.elapsed() >= KEPT))
    }

    /// Looks the addresses up that are too old. What nobody can tell now stays as it was. Blocks.
    pub(super) fn look_up(&self, names: &dyn Names) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < KEPT) {
            return;
        }
        for (place, (_, host)) in self.hosts.iter().enumerate() {
            if host.parse::<IpAddr>().is_ok() {
                continue;
            }
            if let Ok(found) = names.addresses(host) {
                self.known.write().unwrap_or_else(PoisonError::into_inner)[place] = found;
            }
        }
        *looked = Some(Instant::now());
    }

    /// Whose a name is.
    pub(super) fn named(&self, host: &str) -> Option<Kind> {
        self.hosts.iter().find(|(_, own)| own == host).map(|(kind, _)| *kind)
    }

    /// Whose an address is, or one that it stands for.
    pub(super) fn kind(&self, address: IpAddr) -> Option<Kind> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of = |address: IpAddr| known.iter().position(|addresses| addresses.contains(&address));
        meanings(address).find_map(of).map(|place| self.hosts[place].0)
    }
}

/// A host as it is compared: without brackets, without the dot at its end, in small letters.
pub(super) fn plain(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    inner.strip_suffix('.').unwrap_or(inner).to_ascii_lowercase()
}
