//! Who may do what at the broker: the subjects that each kind of process needs, and no other.
//!
//! An account of the broker holds one namespace, so a `*` in the place of a stream is a stream of the namespace. In it all
//! processes read the same records and payloads; what is kept apart is whose tasks are taken and settled, who speaks as whom,
//! and who makes and removes streams. Must not know keys or how a permission is written down.
//!
//! A server answers to whatever subject a request names, whether its sender may publish there or not. Therefore what must not
//! be written by somebody lies in another account, or is as well his to write: `docs/adr/0012`.

use super::{names, pool::class_name};
use crate::Priority;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role<'a> {
    /// Makes and removes everything of the namespace.
    Operator,
    /// Works the tasks of a pool.
    Agents {
        /// The pool.
        pool: &'a str,
        /// Begins the key of the status that tells them who is to rest; the pool ends it.
        orders: &'a str,
    },
    /// Takes documents in, rings the alarms, keeps the namespace tidy, and works the tasks of a pool of its own.
    Gateway {
        /// The pool whose tasks it works.
        pool: &'a str,
        /// Begins the keys of what it says of itself.
        statuses: &'a str,
    },
}

/// Subjects that may be published to, and listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permissions {
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
}

impl Role<'_> {
    /// Begins the subjects of answers to such processes.
    pub fn inbox(&self) -> String {
        format!("_INBOX_{}", self.name())
    }

    /// Names the role within its account.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Operator => "operator".to_owned(),
            Self::Agents { pool, .. } => format!("agents.{}", names::token(pool)),
            Self::Gateway { .. } => "gateway".to_owned(),
        }
    }

    /// What it may do, where names begin with `prefix`; `None` is everything of its account.
    pub(super) fn permissions(&self, prefix: &str) -> Option<Permissions> {
        let inbox = format!("{}.>", self.inbox());
        let mut publish = common(prefix);
        let mut subscribe = vec![inbox.clone(), format!("{prefix}.events.>")];
        match self {
            Self::Operator => return None,
            Self::Agents { pool, orders } => {
                subscribe.push(format!("{prefix}.status.{}", names::path(&format!("{orders}{pool}"))));
                publish.extend(work(&tasks(prefix, pool), &Priority::ALL.map(class_name)));
                publish.push(format!("{prefix}.status.{}.>", names::token(pool)));
                // Alarms that are set anew, and pieces of a payload that another process has stored too.
                publish.extend(["timers", "payloads"].map(|what| format!("$JS.API.STREAM.PURGE.{prefix}-{what}")));
            }
            Self::Gateway { pool, statuses } => {
                publish.extend(work(&tasks(prefix, pool), &Priority::ALL.map(class_name)));
                publish.extend(work(&format!("{prefix}-timers"), &["due"]));
                publish.push(format!("{prefix}.status.{}>", names::path(statuses.trim_end_matches('/')) + "."));
                // How much waits for each pool, and whether a task was given to a worker.
                publish.push("$JS.API.CONSUMER.INFO.*.*".to_owned());
                // Documents that are erased or have ended long ago: their records, tasks and payloads.
                publish.push("$JS.API.STREAM.PURGE.*".to_owned());
                publish.push(format!("$JS.API.STREAM.MSG.DELETE.{prefix}-payloads"));
            }
        }
        publish.push(inbox);
        Some(Permissions { publish, subscribe })
    }
}

fn tasks(prefix: &str, pool: &str) -> String {
    format!("{prefix}-tasks-{}", names::token(pool))
}

/// What workers and gateways have in common: reading what there is, and writing what the ports write.
fn common(prefix: &str) -> Vec<String> {
    let api = ["INFO", "STREAM.NAMES", "STREAM.INFO.*", "STREAM.MSG.GET.*"].map(|call| format!("$JS.API.{call}"));
    let written = ["tasks.*.*.*", "timers.*.set", "payloads.>", "events.>"].map(|what| format!("{prefix}.{what}"));
    // The buckets of records are the only ones of the broker's key-value store that there are.
    let records = "$KV.*.>".to_owned();
    api.into_iter().chain(written).chain([records]).collect()
}

/// Taking messages of a stream by these consumers, and settling them. Servers name an acknowledgement in one of two ways: with
/// stream, consumer and five numbers, or with a domain and an account before these and maybe more behind them (from 2.14 on if
/// they are told to).
///
/// The words are counted, for the number of deliveries is not looked at: where `$JS.ACK.*.*.STREAM.>` may be published, so may
/// `$JS.ACK.OTHER.CONSUMER.STREAM.1.1.1.0`, which settles a message of the other stream.
fn work(stream: &str, consumers: &[&str]) -> Vec<String> {
    let calls =
        |consumer: &&str| ["MSG.NEXT", "INFO"].map(|call| format!("$JS.API.CONSUMER.{call}.{stream}.{consumer}"));
    let acknowledged = [format!("$JS.ACK.{stream}.*.*.*.*.*.*"), format!("$JS.ACK.*.*.{stream}.*.*.*.*.*.>")];
    consumers.iter().flat_map(calls).chain(acknowledged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_stay_apart_and_cannot_be_wildcards() {
        let agents = |pool| Role::Agents { pool, orders: "_orders/" }.permissions("docket-a").expect("limits");
        let gateway = Role::Gateway { pool: "_results", statuses: "_gateways/" };
        let inboxes = ["readers", "*", ">", "a.b", "gateway", ""].map(|pool| Role::Agents { pool, orders: "" }.inbox());
        let mut different = inboxes.to_vec();
        different.extend([gateway.inbox(), Role::Operator.inbox()]);
        assert!(different.iter().all(|inbox| names::is_subject(inbox)), "{different:?}");
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 8);
        assert!(agents("*").publish.contains(&"docket-a.status.=2A.>".to_owned()));
        assert!(agents("r").publish.contains(&"$JS.API.CONSUMER.MSG.NEXT.docket-a-tasks-r.low".to_owned()));
        let gateway = gateway.permissions("docket-a").expect("limits");
        assert!(gateway.publish.contains(&"docket-a.status._gateways.>".to_owned()), "{gateway:?}");
    }
}
