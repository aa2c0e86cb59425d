//! `docket dlq`: documents that were given up.

use std::{collections::HashSet, process::ExitCode, sync::Arc};

use flow::{DocumentRecord, Outcome};
use serde_json::{Value, json};

use super::{
    cache, client, note, print,
    run::{
        report::{self, Reporter},
        results::{self, Keep},
        session::{Session, Settings},
        submit::REFUSED_BY,
        summary::{one_line, word},
    },
    table,
};
use crate::{
    Error, Result,
    args::{DlqCommand, Format, ReplayArguments, StateArguments},
    runtime::{
        driver::Driver,
        inputs::Input,
        state::{Run, State},
    },
};

/// Records that are read at once.
const PAGE: usize = 500;

pub(super) async fn dlq(command: DlqCommand) -> Result<ExitCode> {
    match command {
        DlqCommand::List { state, pipeline, format, remote } => match remote.client(pipeline.as_ref()) {
            Some(client) => client::dead_letters(&client, format).await,
            None => list(&state, pipeline.as_deref(), format).await,
        },
        DlqCommand::Show { document, state, pipeline, remote } => match remote.client(pipeline.as_ref()) {
            Some(client) => client::dead_letter(&client, &document).await,
            None => show(&document, &state, pipeline.as_deref()).await,
        },
        DlqCommand::Replay(arguments) => match arguments.remote.client(arguments.pipeline.as_ref()) {
            Some(client) => client::replay(&client, &arguments.documents, arguments.format).await,
            None => replay(arguments).await,
        },
    }
}

async fn list(state: &StateArguments, pipeline: Option<&str>, format: Format) -> Result<ExitCode> {
    let (_state, driver) = last_run(state, pipeline).await?;
    let letters: Vec<Value> = records(&driver, is_dead).await?.iter().map(letter).collect();
    match format {
        Format::Json => print(&Value::Array(letters).to_string()),
        Format::Jsonl => letters.iter().for_each(|letter| print(&letter.to_string())),
        Format::Table => {
            let keys = ["document", "stage", "reason", "attempts", "message"];
            let rows: Vec<Vec<String>> =
                letters.iter().map(|letter| keys.iter().map(|key| one_line(&word(&letter[*key]))).collect()).collect();
            print(&table(&["DOCUMENT", "STAGE", "REASON", "ATTEMPTS", "MESSAGE"], &rows));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(document: &str, state: &StateArguments, pipeline: Option<&str>) -> Result<ExitCode> {
    let (_state, driver) = last_run(state, pipeline).await?;
    let record = driver.get(document).await.map_err(unknown)?;
    if !is_dead(&record) {
        return Err(Error::usage(format!(
            "\"{document}\" is not dead-lettered: docket explain document \"{document}\""
        )));
    }
    let text = serde_json::to_string_pretty(&letter(&record)).map_err(Error::system("print the dead letter"))?;
    print(&text);
    Ok(ExitCode::SUCCESS)
}

async fn replay(arguments: ReplayArguments) -> Result<ExitCode> {
    results::check(arguments.output.as_deref())?;
    let (state, run, driver) = open_last_run(&arguments.state, arguments.pipeline.as_deref()).await?;
    let known = records(&driver, |record| is_dead(record) || is_under_way(record)).await?;
    let (dead, under_way): (Vec<DocumentRecord>, Vec<DocumentRecord>) = known.into_iter().partition(is_dead);
    let wanted: HashSet<&str> = arguments.documents.iter().map(String::as_str).collect();
    let refused = |record: &&DocumentRecord| {
        let letter = record.end.as_ref().and_then(|end| end.dead_letter.as_ref());
        letter.is_some_and(|letter| letter.cause.worker == REFUSED_BY)
    };
    let unreadable: Vec<String> = dead
        .iter()
        .filter(refused)
        .map(|record| &record.submission.document)
        .filter(|document| arguments.all || wanted.contains(document.as_str()))
        .map(|document| {
            format!("\"{document}\" could not be read and has nothing to work on: mend the input and run again")
        })
        .collect();
    if arguments.all {
        unreadable.iter().for_each(|line| note(line));
    } else if !unreadable.is_empty() {
        return Err(Error::Usage(unreadable));
    }
    let is_meant = |record: &&DocumentRecord| arguments.all || wanted.contains(record.submission.document.as_str());
    let chosen: Vec<&DocumentRecord> = dead.iter().filter(|record| !refused(record)).filter(is_meant).collect();
    // What an earlier replay was interrupted at goes on.
    let meant: Vec<&DocumentRecord> = chosen.iter().copied().chain(under_way.iter().filter(is_meant)).collect();
    let found: HashSet<&str> = meant.iter().map(|record| record.submission.document.as_str()).collect();
    let missing: Vec<String> =
        wanted.difference(&found).map(|document| format!("\"{document}\" is not a dead letter of this run")).collect();
    if !missing.is_empty() {
        return Err(Error::Usage(missing));
    }
    let Some(first) = meant.first() else {
        note("there are no dead letters");
        return Ok(ExitCode::SUCCESS);
    };
    let plan = driver.plan(first).await.map_err(Error::system("read the documents' plan"))?;
    let documents: Vec<String> = chosen.iter().map(|record| record.submission.document.clone()).collect();
    let again: HashSet<String> = found.iter().map(|document| (*document).to_owned()).collect();
    let keep = Keep::AllBut(&again);
    let mut replayed = Vec::new();
    for record in &meant {
        replayed.push(driver.plan(record).await.map_err(Error::system("read the documents' plan"))?);
    }
    let models = arguments.models.folder.clone();
    let redis = cache::redis(&arguments.redis, &plan)?;
    let settings = Settings {
        state,
        run: run.clone(),
        plan: (*plan).clone(),
        replayed,
        models,
        suspended: false,
        in_flight: None,
        redis,
    };
    // Nothing changes before the work can begin.
    let session = Arc::new(Session::start(settings).await?);
    let mut reporter = Reporter::open(&run, &plan, arguments.output.as_deref(), arguments.format, &keep)?;
    for document in &documents {
        let replayed = session.driver.apply(document, flow::Event::Replay).await;
        replayed.map_err(Error::system(format!("replay \"{document}\"")))?;
    }
    session.work(std::iter::empty::<Input>(), false, &mut reporter, "run it again, and it goes on").await?;
    let summary = reporter.finish(&session).await?;
    Ok(summary.exit_code())
}

/// The state folder and a driver on its last run.
pub(super) async fn last_run(state: &StateArguments, pipeline: Option<&str>) -> Result<(State, Arc<Driver>)> {
    let (state, _run, driver) = open_last_run(state, pipeline).await?;
    Ok((state, driver))
}

async fn open_last_run(state: &StateArguments, pipeline: Option<&str>) -> Result<(State, Run, Arc<Driver>)> {
    let state = State::open_existing(&state.folder)?;
    let run = state.require_last_run(pipeline).await?;
    let (driver, _ended) = Driver::new(run.clone(), state.ports.clone());
    Ok((state, run, driver))
}

async fn records(driver: &Driver, wanted: impl Fn(&DocumentRecord) -> bool) -> Result<Vec<DocumentRecord>> {
    let mut records = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = driver.scan(after.as_deref(), PAGE).await.map_err(Error::system("read the run's documents"))?;
        let Some(last) = page.last() else { return Ok(records) };
        after = Some(last.submission.document.clone());
        records.extend(page.into_iter().filter(&wanted));
    }
}

fn is_dead(record: &DocumentRecord) -> bool {
    record.end.as_ref().is_some_and(|end| end.outcome == Outcome::DeadLettered)
}

/// Whether a document was a dead letter and is worked again.
fn is_under_way(record: &DocumentRecord) -> bool {
    record.end.is_none() && record.epoch > 0
}

/// A dead letter as a person gets it, with its document.
pub(crate) fn letter(record: &DocumentRecord) -> Value {
    let end = record.end.as_ref();
    let mut value = end.and_then(|end| end.dead_letter.as_ref()).map_or_else(|| json!({}), report::dead_letter);
    value["document"] = json!(record.submission.document);
    value["source"] = json!(record.submission.source);
    value["pipeline"] = json!(record.pipeline);
    value["plan"] = json!(record.plan);
    value["at"] = json!(end.map(|end| super::explain::time(end.at)));
    value
}

/// A document that is not there is the user's mistake, anything else the system's.
pub(super) fn unknown(error: crate::runtime::driver::Error) -> Error {
    match error {
        crate::runtime::driver::Error::Unknown { .. } => Error::usage(error.to_string()),
        other => Error::system("read the document")(other),
    }
}
