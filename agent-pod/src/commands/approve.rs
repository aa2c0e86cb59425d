//! `docket approve`: what waits for a person, and the answers.

use std::process::ExitCode;

use serde_json::Value;

use super::{
    client,
    client::{print_results, print_values},
    dlq,
    run::report,
};
use crate::{
    Error, Result,
    args::{ApproveArguments, Format},
    results::Sinks,
    runtime::{
        approvals::{self, Answered, MAX_COMMENT, Verdict},
        driver::Driver,
        metrics::Metrics,
        state::State,
    },
};

/// Records that are read at once.
const PAGE: usize = 500;

pub(super) async fn approve(arguments: ApproveArguments) -> Result<ExitCode> {
    if arguments.comment.as_ref().is_some_and(|comment| comment.len() > MAX_COMMENT) {
        return Err(Error::usage(format!("--comment: has more than {MAX_COMMENT} bytes")));
    }
    match arguments.remote.client(arguments.pipeline.as_ref()) {
        Some(remote) if arguments.list => client::pending(&remote, arguments.format).await,
        Some(remote) => client::answer(&remote, &arguments).await,
        None => {
            let (state, driver) = dlq::last_run(&arguments.state, arguments.pipeline.as_deref()).await?;
            match arguments.list {
                true => list(&driver, arguments.format).await,
                false => answer(&state, &driver, &arguments).await,
            }
        }
    }
}

async fn list(driver: &Driver, format: Format) -> Result<ExitCode> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = driver.scan(after.as_deref(), PAGE).await.map_err(Error::system("read the run's documents"))?;
        let Some(last) = page.last() else { break };
        after = Some(last.submission.document.clone());
        for record in &page {
            let asked = approvals::questions(driver, record).await;
            items.extend(asked.map_err(Error::system("read what is asked"))?);
        }
    }
    print_pending(items, format);
    Ok(ExitCode::SUCCESS)
}

/// The answers count at once; the run goes on with `docket run --resume`.
async fn answer(state: &State, driver: &Driver, arguments: &ApproveArguments) -> Result<ExitCode> {
    let verdict = Verdict {
        stage: arguments.stage.clone(),
        approved: !arguments.reject,
        by: arguments.by.clone(),
        comment: arguments.comment.clone(),
    };
    let payloads = std::sync::Arc::clone(&state.ports.payloads);
    let sinks = Sinks::new(payloads, &state.folder, std::sync::Arc::new(Metrics::default()));
    let mut results = Vec::new();
    for document in &arguments.documents {
        let record = driver.get(document).await.map_err(dlq::unknown)?;
        let action = || format!("answer for \"{document}\"");
        let plan = driver.plan(&record).await.map_err(Error::system(action()))?;
        let refused = |why: String| Err(Error::usage(format!("\"{document}\" {why}")));
        let record = match approvals::answer(driver, record, &verdict).await.map_err(Error::system(action()))? {
            Answered::Counts { stage, record } => {
                let noted = sinks.note(&plan, &approvals::happened(&record, &stage, &verdict)).await;
                noted
                    .map_err(Error::system(format!("{} and note it; it counts, say it again to note it", action())))?;
                record
            }
            Answered::Several(stages) => {
                return refused(format!("is asked about by {}: name one with --stage", stages.join(", ")));
            }
            Answered::Late { stage, said } => return refused(format!("is {said} at stage \"{stage}\" already")),
            Answered::NotAsked => return refused("does not wait for an answer: docket approve --list".to_owned()),
        };
        let result = report::result(state.ports.payloads.as_ref(), &plan, &record).await;
        results.push(result.map_err(Error::system(action()))?);
    }
    print_results(&results, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// What waits for a person.
pub(super) fn print_pending(items: Vec<Value>, format: Format) {
    print_values(items, &["document", "kind", "stage", "anomaly", "since", "reason"], format);
}
