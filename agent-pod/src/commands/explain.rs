//! `docket explain document`: what happened to a document, stage by stage, and why. `docket explain pool` is the gateway's.

use std::process::ExitCode;

use flow::{DocumentRecord, Plan, PlannedStage, StageState, StageStatus};
use serde_json::{Value, json};

use super::{client, dlq, print, run::report, run::summary::one_line, table};
use crate::{
    Error, Result,
    args::{ExplainCommand, Format},
    runtime::progress::status_word,
};

pub(super) async fn explain(command: ExplainCommand) -> Result<ExitCode> {
    let (name, state, pipeline, format) = match command {
        ExplainCommand::Document { name, state, pipeline, format } => (name, state, pipeline, format),
        ExplainCommand::Pool { name, gateway } => return client::explain_pool(&name, gateway).await,
    };
    let (_state, driver) = dlq::last_run(&state, pipeline.as_deref()).await?;
    let record = driver.get(&name).await.map_err(dlq::unknown)?;
    let plan = driver.plan(&record).await.map_err(Error::system("read the document's plan"))?;
    match format {
        Format::Table => print(&text(&plan, &record)),
        Format::Json | Format::Jsonl => print(&value(&plan, &record).to_string()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Milliseconds since the epoch as a person reads them.
pub(crate) fn time(at: u64) -> String {
    let millis = i64::try_from(at).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| at.to_string(), |time| time.to_string())
}

fn value(plan: &Plan, record: &DocumentRecord) -> Value {
    let stages: Vec<Value> = plan
        .stages()
        .iter()
        .filter_map(|stage| Some((stage, record.stages.get(&stage.name)?)))
        .map(|(stage, state)| {
            json!({
                "name": stage.name, "after": stage.predecessors, "pool": stage.spec.pool,
                "state": status_word(&state.status), "round": state.round, "attempt": state.attempt,
                "unreported": state.unreported, "cost": flow::units(state.consumed().cost),
                "fallback": planned_fallback(stage, state), "why": why(state, record, stage.predecessors.as_slice()),
            })
        })
        .collect();
    json!({
        "document": record.submission.document, "source": record.submission.source, "pipeline": record.pipeline,
        "plan": record.plan, "generation": record.generation, "epoch": record.epoch, "round": record.round,
        "submitted": time(record.submitted_at), "changed": time(record.changed_at),
        "deadline": record.deadline().map(time), "quality": record.quality, "degraded": record.degraded,
        "outcome": record.end.as_ref().map(|end| end.outcome), "cost": flow::units(record.consumed().cost),
        "deadLetter": record.end.as_ref().and_then(|end| end.dead_letter.as_ref()).map(report::dead_letter),
        "stages": stages,
    })
}

/// What stands in for the stage's own work at the moment.
fn planned_fallback(stage: &PlannedStage, state: &StageState) -> Option<String> {
    match &state.status {
        StageStatus::Done(done) => done.fallback.clone(),
        _ => stage.fallback(state.level()).map(crds::Fallback::label),
    }
}

fn why(state: &StageState, record: &DocumentRecord, predecessors: &[String]) -> String {
    let status = status_in_words(&state.status, record, predecessors);
    match &state.fallen_back {
        Some(fallen) => {
            format!("{status}; its own work failed before: {}: {}", fallen.cause.reason, fallen.cause.message)
        }
        None => status,
    }
}

fn status_in_words(status: &StageStatus, record: &DocumentRecord, predecessors: &[String]) -> String {
    const OVER: &str = "not finished: the document ended before";
    match status {
        StageStatus::Backoff { cause, .. } if record.end.is_some() => {
            format!("{OVER}; the last attempt: {}: {}", cause.reason, cause.message)
        }
        StageStatus::Waiting | StageStatus::Held | StageStatus::Dispatched | StageStatus::Awaiting { .. }
            if record.end.is_some() =>
        {
            OVER.to_owned()
        }
        StageStatus::Waiting => {
            let open = |name: &&String| {
                !matches!(
                    record.stages.get(*name).map(|state| &state.status),
                    Some(StageStatus::Done(_) | StageStatus::Skipped | StageStatus::Failed(_))
                )
            };
            let open: Vec<&str> = predecessors.iter().filter(open).map(String::as_str).collect();
            format!("waits for {}", open.join(", "))
        }
        StageStatus::Held => "ready, held back: the pipeline is suspended or works one stage at a time".to_owned(),
        StageStatus::Dispatched => "its task is queued or in work".to_owned(),
        StageStatus::Backoff { until, cause } => {
            format!("{}: {}; tried again at {}", cause.reason, cause.message, time(*until))
        }
        StageStatus::Awaiting { since, .. } => format!("waits for a person since {}: docket approve", time(*since)),
        StageStatus::Done(done) => {
            let model = done.model.as_ref().map_or_else(String::new, |model| format!(" with {model}"));
            let level = done.cache_level.as_ref().map_or_else(String::new, |level| format!(" ({level})"));
            let how = match done.cached {
                true => format!("from the cache{level}"),
                false => format!("by {}{model}", done.worker),
            };
            let how =
                done.fallback.as_ref().map_or_else(|| how.clone(), |fallback| format!("fallback {fallback}, {how}"));
            let cost = if done.cost > 0 { format!(", cost {}", flow::units(done.cost)) } else { String::new() };
            let score = done.score.map_or_else(String::new, |score| format!(", score {score}"));
            format!(
                "{how} in {:.3} s, {} tokens read, {} written{cost}{score}",
                done.seconds, done.prompt_tokens, done.completion_tokens
            )
        }
        StageStatus::Skipped => "`when` was false, or everything before it was skipped".to_owned(),
        StageStatus::Failed(cause) => format!("{}: {}", cause.reason, cause.message),
    }
}

fn text(plan: &Plan, record: &DocumentRecord) -> String {
    let outcome = record.end.as_ref().map_or("unfinished", |end| report::end_word(end.outcome));
    let mut lines = vec![
        format!("document  {}", record.submission.document),
        format!("source    {}", record.submission.source),
        format!("pipeline  {} (plan {}, epoch {}, round {})", record.pipeline, record.plan, record.epoch, record.round),
        format!("submitted {}, last change {}", time(record.submitted_at), time(record.changed_at)),
        format!("outcome   {outcome}"),
        format!("cost      {}", flow::units(record.consumed().cost)),
    ];
    lines.extend(record.degraded.iter().map(|note| format!("degraded  {note}")));
    if let Some(letter) = record.end.as_ref().and_then(|end| end.dead_letter.as_ref()) {
        let stage = letter.stage.as_deref().unwrap_or("the document as a whole");
        lines.push(format!("because   {stage}: {}: {}", letter.cause.reason, letter.cause.message));
    }
    let rows: Vec<Vec<String>> = plan
        .stages()
        .iter()
        .filter_map(|stage| Some((stage, record.stages.get(&stage.name)?)))
        .map(|(stage, state)| {
            vec![
                stage.name.clone(),
                status_word(&state.status).to_owned(),
                (state.round + 1).to_string(),
                state.attempt.to_string(),
                one_line(&why(state, record, &stage.predecessors)),
            ]
        })
        .collect();
    lines.push(String::new());
    lines.push(table(&["STAGE", "STATE", "ROUND", "ATTEMPT", "WHY"], &rows));
    lines.join("\n")
}
