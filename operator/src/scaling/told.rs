//! A decision in words and as the JSON that others read.

use crds::{ScalingDecision, ScalingMode};
use k8s_openapi::jiff::Timestamp;
use scaler::{Clamp, Decision, Reason, Recommendation, TermValue};
use serde::{Deserialize, Serialize};

/// Decisions that are kept.
pub const KEPT: usize = 10;

/// A decision, as it was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// When, RFC 3339.
    pub at: String,
    /// Agents before.
    pub from: u32,
    /// Agents after.
    pub to: u32,
    /// Agents that are to pull tasks.
    pub pulling: u32,
    /// See [`word`].
    pub reason: String,
    /// The same as a sentence.
    pub message: String,
    /// What each part asked for.
    pub terms: Vec<TermValue>,
    /// What kept the number from being what was asked for.
    pub clamp: Option<Clamp>,
    /// When it may change though nothing else does, RFC 3339.
    pub next_change_at: Option<String>,
}

/// What is kept of a pool for people, under `decisions/POOL`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decisions<'a> {
    /// The pool.
    pub pool: &'a str,
    /// Who owns the number.
    pub mode: ScalingMode,
    /// Agents that the autoscaler wants.
    pub desired: u32,
    /// Agents that the Deployment asks for.
    pub replicas: u32,
    /// When this was written, RFC 3339.
    pub at: String,
    /// What was decided when this was written. Who does not know it reads the newest of `decisions`.
    pub current: Told,
    /// Those that changed something, and holds; the newest first.
    pub decisions: &'a [Told],
    /// What other settings are expected to bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Recommendation>,
}

/// The kind of a reason.
pub fn kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Up(_) => "Up",
        Reason::Down => "Down",
        Reason::ToZero => "ToZero",
        Reason::Steady(_) => "Steady",
        Reason::Asleep => "Asleep",
        Reason::Held(_) => "Held",
    }
}

/// A reason as one word from a closed set, such as `Up:Backlog` or `Held:Stale`.
pub fn word(reason: &Reason) -> String {
    match reason {
        Reason::Up(term) | Reason::Steady(term) => format!("{}:{term:?}", kind(reason)),
        Reason::Held(hold) => format!("{}:{hold:?}", kind(reason)),
        Reason::Down | Reason::ToZero | Reason::Asleep => kind(reason).to_owned(),
    }
}

/// A time in seconds since 1970 as RFC 3339.
pub fn time(seconds: f64) -> String {
    Timestamp::from_millisecond((seconds * 1_000.0) as i64).map(|time| time.to_string()).unwrap_or_default()
}

impl Told {
    /// A decision made at `now`, in seconds since 1970, when the Deployment asked for `from` pods.
    pub fn of(decision: &Decision, from: u32, now: f64) -> Self {
        Self {
            at: time(now),
            from,
            to: decision.replicas,
            pulling: decision.pulling,
            reason: word(&decision.reason),
            message: sentence(decision, from),
            terms: decision.terms.clone(),
            clamp: decision.clamp,
            next_change_at: decision.next_change_at.map(time),
        }
    }

    /// Whether it says that numbers could not be trusted, and not why the number is what it is.
    pub fn is_hold(&self) -> bool {
        self.reason.starts_with("Held:")
    }

    /// The same as the status of the pool says it.
    pub fn in_status(&self) -> ScalingDecision {
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        ScalingDecision {
            at: self.at.clone(),
            from: number(self.from),
            to: number(self.to),
            reason: self.reason.clone(),
            clamp: self.clamp.map(|clamp| format!("{clamp:?}")),
            message: self.message.clone(),
        }
    }
}

/// A decision as a sentence.
pub fn sentence(decision: &Decision, from: u32) -> String {
    let to = decision.replicas;
    let change = if from == to { format!("{to} agents") } else { format!("from {from} to {to} agents") };
    let clamp = decision.clamp.map(|clamp| format!("; bounded by {clamp}")).unwrap_or_default();
    format!("{change}: {}{clamp}", decision.reason)
}
