//! What the API server's answer means for a token.

use agent_pod::serve::reviews::verdict::{Verdict, of};
use serde_json::{Value, json};

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
