//! Whether the operator needs the rights that it has, by the API server's audit log. Run after the stories, which made it
//! use them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{AuditLog, HOME, OPERATOR, Request, Right, connect, granted_to, unused};

const ACCOUNT: (&str, &str) = (HOME, OPERATOR);

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_was_refused_nothing() -> Result<()> {
    let requests = AuditLog::read()?.requests(ACCOUNT);
    let refused: BTreeSet<&Request> = requests.iter().filter(|request| request.refused).collect();
    ensure!(refused.is_empty(), "the operator was refused:\n{}", lines(&refused));
    Ok(())
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_has_no_right_without_limits() -> Result<()> {
    let granted = granted_to(&connect().await?, ACCOUNT).await?.all();
    ensure!(!granted.is_empty(), "the operator has no rights at all");
    let unlimited = |right: &&Right| {
        [&right.group, &right.resource, &right.verb].into_iter().any(|part| part == "*")
            || matches!(right.verb.as_str(), "escalate" | "bind" | "impersonate")
            || matches!(right.resource.as_str(), "pods/exec" | "nodes/proxy" | "serviceaccounts/token")
            // A create cannot be limited by name.
            || (right.resource == "secrets" && right.verb != "create" && right.name.is_none())
    };
    let found: BTreeSet<&Right> = granted.iter().filter(unlimited).collect();
    ensure!(found.is_empty(), "the operator may:\n{}", lines(&found));
    Ok(())
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_used_the_rights_that_it_has() -> Result<()> {
    let granted = granted_to(&connect().await?, ACCOUNT).await?.all();
    let requests = AuditLog::read()?.requests(ACCOUNT);
    ensure!(!requests.is_empty(), "the audit log knows nothing of the operator");
    let unused = unused(&granted, &requests);
    ensure!(unused.is_empty(), "no story made the operator use these rights:\n{}", lines(&unused));
    Ok(())
}

fn lines<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
