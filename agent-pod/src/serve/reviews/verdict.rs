//! What the API server's answer means for a token. Pure.

use serde::Deserialize;

/// Begins the user names of ServiceAccounts; the namespace and the name follow.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The part of a TokenReview that answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
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
pub(super) enum Verdict {
    /// It is let in, as this user.
    Accepted(String),
    /// It is not, for this reason.
    Refused(&'static str),
}

/// The verdict over a token that has to be for this audience and of a ServiceAccount of this namespace.
pub(super) fn of(answer: Answer, audience: &str, namespace: &str) -> Verdict {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn verdict(status: Value) -> Verdict {
        of(serde_json::from_value(status).expect("an answer"), "docket", "documents")
    }

    fn said(username: &str, audiences: &[&str]) -> Value {
        json!({"authenticated": true, "user": {"username": username, "groups": ["a"]}, "audiences": audiences})
    }

    #[test]
    fn a_service_account_of_the_namespace_is_let_in_with_a_token_for_us() {
        let clerk = "system:serviceaccount:documents:clerk";
        assert_eq!(verdict(said(clerk, &["other", "docket"])), Verdict::Accepted(clerk.to_owned()));
        assert!(matches!(verdict(said(clerk, &["https://kubernetes.default.svc"])), Verdict::Refused(_)));
        assert!(matches!(verdict(said(clerk, &[])), Verdict::Refused(_)), "it says nothing of audiences");
    }

    #[test]
    fn whoever_else_the_api_server_knows_is_not_let_in() {
        for other in [
            "system:serviceaccount:documents-two:clerk",
            "system:serviceaccount:document:s:clerk",
            "system:serviceaccount:documents:",
            "system:serviceaccount:documents:a:b",
            "system:serviceaccount:documents",
            "system:serviceaccounts:documents:clerk",
            "documents:clerk",
            "system:admin",
            "",
        ] {
            assert!(matches!(verdict(said(other, &["docket"])), Verdict::Refused(_)), "{other}");
        }
    }

    #[test]
    fn what_is_not_authenticated_is_refused_whatever_else_is_said() {
        let mut answer = said("system:serviceaccount:documents:clerk", &["docket"]);
        answer["authenticated"] = json!(false);
        answer["error"] = json!("service account token has expired");
        assert!(matches!(verdict(answer), Verdict::Refused(_)));
        assert!(matches!(verdict(json!({})), Verdict::Refused(_)));
    }
}
