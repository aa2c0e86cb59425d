//! What the API server's answer means for a token. Pure.

use serde::Deserialize;

/// Begins the user names of ServiceAccounts; the namespace and the name follow.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The part of a TokenReview that answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    authenticated: bool,
    user: User,
    /// Those of the audiences that were asked about for which the token was made.
    audiences: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

/// What becomes of who has the token.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in, as this user.
    Accepted(String),
    /// It is not, for this reason.
    Refused(&'static str),
}

/// The verdict over a token that has to be for this audience and of a ServiceAccount of this namespace.
pub fn of(answer: Answer, audience: &str, namespace: &str) -> Verdict {
    let Answer { authenticated, user: User { username }, audiences } = answer;
    if !authenticated {
        return Verdict::Refused("the API server does not know it, or not any more");
    }
    // A server that knows no audiences names none: what the token was made for is not known then.
    if !audiences.iter().any(|named| named == audience) {
        return Verdict::Refused("it was made for another audience");
    }
    match username.strip_prefix(SERVICE_ACCOUNT).and_then(|account| account.split_once(':')) {
        Some((own, name)) if own == namespace && !name.is_empty() && !name.contains(':') => Verdict::Accepted(username),
        Some(_) => Verdict::Refused("it is of another namespace"),
        None => Verdict::Refused("it is of no ServiceAccount"),
    }
}
