//! `docket run`: a pipeline over documents, in one process.

pub(crate) mod learn;
pub(crate) mod report;
pub(crate) mod results;
mod retaining;
pub(crate) mod session;
pub(crate) mod submit;
pub(crate) mod summary;

use std::{process::ExitCode, sync::Arc};

use self::{
    report::Reporter,
    results::Keep,
    session::{Session, Settings},
};
use super::{cache, note, validate};
use crate::{
    Result,
    args::RunArguments,
    runtime::{
        inputs, now,
        state::{Run, State},
    },
};

/// Runs the pipeline; exit code 1 where documents were dead-lettered.
pub(crate) async fn run(arguments: RunArguments) -> Result<ExitCode> {
    let plan = validate::plan(&arguments.file)?;
    let redis = cache::redis(&arguments.redis, &plan)?;
    let documents = inputs::inputs(&arguments.input)?;
    let feedback = arguments.feedback.as_deref().map(|path| learn::read_feedback(path, &plan)).transpose()?;
    results::check(arguments.output.as_deref())?;
    let state = State::open(&arguments.state.folder)?;
    let run = match arguments.resume {
        true => state.last_run(Some(&plan.name)).await?,
        false => None,
    };
    let run = run.unwrap_or_else(|| Run::new(&plan.name, now()));
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let suspended = plan.spec.suspend;
    let models = arguments.models.folder.clone();
    let session = Session::start(Settings {
        state,
        run: run.clone(),
        plan,
        replayed: Vec::new(),
        models,
        suspended,
        in_flight: None,
        redis,
    })
    .await?;
    // Nothing of an earlier run is touched before this one can begin.
    State::begin_run(&session.services.ports, &run).await?;
    retaining::remove_what_is_over(&session.services.ports, &session.plan, &run).await?;
    let output = arguments.output.as_deref();
    let mut reporter = Reporter::open(&run, &session.plan, output, arguments.format, &Keep::Nothing)?;
    if !session.plan.spec.heads.is_empty() {
        let again = inputs::inputs(&arguments.input)?.take(limit);
        let learned = learn::learn(&session, again, feedback.unwrap_or_default()).await?;
        reporter.learned(learned);
    }
    if session.plan.spec.suspend {
        note(
            "the pipeline is suspended: documents are accepted and none is worked; set suspend: false and run with --resume",
        );
    }
    let session = Arc::new(session);
    session.work(documents.take(limit), true, &mut reporter, "run it again with --resume").await?;
    let summary = reporter.finish(&session).await?;
    Ok(summary.exit_code())
}
