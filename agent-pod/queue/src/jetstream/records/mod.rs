//! Records by compare-and-set, in several buckets: a key whose first parts are one of the scoped prefixes and a name lies in
//! the bucket of that name, every other key in the common one.
//!
//! ```text
//! documents/contracts/a.pdf   in the bucket PREFIX-records-contracts, where "documents/" is scoped
//! plans/0a1b                  in the bucket PREFIX-records
//! ```
//! So access can be limited to a name, and all that belongs to it can be removed at once. Where a key lies follows from the
//! key alone, so a read or write costs what it costs in one bucket. Must not know what the names mean.

mod bucket;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use self::bucket::{Bucket, Made, stream_of};
use super::{Settings, broker::Broker, failure::Failure, names, stash::lock};
use crate::{Error, Records, Result as PortResult, Versioned};

/// Records of a page that are read at once.
const READS_AT_ONCE: usize = 32;
/// Buckets that are remembered before those that nobody uses are forgotten.
const BUCKETS: usize = 1024;
/// The longest name of a stream that a server takes.
const LONGEST_STREAM: usize = 255;

/// The records of a broker.
pub(super) struct JetStreamRecords {
    broker: Arc<Broker>,
    scoped: Vec<&'static str>,
    /// Name of the common bucket; begins the names of the others.
    name: String,
    common: Arc<Bucket>,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
}

impl JetStreamRecords {
    /// Opens the records; the common bucket is made if it does not exist.
    pub(super) async fn open(broker: Arc<Broker>, settings: &Settings) -> Result<Self, Failure> {
        let bucket = &settings.records;
        if !names::is_plain(bucket) {
            let problem = format!("\"{bucket}\" is not 1 to 64 letters, digits, \"-\" and \"_\"");
            return Err(Failure::Setting { setting: "records", problem });
        }
        let name = format!("{}-{bucket}", broker.prefix);
        let common = Arc::new(Bucket::new(Arc::clone(&broker), &name, Made::AtOpen));
        common.ensure().await?;
        Ok(Self { broker, scoped: settings.scoped.clone(), name, common, buckets: Mutex::default() })
    }

    /// The name that a path's bucket has: of a key, and of a prefix that leaves no other.
    fn scope<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = self.scoped.iter().find_map(|prefix| path.strip_prefix(prefix))?;
        rest.split_once('/').map(|(name, _)| name)
    }

    /// Whether keys with this prefix may lie in buckets of any name.
    fn is_wide(&self, prefix: &str) -> bool {
        self.scoped.iter().any(|scoped| scoped.starts_with(prefix) || prefix.starts_with(scoped))
    }

    /// A name's bucket. A name that is too long for a stream is shortened to its beginning and a digest.
    fn bucket_name(&self, scope: &str) -> String {
        let token = names::token(scope);
        let room = LONGEST_STREAM.saturating_sub(stream_of(&self.name).len() + 1);
        if token.len() <= room {
            return format!("{}-{token}", self.name);
        }
        // No token holds two of these signs in a row.
        let end = format!("=={}", names::digest(scope));
        let begin = token.get(..room.saturating_sub(end.len())).unwrap_or_default();
        format!("{}-{begin}{end}", self.name)
    }

    fn bucket(&self, name: &str) -> Arc<Bucket> {
        let mut buckets = lock(&self.buckets);
        if let Some(bucket) = buckets.get(name) {
            return Arc::clone(bucket);
        }
        if buckets.len() >= BUCKETS {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1);
        }
        let bucket = Arc::new(Bucket::new(Arc::clone(&self.broker), name, Made::OnFirstWrite));
        buckets.insert(name.to_owned(), Arc::clone(&bucket));
        bucket
    }

    /// Where a key lies.
    fn of(&self, key: &str) -> Arc<Bucket> {
        match self.scope(key) {
            Some(scope) => self.bucket(&self.bucket_name(scope)),
            None => Arc::clone(&self.common),
        }
    }

    /// The buckets in which keys with this prefix may lie. They are asked for each time: another process may just have made
    /// one, and a scan must not miss what it has written.
    async fn buckets(&self, prefix: &str) -> Result<Vec<Arc<Bucket>>, Failure> {
        if self.scope(prefix).is_some() {
            return Ok(vec![self.of(prefix)]);
        }
        let mut buckets = vec![Arc::clone(&self.common)];
        if self.is_wide(prefix) {
            let begin = stream_of(&format!("{}-", self.name));
            let start = stream_of("").len();
            for stream in self.broker.streams().await?.iter().filter(|stream| stream.starts_with(&begin)) {
                buckets.push(self.bucket(&stream[start..]));
            }
        }
        Ok(buckets)
    }

    async fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, Versioned)>, Failure> {
        let mut keys = BTreeSet::new();
        for bucket in self.buckets(prefix).await? {
            // Streams of another installation may have names that begin like ours.
            let is_ours = |key: &str| self.of(key).stream() == bucket.stream();
            bucket.keys((prefix, after, limit), &mut keys, is_ours).await?;
        }
        let reads = keys.into_iter().map(|key| async move {
            let record = self.of(&key).read(&key).await?;
            Ok::<_, Failure>(record.map(|record| (key, record)))
        });
        // A record that was deleted since its key was listed is not there.
        stream::iter(reads).buffered(READS_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    /// Makes the bucket of a name, where it is missing.
    pub(super) async fn make_scope(&self, scope: &str) -> Result<(), Failure> {
        self.bucket(&self.bucket_name(scope)).ensure().await
    }

    /// Removes all buckets that are among these streams, the common one last.
    pub(super) async fn remove_all(&self, streams: &[String]) -> Result<(), Failure> {
        let (begin, start) = (stream_of(&format!("{}-", self.name)), stream_of("").len());
        for stream in streams.iter().filter(|stream| stream.starts_with(&begin)) {
            let bucket = self.bucket(&stream[start..]);
            // Of an empty one nobody can say whose it is.
            if self.holds(&bucket, true).await? {
                bucket.drop_all().await?;
            }
        }
        if self.holds(&self.common, false).await? {
            return Ok(());
        }
        self.common.drop_all().await
    }

    /// Whether a bucket holds records of ours; else, of an installation whose name begins like ours.
    async fn holds(&self, bucket: &Bucket, ours: bool) -> Result<bool, Failure> {
        let mut keys = BTreeSet::new();
        let is_wanted = |key: &str| (self.of(key).stream() == bucket.stream()) == ours;
        bucket.keys(("", None, 1), &mut keys, is_wanted).await?;
        Ok(!keys.is_empty())
    }

    /// Removes all records of a name; removing nothing is no error.
    pub(super) async fn remove_scope(&self, scope: &str) -> Result<(), Failure> {
        self.bucket(&self.bucket_name(scope)).drop_all().await
    }
}

#[async_trait]
impl Records for JetStreamRecords {
    async fn get(&self, key: &str) -> PortResult<Option<Versioned>> {
        self.of(key).read(key).await.map_err(|failure| failure.during("read a record"))
    }

    async fn create(&self, key: &str, bytes: Bytes) -> PortResult<u64> {
        self.of(key).write(key, 0, bytes).await
    }

    async fn update(&self, key: &str, revision: u64, bytes: Bytes) -> PortResult<u64> {
        if revision == 0 {
            // No record has this revision; the broker would take it for "does not exist".
            return Err(Error::Conflict { key: key.to_owned() });
        }
        self.of(key).write(key, revision, bytes).await
    }

    async fn delete(&self, key: &str) -> PortResult<()> {
        self.of(key).delete(key).await.map_err(|failure| failure.during("delete a record"))
    }

    async fn remove(&self, key: &str, revision: u64) -> PortResult<()> {
        match self.of(key).remove(key, revision).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Conflict { key: key.to_owned() }),
            Err(failure) => Err(failure.during("remove a record")),
        }
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> PortResult<Vec<(String, Versioned)>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.page(prefix, after, limit).await.map_err(|failure| failure.during("read a page of records"))
    }
}
