//! The command line of `docket-simulate`: what may be asked for, and the answer. Knows no algorithm.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use super::{
    bench,
    chain::{Chain, Pipeline},
    clairvoyant::{self, Limits},
    docket::Docket,
    engine::{World, run as simulate},
    faults::Fault,
    generate::{self, Shape},
    given,
    html::{self, Drawn},
    outcome::{Outcome, mean},
    policy::Policy,
    report::{self, Results},
    rivals::Rival,
    service::Service,
    trace::{self, Trace},
};
use crate::{ColdStart, Settings};

const BEGIN: &str = "<!-- made by `make bench-scaler`: begin -->";
const END: &str = "<!-- made by `make bench-scaler`: end -->";

/// What holds where neither a flag nor a file says anything.
const SLO: f64 = 60.0;
const MAX_REPLICAS: u32 = 40;
/// What a comparison takes from its grid.
const OF_GRID: [&str; 14] = [
    "traces",
    "generated",
    "service",
    "cold_start",
    "pipeline",
    "policies",
    "settings",
    "max_replicas",
    "concurrency",
    "slo",
    "seeds",
    "attainment",
    "faults",
    "format",
];

/// Replays traces of arrivals against autoscalers, Docket's own among them, and says what each would have done.
#[derive(Clone, Debug, Parser)]
#[command(name = "docket-simulate", version)]
pub struct Flags {
    /// A trace: arrival_s,service_s[,status] or arrival_s,input_tokens,output_tokens; may be given several times. Arrivals
    /// are seconds since the trace began, or since 1970.
    #[arg(long = "trace", value_name = "FILE")]
    pub traces: Vec<PathBuf>,
    /// A generated trace: poisson, on-off, diurnal, flash-crowd, sparse, sawtooth or bursts, with a seed: poisson:1.
    #[arg(long = "generate", value_name = "SHAPE:SEED")]
    pub generated: Vec<String>,
    /// Seconds of service from tokens.
    #[arg(long, value_name = "a+b*input+d*output")]
    pub service: Option<String>,
    /// Quantiles of the time that pods take to start: quantile,load_s. Without it, 10 to 40 seconds evenly.
    #[arg(long, value_name = "FILE")]
    pub cold_start: Option<PathBuf>,
    /// Stages that every task passes through: a description as YAML or JSON, or a manifest with a Pipeline.
    #[arg(long, value_name = "FILE")]
    pub pipeline: Option<PathBuf>,
    /// Autoscalers, by comma; see the documentation for what each is.
    #[arg(long, value_delimiter = ',', default_value = "docket")]
    pub policies: Vec<String>,
    /// Settings of Docket's own autoscaler as YAML or JSON: what an AgentPool has as `scaling`, or a manifest with one
    /// AgentPool, of which nothing else is read. Times are texts such as 1m30s or numbers of seconds.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// Never more pods in a pool. Default: the most that --settings allows, or 40.
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_replicas: Option<u32>,
    /// Tasks that one pod works on at once.
    #[arg(long, allow_negative_numbers = true, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub concurrency: u32,
    /// Seconds that a task may wait. Default: target.wait of --settings, or 60.
    #[arg(long, allow_negative_numbers = true, value_parser = seconds)]
    pub slo: Option<f64>,
    /// Seeds of cold starts; figures are means over them.
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: u64,
    /// Share of tasks that Docket's own autoscaler is to start within --slo, 0.5 to 0.99999.
    #[arg(long, allow_negative_numbers = true, conflicts_with = "settings", value_parser = share)]
    pub attainment: Option<f64>,
    /// What goes wrong, by comma: metrics-gap, stale, restart, capacity.
    #[arg(long, value_delimiter = ',')]
    pub faults: Vec<String>,
    /// How to say it.
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Runs the whole comparison of a grid instead; all but --markdown is as the grid says.
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_GRID)]
    pub grid: Option<PathBuf>,
    /// With --grid: writes the tables between the marks of this file.
    #[arg(long, value_name = "FILE", requires = "grid")]
    pub markdown: Option<PathBuf>,
}

/// How to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For machines.
    Json,
    /// A page that draws pods against demand, of the first seed.
    Html,
}

/// Why there is no answer; whoever asked can fix it, unless it is a file that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A trace or the cold starts are not sound.
    #[error("failed to read a trace")]
    Trace(#[source] trace::Error),
    /// The formula is not understood.
    #[error("failed to read --service")]
    Service(#[source] super::service::Error),
    /// The pipeline is not sound.
    #[error("failed to read --pipeline")]
    Pipeline(#[source] super::chain::Error),
    /// The settings cannot be read.
    #[error("failed to read --settings \"{file}\"")]
    ReadSettings {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings are not of the known form.
    #[error("failed to understand --settings \"{file}\"")]
    ParseSettings {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: given::Error,
    },
    /// A flag and a field say two things of one.
    #[error("{flag} is {flag_value}, and \"{field}\" of --settings is {field_value}: leave one of them out")]
    Contradiction {
        /// The flag.
        flag: &'static str,
        /// What it says.
        flag_value: f64,
        /// The field.
        field: String,
        /// What it says.
        field_value: f64,
    },
    /// The settings contradict themselves.
    #[error("--settings cannot be")]
    Settings(#[source] crate::Invalid),
    /// The grid is not sound.
    #[error("failed to run the comparison")]
    Bench(#[source] bench::Error),
    /// A word is none of those that are known.
    #[error("{flag} \"{word}\" is not one of {known}")]
    Unknown {
        /// The flag.
        flag: &'static str,
        /// The word.
        word: String,
        /// What it may be.
        known: String,
    },
    /// No trace was given.
    #[error("no trace: give --trace FILE, --generate SHAPE:SEED or --grid FILE")]
    NoTrace,
    /// Two traces have one name, and results go by names.
    #[error(
        "two traces are called \"{name}\", as their files are without folder and ending: rename one or leave it out"
    )]
    SameTrace {
        /// The name.
        name: String,
    },
    /// A policy is asked for twice.
    #[error("--policies names \"{name}\" twice")]
    SamePolicy {
        /// The policy.
        name: String,
    },
    /// A fault is asked for twice.
    #[error("--faults names \"{name}\" twice")]
    SameFault {
        /// The fault.
        name: String,
    },
    /// Tables for a file are those of a grid.
    #[error("--markdown takes the tables of --grid; without it, --format says how, and > FILE where")]
    MarkdownAlone,
    /// The plan that knows all is for one stage.
    #[error("--policies clairvoyant plans one pool; leave it out with --pipeline")]
    ClairvoyantChain,
    /// The answer cannot be written.
    #[error("failed to write the answer")]
    Write(#[source] std::io::Error),
    /// The Markdown file cannot be read or written, or has no marks.
    #[error("failed to write \"{file}\" between its marks")]
    Markdown {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Docket,
    Rival(Rival),
    Clairvoyant,
}

/// Does what the flags ask for.
///
/// # Errors
/// Says what is wrong with the flags or the files that they name.
pub fn run(flags: &Flags, out: &mut impl Write) -> Result<(), Error> {
    if let Some(grid) = &flags.grid {
        return compare(flags, grid, out);
    }
    if flags.markdown.is_some() {
        return Err(Error::MarkdownAlone);
    }
    let named = flags.policies.iter().map(|name| name.trim()).map(|name| Ok((name, asked(name)?)));
    let policies = named.collect::<Result<Vec<_>, Error>>()?;
    if let Some(name) = twice(policies.iter().map(|policy| policy.0)) {
        return Err(Error::SamePolicy { name });
    }
    let pipeline = flags.pipeline.as_deref().map(Pipeline::read).transpose().map_err(Error::Pipeline)?;
    if pipeline.is_some() && policies.iter().any(|policy| policy.1 == Asked::Clairvoyant) {
        return Err(Error::ClairvoyantChain);
    }
    let settings = settings(flags)?;
    let world = world(flags, &settings)?;
    let mut results = Vec::new();
    let mut drawn = Vec::new();
    for trace in traces(flags)? {
        if let (Some(pipeline), Some(file)) = (&pipeline, &flags.pipeline) {
            pipeline.fits(file, &trace).map_err(Error::Pipeline)?;
        }
        let mut of_trace = Results { trace: trace.name.clone(), policies: Vec::new() };
        for &(name, policy) in &policies {
            let mut outcomes = Vec::new();
            for seed in 1..=flags.seeds {
                let world = World { seed, ..world.clone() };
                let chain = pipeline.as_ref().map_or_else(|| Chain::single(&trace), |it| Chain::of(it, &trace, seed));
                let record = flags.format == Format::Html && seed == 1;
                let (outcome, course) = once(policy, &trace, &chain, &world, &settings, record);
                outcomes.push(outcome.clone());
                if record {
                    let course = course.into_iter().map(|(at, tasks, pods)| (at - trace.began, tasks, pods)).collect();
                    drawn.push(Drawn { trace: trace.name.clone(), policy: name.to_owned(), outcome, course });
                }
            }
            of_trace.policies.push((name.to_owned(), mean(&outcomes)));
        }
        results.push(of_trace);
    }
    let text = match flags.format {
        Format::Table => report::table(&results),
        Format::Json => report::json(&results),
        Format::Html => html::page(&drawn, flags.concurrency),
    };
    out.write_all(text.as_bytes()).map_err(Error::Write)
}

type Course = Vec<(f64, u64, u32)>;

fn once(
    asked: Asked,
    trace: &Trace,
    chain: &Chain,
    world: &World,
    settings: &Settings,
    record: bool,
) -> (Outcome, Course) {
    let policies: Vec<Box<dyn Policy>> = match asked {
        Asked::Docket => {
            chain.stages.iter().map(|_| Box::new(Docket::new(settings.clone())) as Box<dyn Policy>).collect()
        }
        Asked::Rival(rival) => rival.policies(&rival.defaults(), chain, world),
        Asked::Clairvoyant => {
            let slots = world.slots as usize;
            let limits =
                Limits { slo: world.slo, slots, max_replicas: world.max_replicas as usize, began: trace.began };
            let plan = clairvoyant::plan(&trace.jobs, &limits, &world.cold_start, world.seed);
            return (plan.outcome(trace, world.slo, world.cold_start.mean), plan.course(&trace.jobs));
        }
    };
    let run = simulate(chain, world, policies, record);
    (run.outcome, run.course)
}

fn asked(name: &str) -> Result<Asked, Error> {
    if name == "docket" {
        return Ok(Asked::Docket);
    }
    if name == "clairvoyant" {
        return Ok(Asked::Clairvoyant);
    }
    Rival::ALL.into_iter().find(|rival| rival.name() == name).map(Asked::Rival).ok_or_else(|| Error::Unknown {
        flag: "--policies",
        word: name.to_owned(),
        known: format!("docket, {}, clairvoyant", Rival::ALL.map(Rival::name).join(", ")),
    })
}

fn world(flags: &Flags, settings: &Settings) -> Result<World, Error> {
    let fault = |name: &String| {
        Fault::named(name.trim()).ok_or_else(|| Error::Unknown {
            flag: "--faults",
            word: name.clone(),
            known: Fault::ALL.map(Fault::name).join(", "),
        })
    };
    let mut faults = flags.faults.iter().map(fault).collect::<Result<Vec<_>, _>>()?;
    // One order, by which they are placed.
    faults.sort_by_key(|fault| Fault::ALL.iter().position(|other| other == fault));
    if let Some(name) = twice(faults.iter().map(|fault| fault.name())) {
        return Err(Error::SameFault { name });
    }
    Ok(World {
        slo: settings.target.wait,
        max_replicas: settings.schedule.iter().map(|window| window.max_replicas).fold(settings.max_replicas, u32::max),
        slots: flags.concurrency,
        cold_start: match &flags.cold_start {
            Some(file) => trace::read_cold_start(file).map_err(Error::Trace)?,
            None => ColdStart::known(vec![10.0, 25.0, 40.0]),
        },
        faults,
        seed: 1,
    })
}

fn traces(flags: &Flags) -> Result<Vec<Trace>, Error> {
    let service = flags.service.as_deref().map(Service::parse).transpose().map_err(Error::Service)?;
    let mut traces = Vec::new();
    for file in &flags.traces {
        traces.push(trace::read(file, service).map_err(Error::Trace)?);
    }
    for word in &flags.generated {
        let (shape, seed) = word.split_once(':').unwrap_or((word, "1"));
        let known = Shape::named(shape).zip(seed.parse().ok());
        let (shape, seed) = known.ok_or_else(|| Error::Unknown {
            flag: "--generate",
            word: word.clone(),
            known: format!("{}, with a colon and a whole number", Shape::ALL.map(Shape::name).join(", ")),
        })?;
        traces.push(generate::trace(shape, seed));
    }
    if let Some(name) = twice(traces.iter().map(|trace| trace.name.as_str())) {
        return Err(Error::SameTrace { name });
    }
    if traces.is_empty() { Err(Error::NoTrace) } else { Ok(traces) }
}

/// The first name that was there before.
fn twice<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut told = BTreeSet::new();
    names.find(|name| !told.insert(*name)).map(str::to_owned)
}

fn settings(flags: &Flags) -> Result<Settings, Error> {
    let Some(path) = &flags.settings else {
        let mut settings = Settings::between(0, flags.max_replicas.unwrap_or(MAX_REPLICAS));
        settings.target.wait = flags.slo.unwrap_or(SLO);
        settings.target.attainment = flags.attainment.unwrap_or(settings.target.attainment);
        return Ok(settings);
    };
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| Error::ReadSettings { file: file.clone(), source })?;
    let not_understood = |source| Error::ParseSettings { file: file.clone(), source };
    let given = given::read(&file, &text).map_err(not_understood)?;
    let settings = with_flags(given.fields.clone(), flags).map_err(given::Error::Form).map_err(not_understood)?;
    settings.check().map_err(|invalid| Error::Settings(given.as_written(invalid)))?;
    agree("--slo", flags.slo, "target.wait", settings.target.wait)?;
    agree("--max-replicas", flags.max_replicas.map(f64::from), "maxReplicas", settings.max_replicas.into())?;
    // Whoever writes both wants a bound that no window exceeds.
    let most = flags.max_replicas.unwrap_or(u32::MAX);
    for (window, entry) in settings.schedule.iter().zip(&given.entries).filter(|(window, _)| window.max_replicas > most)
    {
        let field = format!("schedule[{entry}].maxReplicas");
        agree("--max-replicas", Some(most.into()), &field, window.max_replicas.into())?;
    }
    Ok(settings)
}

/// What is written, and the flags where nothing is.
fn with_flags(mut written: Value, flags: &Flags) -> Result<Settings, serde_path_to_error::Error<serde_json::Error>> {
    if let Some(written) = written.as_object_mut() {
        written.entry("maxReplicas").or_insert_with(|| json!(flags.max_replicas.unwrap_or(MAX_REPLICAS)));
        if let Some(target) = written.entry("target").or_insert_with(|| json!({})).as_object_mut() {
            target.entry("wait").or_insert_with(|| json!(flags.slo.unwrap_or(SLO)));
        }
    }
    serde_path_to_error::deserialize(written)
}

/// Where a flag is given, the field must say the same: what is aimed at and what is counted is one number.
fn agree(flag: &'static str, said: Option<f64>, field: &str, field_value: f64) -> Result<(), Error> {
    match said {
        Some(flag_value) if flag_value != field_value => {
            Err(Error::Contradiction { flag, flag_value, field: field.to_owned(), field_value })
        }
        _ => Ok(()),
    }
}

fn compare(flags: &Flags, grid: &Path, out: &mut impl Write) -> Result<(), Error> {
    let grid = bench::read(grid).map_err(Error::Bench)?;
    // Before anything is run: a comparison takes most of an hour.
    let place = flags.markdown.as_deref().map(Place::find).transpose()?;
    let comparison = bench::compare(&grid, |row| {
        eprintln!(
            "{} s, {} slots, {}: goal {}",
            row.slo,
            row.slots,
            row.trace,
            match row.met() {
                Some(true) => "met",
                Some(false) => "missed",
                None => "without a rival",
            }
        );
    })
    .map_err(Error::Bench)?;
    let text = report::markdown(&comparison);
    match place {
        Some(place) => place.fill(&text),
        None => out.write_all(text.as_bytes()).map_err(Error::Write),
    }
}

/// Where tables stand in a file.
struct Place<'a> {
    path: &'a Path,
    head: String,
    tail: String,
}

impl<'a> Place<'a> {
    fn find(path: &'a Path) -> Result<Self, Error> {
        let failed = |source| Error::Markdown { file: path.display().to_string(), source };
        let before = fs::read_to_string(path).map_err(failed)?;
        match (before.split_once(BEGIN), before.split_once(END)) {
            (Some((head, _)), Some((_, tail))) => Ok(Self { path, head: head.to_owned(), tail: tail.to_owned() }),
            _ => Err(failed(std::io::Error::other(format!("it holds no line \"{BEGIN}\" and \"{END}\"")))),
        }
    }

    fn fill(self, text: &str) -> Result<(), Error> {
        let Self { path, head, tail } = self;
        let written = fs::write(path, format!("{head}{BEGIN}\n\n{text}\n{END}{tail}"));
        written.map_err(|source| Error::Markdown { file: path.display().to_string(), source })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=crate::LONGEST_WAIT).contains(&value) => Ok(value),
        _ => Err("must be a number of seconds above 0 (at least 0.001) and up to a day".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.5..=0.99999).contains(&value) => Ok(value),
        _ => Err("must be a share from 0.5 to 0.99999".to_owned()),
    }
}
