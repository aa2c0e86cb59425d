//! What the levels hold, and how it is removed: for a person who asks, while no pipeline needs to run.

use std::{
    collections::{BTreeSet, HashSet},
    io::{self, Read as _},
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, aio::MultiplexedConnection, cmd, pipe,
};

use super::{
    RedisSettings, disk,
    kept::{self, HEAD},
};

/// Keys that a server is asked for at once.
const PAGE: usize = 500;
/// All versions of the format.
const PATTERN: &str = "docket:cache:*";
/// Longest time for a connection, and for each answer.
const LONGEST: Duration = Duration::from_secs(10);

/// Results of a level, or those that were removed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Holding {
    /// How many.
    pub entries: u64,
    /// How large, as they are kept.
    pub bytes: u64,
}

impl Holding {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

/// What lies in a cache folder; nothing where there is no such folder.
pub fn on_disk(folder: &Path) -> io::Result<Holding> {
    let mut holding = Holding::default();
    if folder.is_dir() {
        disk::files(folder)?.iter().for_each(|(_, metadata)| holding.add(metadata.len()));
    }
    Ok(holding)
}

/// Removes what was made before a time (milliseconds since the epoch) from a cache folder, or everything; says what it was.
pub fn clear_disk(folder: &Path, made_before: Option<u64>) -> io::Result<Holding> {
    let mut removed = Holding::default();
    if !folder.is_dir() {
        return Ok(removed);
    }
    for (path, metadata) in disk::files(folder)? {
        if let Some(limit) = made_before
            && made_at(&path)?.or_else(|| written_at(&metadata)).is_some_and(|at| at >= limit)
        {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => removed.add(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn made_at(path: &Path) -> io::Result<Option<u64>> {
    let mut head = Vec::with_capacity(HEAD);
    match std::fs::File::open(path) {
        Ok(file) => file.take(HEAD as u64).read_to_end(&mut head)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(kept::made_at(&head))
}

/// For files that this version of the program has not written, or not yet whole.
fn written_at(metadata: &std::fs::Metadata) -> Option<u64> {
    let elapsed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(elapsed.as_millis()).ok()
}

/// Removes results by their keys from a cache folder; how many were there.
pub fn erase_disk(folder: &Path, keys: &BTreeSet<String>) -> io::Result<u64> {
    let mut removed = 0;
    // Keys are digests; anything else names no result, least of all a path.
    for key in keys.iter().filter(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        match std::fs::remove_file(disk::path(folder, key)) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Removes results by their keys from a server, and looks again; how many were there, and how many are there.
pub async fn erase_redis(settings: &RedisSettings, keys: &BTreeSet<String>) -> Result<(u64, u64), RedisError> {
    let mut connection = connect(settings).await?;
    let names: Vec<Vec<u8>> = keys.iter().map(|key| super::redis::name(key).into_bytes()).collect();
    let (mut removed, mut left) = (0, 0);
    for names in names.chunks(PAGE) {
        // DEL, not UNLINK: the memory is free when it answers.
        let gone: Vec<u64> = ask(&mut connection, names, |commands, name| {
            commands.cmd("DEL").arg(name);
        })
        .await?;
        removed += gone.iter().sum::<u64>();
        left += lengths(&mut connection, names).await?.iter().filter(|&&length| length > 0).count() as u64;
    }
    Ok((removed, left))
}

/// What a server holds of all pipelines and tenants.
pub async fn on_redis(settings: &RedisSettings) -> Result<Holding, RedisError> {
    let mut connection = connect(settings).await?;
    let mut holding = Holding::default();
    let mut pages = Pages::default();
    while let Some(keys) = pages.next(&mut connection).await? {
        for length in lengths(&mut connection, &keys).await?.into_iter().filter(|&length| length > 0) {
            holding.add(length);
        }
    }
    Ok(holding)
}

/// Removes from a server what was made before a time, or everything; says what it was. What another version of the program
/// has written has no known age and goes too.
pub async fn clear_redis(settings: &RedisSettings, made_before: Option<u64>) -> Result<Holding, RedisError> {
    let mut connection = connect(settings).await?;
    let mut removed = Holding::default();
    let mut pages = Pages::default();
    while let Some(mut keys) = pages.next(&mut connection).await? {
        if let Some(limit) = made_before {
            let heads: Vec<Vec<u8>> = ask(&mut connection, &keys, |commands, key| {
                commands.cmd("GETRANGE").arg(key).arg(0).arg(HEAD - 1);
            })
            .await?;
            let mut old = heads.iter().map(|head| kept::made_at(head).is_none_or(|made_at| made_at < limit));
            keys.retain(|_| old.next().unwrap_or(false));
        }
        let lengths = lengths(&mut connection, &keys).await?;
        let gone: Vec<u64> = ask(&mut connection, &keys, |commands, key| {
            commands.cmd("UNLINK").arg(key);
        })
        .await?;
        lengths.into_iter().zip(gone).filter(|(_, gone)| *gone > 0).for_each(|(length, _)| removed.add(length));
    }
    Ok(removed)
}

async fn connect(settings: &RedisSettings) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LONGEST)).set_response_timeout(Some(LONGEST));
    Client::open(settings.info.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

/// Bytes of the values; 0 for one that has gone.
async fn lengths(connection: &mut MultiplexedConnection, keys: &[Vec<u8>]) -> Result<Vec<u64>, RedisError> {
    ask(connection, keys, |commands, key| {
        commands.cmd("STRLEN").arg(key);
    })
    .await
}

/// One question for each key, all sent at once.
async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    keys: &[Vec<u8>],
    question: impl Fn(&mut Pipeline, &[u8]),
) -> Result<Vec<T>, RedisError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut commands = pipe();
    keys.iter().for_each(|key| question(&mut commands, key));
    commands.query_async(connection).await
}

/// The keys of the cache, a page at a time, each once although Redis may tell of one twice.
#[derive(Default)]
struct Pages {
    cursor: u64,
    ended: bool,
    seen: HashSet<Vec<u8>>,
}

impl Pages {
    async fn next(&mut self, connection: &mut MultiplexedConnection) -> Result<Option<Vec<Vec<u8>>>, RedisError> {
        if self.ended {
            return Ok(None);
        }
        let mut scan = cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(PATTERN).arg("COUNT").arg(PAGE).arg("TYPE").arg("string");
        let (cursor, mut keys): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
        self.cursor = cursor;
        self.ended = cursor == 0;
        keys.retain(|key| self.seen.insert(key.clone()));
        Ok(Some(keys))
    }
}
