//! Conditions: what is true of an object now, since when, and why.

use std::borrow::Cow;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    True,
    /// It is not.
    False,
    /// It cannot be seen.
    Unknown,
}

/// A condition as it was observed, without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its type, such as `Ready`.
    pub kind: &'static str,
    /// Whether it is so.
    pub state: State,
    /// CamelCase word from a closed set.
    pub reason: Cow<'static, str>,
    /// What a person should know, with what to do where something is to be done.
    pub message: String,
}

impl Observed {
    /// A condition.
    pub fn new(
        kind: &'static str,
        state: State,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, state, reason: reason.into(), message: message.into() }
    }
}

/// Longest message that the API takes.
const LONGEST: usize = 32_768;

/// The conditions as they are now. The time of one that did not flip stays what it was, so that nothing changes where
/// nothing happened.
pub fn merge(
    previous: &[Condition],
    observed: Vec<Observed>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let merged = observed.into_iter().map(|observed| {
        let status = match observed.state {
            State::True => "True",
            State::False => "False",
            State::Unknown => "Unknown",
        };
        let before = previous.iter().find(|before| before.type_ == observed.kind && before.status == status);
        let mut message = observed.message;
        if let Some((end, _)) = message.char_indices().find(|(start, _)| *start >= LONGEST - 4) {
            message.truncate(end);
        }
        Condition {
            type_: observed.kind.to_owned(),
            status: status.to_owned(),
            reason: observed.reason.into_owned(),
            message,
            observed_generation: generation,
            last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
        }
    });
    merged.collect()
}

/// The conditions as they were, but for one that is as it is now.
pub fn replace(previous: &[Condition], observed: Observed, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let mut conditions = previous.to_vec();
    for changed in merge(previous, vec![observed], generation, now) {
        match conditions.iter_mut().find(|condition| condition.type_ == changed.type_) {
            Some(condition) => *condition = changed,
            None => conditions.push(changed),
        }
    }
    conditions
}

/// The state of a condition of an object.
pub fn state(conditions: &[Condition], kind: &str) -> State {
    match conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.as_str()) {
        Some("True") => State::True,
        Some("False") => State::False,
        _ => State::Unknown,
    }
}
