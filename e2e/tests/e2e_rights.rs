//! Whether the operator needs the rights that it has, by the API server's audit log. Run after the stories, which made it
//! use them.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use e2e::{AuditLog, HOME, OPERATOR, Right, connect, granted_to};

const ACCOUNT: (&str, &str) = (HOME, OPERATOR);

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_was_refused_nothing() -> Result<()> {
    let refused = AuditLog::read()?.refused(ACCOUNT);
    ensure!(refused.is_empty(), "the operator was refused:\n{}", lines(&refused));
    Ok(())
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_has_no_right_without_limits() -> Result<()> {
    let granted = granted_to(&connect().await?, ACCOUNT).await?;
    ensure!(!granted.is_empty(), "the operator has no rights at all");
    let unlimited = |right: &&Right| {
        [&right.group, &right.resource, &right.verb].into_iter().any(|part| part == "*")
            || matches!(right.verb.as_str(), "escalate" | "bind" | "impersonate")
            || matches!(right.resource.as_str(), "pods/exec" | "nodes/proxy" | "serviceaccounts/token")
    };
    let found: BTreeSet<&Right> = granted.iter().filter(unlimited).collect();
    ensure!(found.is_empty(), "the operator may:\n{}", lines(&found));
    Ok(())
}

#[tokio::test]
#[ignore = "needs cluster"]
async fn the_operator_used_the_rights_that_it_has() -> Result<()> {
    let granted = granted_to(&connect().await?, ACCOUNT).await?;
    let used = AuditLog::read()?.used(ACCOUNT);
    ensure!(!used.is_empty(), "the audit log knows nothing of the operator");
    let unused: BTreeSet<&Right> = granted.difference(&used).filter(|right| !is_kept(right, &used)).collect();
    ensure!(unused.is_empty(), "no story made the operator use these rights:\n{}", lines(&unused));
    Ok(())
}

/// Rights that leave no request of their own in the log.
fn is_kept(right: &Right, used: &BTreeSet<Right>) -> bool {
    let patched = Right { verb: "patch".to_owned(), ..right.clone() };
    // An apply that makes an object is a patch, and needs both rights.
    (right.verb == "create" && used.contains(&patched))
        // An Event that repeats itself after minutes is counted, not told again.
        || *right == Right::of("patch", "events", "events.k8s.io")
        // Without the Prometheus operator there are no such objects.
        || right.group == "monitoring.coreos.com"
        // Asked for by the admission of owner references, which block their owner's deletion.
        || right.resource.ends_with("/finalizers")
}

fn lines<T: ToString>(items: &BTreeSet<T>) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
