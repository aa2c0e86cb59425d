//! CP-14: namespaces and definitions are deleted, with an operator and without.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt;
use kube::api::ListParams;

use super::{Case, World};
use crate::{
    Kind, OWNED, command,
    faults::{Operator, lab::until, report::Findings, workload},
};

pub const CASE: Case = Case {
    id: "CP-14",
    fault: "a namespace with pools and pipelines is deleted; the definitions are; the operator is gone before",
    scaled: "",
    run: |world| run(world).boxed_local(),
};

const DOCUMENT: &str = "docs/install.md";
/// Catalogue.
const GONE: Duration = Duration::from_secs(60);
/// Without an operator nothing may go by itself before somebody says so; so long is looked.
const STAYS: Duration = Duration::from_secs(10);

async fn run(world: &World<'_>) -> Result<Findings> {
    let mut findings = Findings::default();
    let (namespace, operator) = full(world).await?;
    world.lab.delete_namespace(&namespace).await?;
    gone(world, "namespace, with an operator: gone after", &namespace, &mut findings).await?;
    drop(operator);

    let (namespace, operator) = full(world).await?;
    drop(operator);
    world.lab.delete_namespace(&namespace).await?;
    tokio::time::sleep(STAYS).await;
    let stays = !world.lab.is_gone(&namespace).await?;
    findings.check("namespace, without an operator: waits for the documented command", stays, stays);
    command::run(&["sh", "-c", &documented()?], "").await?.or_fail("run what the documentation says")?;
    gone(world, "namespace, without an operator: gone after that command", &namespace, &mut findings).await?;

    let (namespace, operator) = full(world).await?;
    let delete = ["kubectl", "delete", "crd", "agentpools.docket.dev", "pipelines.docket.dev", "--timeout", "60s"];
    let deleted = command::run(&delete, "").await?;
    let errors = match deleted.errors.trim() {
        "" => "no error",
        errors => errors,
    };
    findings.check("definitions: deleted with an operator", errors, deleted.succeeded);
    let left = until("nothing is left", GONE, async || Ok(left(world, &namespace).await?.is_empty())).await;
    findings.none(
        "definitions: objects that are left",
        1,
        &match left {
            Ok(_) => Vec::new(),
            Err(_) => vec![self::left(world, &namespace).await?.join(", ")],
        },
    );
    world.lab.install().await?;
    let pool = workload::pool("clerks", 1);
    pool.take(&world.lab.client, &namespace).await?;
    let served = pool.wait(&world.lab.client, &namespace).await;
    findings.check("definitions that come back are served by the same process", served.is_ok(), served.is_ok());
    drop(operator);
    world.lab.release(&namespace).await?;
    Ok(findings)
}

/// What whoever has no operator any more is told to run: the block after these words, to the letter.
fn documented() -> Result<String> {
    const WORDS: &str = "**The operator is gone and a deletion hangs.**";
    let text = std::fs::read_to_string(command::repository().join(DOCUMENT)).context("read the documentation")?;
    let (_, after) = text.split_once(WORDS).with_context(|| format!("find \"{WORDS}\" in {DOCUMENT}"))?;
    let block = after.split_once("```sh\n").and_then(|(_, block)| block.split_once("```"));
    let (block, _) = block.with_context(|| format!("find what to run after \"{WORDS}\" in {DOCUMENT}"))?;
    Ok(block.to_owned())
}

/// A namespace with everything in it.
async fn full(world: &World<'_>) -> Result<(String, Operator)> {
    let namespace = world.lab.namespace("deleted").await?;
    let operator = world.lab.start_alone(&namespace).await?;
    for step in [workload::pool("clerks", 2), workload::pipeline("letters", &["read"])] {
        step.take(&world.lab.client, &namespace).await?;
        step.wait(&world.lab.client, &namespace).await?;
    }
    Ok((namespace, operator))
}

async fn gone(world: &World<'_>, what: &str, namespace: &str, findings: &mut Findings) -> Result<()> {
    match until("the namespace is gone", GONE, async || world.lab.is_gone(namespace).await).await {
        Ok(took) => findings.check(what, format!("{:.1} s", took.as_secs_f64()), true),
        Err(error) => findings.check(what, format!("{error:#}"), false),
    }
    Ok(())
}

/// What of the operator's is still there.
async fn left(world: &World<'_>, namespace: &str) -> Result<Vec<String>> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=docket-operator");
    let mut left = Vec::new();
    for kind in OWNED.into_iter().chain([Kind::Secret]) {
        let found = kind.within(&world.lab.client, namespace).list(&ours).await.context("list what is left")?;
        left.extend(
            found
                .items
                .iter()
                .map(|object| format!("{kind:?} {}", object.metadata.name.as_deref().unwrap_or_default())),
        );
    }
    Ok(left)
}
