//! Answers on the shared server: a stream a scope, bounded, of which every process reads what it has not seen yet.

use redis::{Pipeline, Value, cmd, from_redis_value, pipe};

use super::{
    super::{
        kept::Kept,
        redis::{Redis, milliseconds},
    },
    Near,
};

/// Begins the key of every scope; the number changes with the format.
const PREFIX: &str = "docket:semantic:1:";
/// The scopes of all versions of the format.
pub(in super::super) const PATTERN: &str = "docket:semantic:*";
/// How often answers were checked.
pub(in super::super) const CHECKED: &str = "docket:semantic:checked";
/// Answers that one lookup reads at most: with some kilobytes each they come within its time, and the next lookup reads on.
const AT_ONCE: usize = 16;
/// Largest answer that is shared.
const LARGEST: usize = 32 << 10;

/// An answer as it stands in a stream.
pub(in super::super) struct Entry {
    /// Grows along the stream.
    pub(in super::super) id: String,
    pub(in super::super) key: String,
    pub(in super::super) value: Vec<u8>,
}

/// What has come since `seen`, and until where that is now; `None` where Redis does not answer.
pub(super) async fn since(redis: &Redis, scope: &str, seen: &str) -> Option<(Vec<(String, Kept)>, Option<String>)> {
    let from = if seen.is_empty() { "-".to_owned() } else { format!("({seen}") };
    let mut range = cmd("XRANGE");
    range.arg(name(scope)).arg(from).arg("+").arg("COUNT").arg(AT_ONCE);
    let found: Vec<Value> = redis.ask(&range, "look nearly equal prompts up").await?;
    let entries = entries(found);
    let last = entries.last().map(|entry| entry.id.clone());
    let kept = entries.into_iter().filter_map(|entry| Some((Kept::decode(&entry.key, &entry.value)?, entry.key)));
    let kept = kept.filter(|(kept, _)| kept.question.is_some()).map(|(kept, key)| (key, kept));
    Some((kept.collect(), last))
}

/// Adds an answer and lets the oldest go; all of a scope goes when nothing was added for as long as an answer counts.
pub(super) fn append(redis: &Redis, near: &Near, key: &str, value: &[u8]) {
    if value.len() > LARGEST {
        return;
    }
    let (name, mut commands) = (name(&near.scope), pipe());
    commands.cmd("XADD").arg(&name).arg("MAXLEN").arg("=").arg(near.most);
    commands.arg("*").arg("k").arg(key).arg("v").arg(value).ignore();
    commands.cmd("PEXPIRE").arg(&name).arg(milliseconds(near.ttl)).ignore();
    redis.send(commands, "share an answer");
}

/// Counts an answer that was checked.
pub(super) fn checked(redis: &Redis, wrong: bool) {
    let mut commands: Pipeline = pipe();
    commands.cmd("HINCRBY").arg(CHECKED).arg("checked").arg(1).ignore();
    commands.cmd("HINCRBY").arg(CHECKED).arg("wrong").arg(u8::from(wrong)).ignore();
    redis.send(commands, "count a checked answer");
}

/// The entries of an answer to XRANGE. What others have put there has no name and a value that says nothing.
pub(in super::super) fn entries(found: Vec<Value>) -> Vec<Entry> {
    let entry = |value: Value| {
        let (id, fields): (String, Vec<Vec<u8>>) = from_redis_value(value).ok()?;
        let mut fields = fields.into_iter();
        let (key, value) = (fields.nth(1).unwrap_or_default(), fields.nth(1).unwrap_or_default());
        Some(Entry { id, key: String::from_utf8(key).unwrap_or_default(), value })
    };
    found.into_iter().filter_map(entry).collect()
}

fn name(scope: &str) -> String {
    format!("{PREFIX}{scope}")
}
