//! What the levels hold, and how it is removed: for a person who asks, while no pipeline needs to run.

use std::{
    collections::HashSet,
    io::{self, Read as _},
    ops::AddAssign,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use redis::{AsyncConnectionConfig, FromRedisValue, Pipeline, RedisError, aio::MultiplexedConnection, cmd, pipe};
use serde::{Deserialize, Serialize};

use super::{
    ErasedResults, RedisSettings, Selection, disk,
    kept::{self, HEAD},
    redis as level,
    semantic::{self, shadow::Checked},
};

/// Keys that a server is asked for at once.
const PAGE: usize = 500;
/// Answers of a scope that are read at once: each may have some kilobytes.
const ANSWERS: usize = 100;
/// Longest time for a connection, and for each answer.
const LONGEST: Duration = Duration::from_secs(10);

/// Results of a level, or those that were removed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// How many.
    pub entries: u64,
    /// How large, as they are kept.
    pub bytes: u64,
    /// Of these, answers that also serve nearly equal prompts.
    pub semantic: Semantic,
}

/// What the semantic part has in a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Semantic {
    /// How many.
    pub entries: u64,
    /// How large.
    pub bytes: u64,
}

impl Holding {
    /// A result of the exact part.
    pub(super) fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }

    /// Answers of the semantic part.
    pub(super) fn add_semantic(&mut self, entries: u64, bytes: u64) {
        self.entries += entries;
        self.bytes += bytes;
        self.semantic.entries += entries;
        self.semantic.bytes += bytes;
    }
}

impl AddAssign for Holding {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries - other.semantic.entries;
        self.bytes += other.bytes - other.semantic.bytes;
        self.add_semantic(other.semantic.entries, other.semantic.bytes);
    }
}

/// What lies in a cache folder; nothing where there is no such folder.
pub fn on_disk(folder: &Path) -> io::Result<Holding> {
    let mut holding = Holding::default();
    disk::files(folder)?.iter().for_each(|(_, metadata)| holding.add(metadata.len()));
    disk::files(&semantic::folder(folder))?.iter().for_each(|(_, file)| holding.add_semantic(1, file.len()));
    Ok(holding)
}

/// How often answers of the semantic part were checked, by all processes that had this folder.
pub fn checked_on_disk(folder: &Path) -> Checked {
    semantic::shadow::read(&semantic::folder(folder))
}

/// Removes what is meant from a cache folder; says what it was.
pub fn clear_disk(folder: &Path, selection: &Selection) -> io::Result<Holding> {
    let mut removed = Holding::default();
    for (path, metadata) in disk::files(folder)? {
        if is_meant(&path, &metadata, selection)? && removes(&path)? {
            removed.add(metadata.len());
        }
    }
    for (path, metadata) in disk::files(&semantic::folder(folder))? {
        if is_meant(&path, &metadata, selection)? && removes(&path)? {
            removed.add_semantic(1, metadata.len());
        }
    }
    Ok(removed)
}

/// Whether a file was there to be removed.
fn removes(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_meant(path: &Path, metadata: &std::fs::Metadata, selection: &Selection) -> io::Result<bool> {
    if selection.is_all() {
        return Ok(true);
    }
    let Some(head) = read_head(path)? else { return Ok(false) };
    Ok(match kept::head(&head) {
        Some(head) => selection.means(&head),
        None => selection.means_unknown(written_at(metadata)),
    })
}

/// The first bytes of a file; `None` where it has gone.
fn read_head(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::with_capacity(HEAD);
    match std::fs::File::open(path) {
        Ok(file) => file.take(HEAD as u64).read_to_end(&mut head).map(|_| Some(head)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// For files that this version of the program has not written, or not yet whole.
fn written_at(metadata: &std::fs::Metadata) -> Option<u64> {
    let elapsed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(elapsed.as_millis()).ok()
}

/// Removes what an erasure is about from a cache folder, and looks again; how many were there, and how many are there.
pub fn erase_disk(folder: &Path, erased: &ErasedResults) -> io::Result<(u64, u64)> {
    let mut removed = 0;
    for path in erased_files(folder, erased)? {
        removed += u64::from(removes(&path)?);
    }
    Ok((removed, erased_files(folder, erased)?.len() as u64))
}

/// The files of the exact and of the semantic part that an erasure is about.
fn erased_files(folder: &Path, erased: &ErasedResults) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if erased.is_empty() {
        return Ok(found);
    }
    // A file of the exact part has the rest of its key for a name, one of the semantic part all of it.
    for (path, _) in disk::files(folder)? {
        let shard = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let key = format!("{}{}", shard.unwrap_or_default(), file_name(&path));
        if is_erased(&path, &key, erased)? {
            found.push(path);
        }
    }
    for (path, _) in disk::files(&semantic::folder(folder))? {
        if is_erased(&path, &file_name(&path), erased)? {
            found.push(path);
        }
    }
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Of what another version has written, or has not written whole, nobody can say whose it is: it goes with what goes.
fn is_erased(path: &Path, key: &str, erased: &ErasedResults) -> io::Result<bool> {
    Ok(read_head(path)?.is_some_and(|head| kept::head(&head).is_none_or(|head| erased.means(key, &head))))
}

/// Removes what an erasure is about from a server, and looks again; how many were there, and how many are there.
pub async fn erase_redis(settings: &RedisSettings, erased: &ErasedResults) -> Result<(u64, u64), RedisError> {
    if erased.is_empty() {
        return Ok((0, 0));
    }
    let mut connection = connect(settings).await?;
    let mut removed = 0;
    for (keys, answers) in erased_keys(&mut connection, erased).await? {
        // DEL, not UNLINK: the memory is free when it answers.
        let gone: Vec<u64> = ask(&mut connection, &keys, |commands, key| {
            commands.cmd("DEL").arg(key);
        })
        .await?;
        removed += gone.iter().zip(answers).map(|(gone, answers)| gone * answers).sum::<u64>();
    }
    let left = erased_keys(&mut connection, erased).await?.iter().flat_map(|(_, answers)| answers).sum();
    Ok((removed, left))
}

/// The keys of a server that hold something that an erasure is about, and how many results each. A scope goes whole: a
/// stream only marks the entries that are removed from it, and all of its answers can be made again.
async fn erased_keys(
    connection: &mut MultiplexedConnection,
    erased: &ErasedResults,
) -> Result<Vec<(Vec<Vec<u8>>, Vec<u64>)>, RedisError> {
    let mut found = Vec::new();
    let mut pages = Pages::new(level::PATTERN, "string");
    while let Some(mut keys) = pages.next(connection).await? {
        let heads: Vec<Vec<u8>> = ask(connection, &keys, |commands, key| {
            commands.cmd("GETRANGE").arg(key).arg(0).arg(HEAD - 1);
        })
        .await?;
        let mut heads = heads.iter();
        keys.retain(|name| heads.next().is_some_and(|head| !head.is_empty() && is_erased_there(name, head, erased)));
        let answers = vec![1; keys.len()];
        found.push((keys, answers));
    }
    let mut scopes = Pages::new(semantic::redis::PATTERN, "stream");
    while let Some(keys) = scopes.next(connection).await? {
        for key in keys {
            let answers = erased_answers(connection, &key, erased).await?;
            if answers > 0 {
                found.push((vec![key], vec![answers]));
            }
        }
    }
    Ok(found)
}

/// How many answers of a scope an erasure is about.
async fn erased_answers(
    connection: &mut MultiplexedConnection,
    scope: &[u8],
    erased: &ErasedResults,
) -> Result<u64, RedisError> {
    let (mut answers, mut after) = (0, "-".to_owned());
    loop {
        let entries = answers_after(connection, scope, &after).await?;
        let Some(last) = entries.last() else { return Ok(answers) };
        after = format!("({}", last.id);
        let meant = entries.iter().filter(|entry| is_erased_there(entry.key.as_bytes(), &entry.value, erased));
        answers += meant.count() as u64;
    }
}

/// `name`: of a key at the server, which ends with that of the cache.
fn is_erased_there(name: &[u8], bytes: &[u8], erased: &ErasedResults) -> bool {
    let name = String::from_utf8_lossy(name);
    let key = name.rsplit(':').next().unwrap_or_default();
    kept::head(bytes).is_none_or(|head| erased.means(key, &head))
}

/// What a server holds of all pipelines and tenants.
pub async fn on_redis(settings: &RedisSettings) -> Result<Holding, RedisError> {
    let mut connection = connect(settings).await?;
    let mut holding = Holding::default();
    let mut pages = Pages::new(level::PATTERN, "string");
    while let Some(keys) = pages.next(&mut connection).await? {
        for length in lengths(&mut connection, &keys).await?.into_iter().filter(|&length| length > 0) {
            holding.add(length);
        }
    }
    let mut scopes = Pages::new(semantic::redis::PATTERN, "stream");
    while let Some(keys) = scopes.next(&mut connection).await? {
        for (entries, bytes) in sizes(&mut connection, &keys).await? {
            holding.add_semantic(entries, bytes);
        }
    }
    Ok(holding)
}

/// How often answers of the semantic part were checked, by all processes that shared the server.
pub async fn checked_on_redis(settings: &RedisSettings) -> Result<Checked, RedisError> {
    let mut connection = connect(settings).await?;
    let mut ask = cmd("HMGET");
    ask.arg(semantic::redis::CHECKED).arg("checked").arg("wrong");
    let (checked, wrong): (Option<u64>, Option<u64>) = ask.query_async(&mut connection).await?;
    Ok(Checked { checked: checked.unwrap_or(0), wrong: wrong.unwrap_or(0) })
}

/// Removes what is meant from a server; says what it was. What another version of the program has written has no known age
/// and goes too.
pub async fn clear_redis(settings: &RedisSettings, selection: &Selection) -> Result<Holding, RedisError> {
    let mut connection = connect(settings).await?;
    let mut removed = Holding::default();
    let mut pages = Pages::new(level::PATTERN, "string");
    while let Some(mut keys) = pages.next(&mut connection).await? {
        if !selection.is_all() {
            let heads: Vec<Vec<u8>> = ask(&mut connection, &keys, |commands, key| {
                commands.cmd("GETRANGE").arg(key).arg(0).arg(HEAD - 1);
            })
            .await?;
            let mut meant = heads.iter().map(|head| is_meant_there(head, selection));
            keys.retain(|_| meant.next().unwrap_or(false));
        }
        let lengths = lengths(&mut connection, &keys).await?;
        let gone = unlink(&mut connection, &keys).await?;
        lengths.into_iter().zip(gone).filter(|(_, gone)| *gone > 0).for_each(|(length, _)| removed.add(length));
    }
    let mut scopes = Pages::new(semantic::redis::PATTERN, "stream");
    while let Some(keys) = scopes.next(&mut connection).await? {
        if selection.is_all() {
            let sizes = sizes(&mut connection, &keys).await?;
            let gone = unlink(&mut connection, &keys).await?;
            let gone = sizes.into_iter().zip(gone).filter(|(_, gone)| *gone > 0);
            gone.for_each(|((entries, bytes), _)| removed.add_semantic(entries, bytes));
            continue;
        }
        for key in keys {
            removed += clear_scope(&mut connection, &key, selection).await?;
        }
    }
    Ok(removed)
}

async fn clear_scope(
    connection: &mut MultiplexedConnection,
    key: &[u8],
    selection: &Selection,
) -> Result<Holding, RedisError> {
    let mut removed = Holding::default();
    let mut after = "-".to_owned();
    loop {
        let entries = answers_after(connection, key, &after).await?;
        let Some(last) = entries.last() else { return Ok(removed) };
        after = format!("({}", last.id);
        let meant: Vec<_> = entries.iter().filter(|entry| is_meant_there(&entry.value, selection)).collect();
        if !meant.is_empty() {
            let mut delete = cmd("XDEL");
            delete.arg(key);
            for entry in &meant {
                delete.arg(&entry.id);
            }
            delete.exec_async(connection).await?;
            let bytes = meant.iter().map(|entry| entry.value.len() as u64).sum();
            removed.add_semantic(meant.len() as u64, bytes);
        }
    }
}

/// Some answers of a scope, from a place on.
async fn answers_after(
    connection: &mut MultiplexedConnection,
    scope: &[u8],
    after: &str,
) -> Result<Vec<semantic::redis::Entry>, RedisError> {
    let mut range = cmd("XRANGE");
    range.arg(scope).arg(after).arg("+").arg("COUNT").arg(ANSWERS);
    Ok(semantic::redis::entries(range.query_async(connection).await?))
}

fn is_meant_there(bytes: &[u8], selection: &Selection) -> bool {
    kept::head(bytes).map_or_else(|| selection.means_unknown(None), |head| selection.means(&head))
}

async fn connect(settings: &RedisSettings) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LONGEST)).set_response_timeout(Some(LONGEST));
    settings.connect(config).await
}

/// Bytes of the values; 0 for one that has gone.
async fn lengths(connection: &mut MultiplexedConnection, keys: &[Vec<u8>]) -> Result<Vec<u64>, RedisError> {
    ask(connection, keys, |commands, key| {
        commands.cmd("STRLEN").arg(key);
    })
    .await
}

/// How many answers scopes hold, and the memory that they take up at the server.
async fn sizes(connection: &mut MultiplexedConnection, keys: &[Vec<u8>]) -> Result<Vec<(u64, u64)>, RedisError> {
    let entries: Vec<u64> = ask(connection, keys, |commands, key| {
        commands.cmd("XLEN").arg(key);
    })
    .await?;
    let bytes: Vec<Option<u64>> = ask(connection, keys, |commands, key| {
        commands.cmd("MEMORY").arg("USAGE").arg(key);
    })
    .await?;
    Ok(entries.into_iter().zip(bytes.into_iter().map(Option::unwrap_or_default)).collect())
}

/// Removes keys; 1 for each that was there.
async fn unlink(connection: &mut MultiplexedConnection, keys: &[Vec<u8>]) -> Result<Vec<u64>, RedisError> {
    ask(connection, keys, |commands, key| {
        commands.cmd("UNLINK").arg(key);
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
struct Pages {
    pattern: &'static str,
    kind: &'static str,
    cursor: u64,
    ended: bool,
    seen: HashSet<Vec<u8>>,
}

impl Pages {
    fn new(pattern: &'static str, kind: &'static str) -> Self {
        Self { pattern, kind, cursor: 0, ended: false, seen: HashSet::new() }
    }

    async fn next(&mut self, connection: &mut MultiplexedConnection) -> Result<Option<Vec<Vec<u8>>>, RedisError> {
        if self.ended {
            return Ok(None);
        }
        let mut scan = cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(self.pattern).arg("COUNT").arg(PAGE).arg("TYPE").arg(self.kind);
        let (cursor, mut keys): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
        self.cursor = cursor;
        self.ended = cursor == 0;
        keys.retain(|key| self.seen.insert(key.clone()));
        Ok(Some(keys))
    }
}
