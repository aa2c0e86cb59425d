//! The comparison: a fixed grid of targets, slots and traces; rivals at their defaults and at the best settings found on the
//! other traces; ours without any setting fitted to a trace. Knows not how it is written down.

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde::Deserialize;

use super::{
    chain::Chain,
    clairvoyant::{self, Limits},
    docket::Docket,
    engine::{World, run},
    faults::Fault,
    generate::{self, Shape},
    outcome::{Outcome, mean},
    rivals::Rival,
    search,
    service::Service,
    trace::{self, Trace},
    variations::{self, Elsewhere},
};
use crate::{ColdStart, LONGEST_WAIT, Settings};

/// The attainment from which on a rival counts; what parts are worth and what faults cost is measured at this promise.
const ATTAINED: f64 = 0.99;
/// Promises tried beside those of the grid, each half way from the cheapest that attains enough to the one below it.
const REFINED: usize = 3;
/// Lower promises are not tried.
const LOWEST: f64 = 0.9;

/// What is compared, fixed in a file before the comparison.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grid {
    /// Traces on disk; those that are not there are left out and named.
    pub traces: Vec<PathBuf>,
    /// Generated traces: shape and seed.
    pub generated: Vec<(String, u64)>,
    /// Seconds from tokens, for traces that hold tokens.
    pub service: String,
    /// Quantiles of cold starts; without the file, log-normal ones with about the same mean.
    pub cold_start: PathBuf,
    /// Seconds that a task may wait.
    pub slo: Vec<f64>,
    /// Tasks that one pod works on at once.
    pub concurrency: Vec<u32>,
    /// Never more pods.
    pub max_replicas: u32,
    /// Seeds of each reported run.
    pub seeds: u64,
    /// Settings tried for each rival.
    pub trials: usize,
    /// Promises that ours is run with, the lowest first: the cheapest that attains what the rival does is compared, with some
    /// further ones close to it.
    pub attainments: Vec<f64>,
}

/// Why there is no comparison; whoever wrote the grid can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The grid cannot be read.
    #[error("failed to read \"{file}\"")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The grid is not of the known form.
    #[error("failed to understand \"{file}\"")]
    Parse {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A field of the grid cannot be.
    #[error("\"{field}\" of the grid {problem}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The formula is not understood.
    #[error("failed to read the service formula of the grid")]
    Service(#[source] super::service::Error),
    /// A trace is not sound.
    #[error("failed to read a trace of the grid")]
    Trace(#[source] trace::Error),
    /// No generator has that name.
    #[error("\"{name}\" in \"generated\" is no shape that is known")]
    Shape {
        /// The name.
        name: String,
    },
    /// Nothing to compare on.
    #[error("the grid names no trace that is there")]
    NoTraces,
}

/// The whole comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Traces that were not there.
    pub missing: Vec<String>,
    /// One row for each target, number of slots and trace.
    pub rows: Vec<Row>,
}

/// One trace in one cell of the grid.
#[derive(Clone, Debug)]
pub struct Row {
    /// Seconds that a task may wait.
    pub slo: f64,
    /// Tasks that one pod works on at once.
    pub slots: u32,
    /// The trace.
    pub trace: String,
    /// Its tasks.
    pub tasks: usize,
    /// Pod-seconds of the clairvoyant plan, over seeds.
    pub clairvoyant: f64,
    /// Changes of direction of that plan, an hour.
    pub clairvoyant_turns: f64,
    /// Rivals, each at its defaults and at its best.
    pub rivals: Vec<Entry>,
    /// Ours, by promise.
    pub ours: Vec<Entry>,
    /// Ours with a part turned off, at a promise of 0.99.
    pub without: Vec<Entry>,
    /// Ours with the constants that are best on the other traces, at a promise of 0.99.
    pub elsewhere: Option<Elsewhere>,
    /// (fault, misses of ours with it and without, the cheapest rival's), as shares of tasks.
    pub faults: Vec<(String, f64, f64, f64)>,
}

/// An autoscaler, its settings, and what came of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: String,
    /// The mean over seeds.
    pub outcome: Outcome,
}

impl Row {
    /// The cheapest rival that attains what is asked for.
    pub fn rival(&self) -> Option<&Entry> {
        let attaining = self.rivals.iter().filter(|entry| entry.outcome.slo_attainment >= ATTAINED);
        attaining.min_by(|one, other| one.outcome.pod_seconds.total_cmp(&other.outcome.pod_seconds))
    }

    /// The cheapest of ours that attains at least as much as the rival; else the one that attains most.
    pub fn our(&self) -> Option<&Entry> {
        let cheapest = self.cheapest().and_then(|place| self.ours.get(place));
        let most = |one: &&Entry, other: &&Entry| one.outcome.slo_attainment.total_cmp(&other.outcome.slo_attainment);
        cheapest.or_else(|| self.ours.iter().max_by(most))
    }

    /// Which of ours is the cheapest that attains at least as much as the rival.
    fn cheapest(&self) -> Option<usize> {
        let least = self.rival().map_or(ATTAINED, |rival| rival.outcome.slo_attainment);
        let attaining = self.ours.iter().enumerate().filter(|(_, entry)| entry.outcome.slo_attainment >= least);
        let cost = |entry: &Entry| entry.outcome.pod_seconds;
        attaining.min_by(|one, other| cost(one.1).total_cmp(&cost(other.1))).map(|(place, _)| place)
    }

    /// The most pod-seconds with which the goal is met: the rival's less a quarter, or less two thirds of what it is above the
    /// clairvoyant plan, whichever asks for less.
    pub fn goal(&self) -> Option<f64> {
        let rival = self.rival()?.outcome.pod_seconds;
        Some(rival - (0.25 * rival).min(2.0 / 3.0 * (rival - self.clairvoyant)))
    }

    /// Whether ours attains what the rival does at no more than the goal.
    pub fn met(&self) -> Option<bool> {
        let (rival, our, goal) = (self.rival()?, self.our()?, self.goal()?);
        let attains = our.outcome.slo_attainment >= rival.outcome.slo_attainment;
        Some(attains && our.outcome.pod_seconds <= goal)
    }
}

/// Reads a grid.
///
/// # Errors
/// Says what is wrong with the file.
pub fn read(file: &Path) -> Result<Grid, Error> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|source| Error::Read { file: name.clone(), source })?;
    let grid: Grid = serde_json::from_str(&text).map_err(|source| Error::Parse { file: name, source })?;
    grid.check().map(|()| grid)
}

impl Grid {
    /// Whether each field is what the flag of its name may be.
    fn check(&self) -> Result<(), Error> {
        let bad = |field, problem: String| Err(Error::Field { field, problem });
        let within = |field, value: f64, (least, most): (f64, f64)| match (least..=most).contains(&value) {
            true => Ok(()),
            false => bad(field, format!("holds {value}; it must be from {least} to {most}")),
        };
        let all = |field, values: &[f64], range| {
            if values.is_empty() {
                return bad(field, "is empty".to_owned());
            }
            if let Some(twice) = values.iter().enumerate().find(|(place, value)| values[..*place].contains(value)) {
                return bad(field, format!("holds {} twice", twice.1));
            }
            values.iter().try_for_each(|value| within(field, *value, range))
        };
        all("slo", &self.slo, (0.001, LONGEST_WAIT))?;
        let slots: Vec<f64> = self.concurrency.iter().map(|slots| f64::from(*slots)).collect();
        all("concurrency", &slots, (1.0, 1_024.0))?;
        all("attainments", &self.attainments, (0.5, 0.99999))?;
        within("maxReplicas", self.max_replicas.into(), (1.0, 10_000.0))?;
        within("seeds", self.seeds as f64, (1.0, 1_000.0))?;
        within("trials", self.trials as f64, (1.0, 1_000.0))?;
        let names = self.generated.iter().map(|(shape, seed)| format!("{shape}:{seed}"));
        let mut names: Vec<String> = names.chain(self.traces.iter().map(|file| file.display().to_string())).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => bad("traces", format!("or \"generated\" holds {} twice", pair[0])),
            None => Ok(()),
        }
    }
}

/// Runs the comparison, as many cells at once as there are processors; `told` hears of each row as its cell is done.
///
/// # Errors
/// Names the trace or formula that is not sound.
pub fn compare(grid: &Grid, told: impl Fn(&Row) + Sync) -> Result<Comparison, Error> {
    let (traces, missing) = traces(grid)?;
    let cold_start = if grid.cold_start.exists() {
        trace::read_cold_start(&grid.cold_start).map_err(Error::Trace)?
    } else {
        ColdStart::known((0..=50).map(|step| 4.0 + 36.0 * f64::from(step) / 50.0).collect())
    };
    let world = |slo: f64, slots: u32| World {
        slo,
        max_replicas: grid.max_replicas,
        slots,
        cold_start: cold_start.clone(),
        faults: Vec::new(),
        seed: 1,
    };
    let worlds: Vec<World> = grid
        .slo
        .iter()
        .flat_map(|&slo| grid.concurrency.iter().map(move |&slots| (slo, slots)))
        .map(|(slo, slots)| world(slo, slots))
        .collect();
    let next = AtomicUsize::new(0);
    // Each takes the next cell, and all are put back in order: the tables do not depend on who was quick.
    let work = || {
        let mut done = Vec::new();
        while let Some((place, world)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, worlds.get(at)?)))
        {
            let rows = cell(grid, &traces, world);
            rows.iter().for_each(&told);
            done.push((place, rows));
        }
        done
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(worlds.len());
    let mut cells: Vec<(usize, Vec<Row>)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let done = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(done).collect()
    });
    cells.sort_by_key(|cell| cell.0);
    Ok(Comparison { missing, rows: cells.into_iter().flat_map(|cell| cell.1).collect() })
}

fn traces(grid: &Grid) -> Result<(Vec<Trace>, Vec<String>), Error> {
    let service = Service::parse(&grid.service).map_err(Error::Service)?;
    let (there, missing): (Vec<_>, Vec<_>) = grid.traces.iter().partition(|file| file.exists());
    let mut traces = Vec::new();
    for file in there {
        traces.push(trace::read(file, Some(service)).map_err(Error::Trace)?);
    }
    for (name, seed) in &grid.generated {
        let shape = Shape::named(name).ok_or_else(|| Error::Shape { name: name.clone() })?;
        traces.push(generate::trace(shape, *seed));
    }
    if traces.is_empty() {
        return Err(Error::NoTraces);
    }
    Ok((traces, missing.into_iter().map(|file| file.display().to_string()).collect()))
}

/// All traces with one target and one number of slots: settings are searched on the traces that are not reported.
fn cell(grid: &Grid, traces: &[Trace], world: &World) -> Vec<Row> {
    let chains: Vec<Chain> = traces.iter().map(Chain::single).collect();
    let planned: Vec<(f64, f64)> = traces.iter().map(|trace| planned(trace, world, grid.seeds)).collect();
    let clairvoyant: Vec<f64> = planned.iter().map(|plan| plan.0).collect();
    let mut rows: Vec<Row> = traces
        .iter()
        .zip(&planned)
        .map(|(trace, &(clairvoyant, clairvoyant_turns))| Row {
            slo: world.slo,
            slots: world.slots,
            trace: trace.name.clone(),
            tasks: trace.jobs.len(),
            clairvoyant,
            clairvoyant_turns,
            rivals: Vec::new(),
            ours: Vec::new(),
            without: Vec::new(),
            elsewhere: None,
            faults: Vec::new(),
        })
        .collect();
    for rival in Rival::ALL {
        let settings = search::settings(rival, grid.trials, 1);
        // The search has a seed of its own, which no report uses.
        let searched = World { seed: 1_000, ..world.clone() };
        let once = |settings: &Vec<f64>, chain: &Chain| {
            run(chain, &searched, rival.policies(settings, chain, &searched), false).outcome
        };
        let runs: Vec<Vec<Outcome>> =
            settings.iter().map(|settings| chains.iter().map(|chain| once(settings, chain)).collect()).collect();
        for (index, row) in rows.iter_mut().enumerate() {
            let best = search::best(&runs, &clairvoyant, index, ATTAINED);
            let chain = &chains[index];
            let chosen =
                if best == 0 { vec![(0, "defaults")] } else { vec![(0, "defaults"), (best, "best of others")] };
            for (setting, how) in chosen {
                let outcome = seeds(grid.seeds, world, |world| rival.policies(&settings[setting], chain, world), chain);
                let settings = format!("{how}: {}", described(rival, &settings[setting]));
                row.rivals.push(Entry { name: rival.name().to_owned(), settings, outcome });
            }
        }
    }
    for (row, chain) in rows.iter_mut().zip(&chains) {
        promised(grid, world, chain, row);
        row.without = without(grid, world, chain);
        row.faults = faults(world, chain, row);
    }
    for (row, elsewhere) in rows.iter_mut().zip(elsewhere(world, &chains, &clairvoyant)) {
        row.elsewhere = Some(elsewhere);
    }
    rows
}

/// Ours at the promises of the grid, and at some close to the one that is compared: how far promises lie apart is not what the
/// comparison is about.
fn promised(grid: &Grid, world: &World, chain: &Chain, row: &mut Row) {
    let at = |promise: f64| ours(grid, world, chain, promise, |_| {}, "docket");
    let mut promises = grid.attainments.clone();
    row.ours = promises.iter().map(|&promise| at(promise)).collect();
    for _ in 0..REFINED {
        let Some(place) = row.cheapest() else { return };
        let below = if place == 0 { LOWEST } else { promises[place - 1] };
        if below >= promises[place] {
            return;
        }
        let between = halfway(below, promises[place]);
        if between >= promises[place] {
            return;
        }
        promises.insert(place, between);
        row.ours.insert(place, at(between));
    }
}

/// A promise between two, by the ratio of what they leave to be late, in ten millionths.
fn halfway(one: f64, other: f64) -> f64 {
    let late = ((1.0 - one) * (1.0 - other)).sqrt();
    1.0 - (late * 1e7).round() / 1e7
}

/// Pod-seconds of the clairvoyant plan and its changes of direction an hour, over seeds.
fn planned(trace: &Trace, world: &World, seeds: u64) -> (f64, f64) {
    let limits = Limits {
        slo: world.slo,
        slots: world.slots as usize,
        max_replicas: world.max_replicas as usize,
        began: trace.began,
    };
    let plans = (1..=seeds).map(|seed| {
        let plan = clairvoyant::plan(&trace.jobs, &limits, &world.cold_start, seed);
        (plan.pod_seconds, plan.outcome(trace, world.slo, world.cold_start.mean).reversals_per_hour)
    });
    let (seconds, turns) = plans.fold((0.0, 0.0), |sum, plan| (sum.0 + plan.0, sum.1 + plan.1));
    (seconds / seeds as f64, turns / seeds as f64)
}

fn seeds(
    seeds: u64,
    world: &World,
    policies: impl Fn(&World) -> Vec<Box<dyn super::policy::Policy>>,
    chain: &Chain,
) -> Outcome {
    let of = |seed: u64| {
        let world = World { seed, ..world.clone() };
        run(chain, &world, policies(&world), false).outcome
    };
    mean(&(1..=seeds).map(of).collect::<Vec<_>>())
}

fn ours(grid: &Grid, world: &World, chain: &Chain, promise: f64, change: impl Fn(&mut Settings), name: &str) -> Entry {
    let mut settings = settings(world, promise);
    change(&mut settings);
    let policies = |_: &World| -> Vec<Box<dyn super::policy::Policy>> { vec![Box::new(Docket::new(settings.clone()))] };
    let outcome = seeds(grid.seeds, world, policies, chain);
    Entry { name: name.to_owned(), settings: format!("target.attainment {promise}"), outcome }
}

/// Our settings for a world: the target and the bounds, nothing else.
pub fn settings(world: &World, promise: f64) -> Settings {
    let mut settings = Settings::between(0, world.max_replicas);
    settings.target.wait = world.slo;
    settings.target.attainment = promise;
    settings
}

/// A part of the decision by name, and how it is turned off.
type Part = (&'static str, fn(&mut Settings));

fn without(grid: &Grid, world: &World, chain: &Chain) -> Vec<Entry> {
    let parts: [Part; 9] = [
        ("patience", |settings| settings.terms.patience = false),
        ("packing", |settings| settings.terms.packing = false),
        ("keeping", |settings| settings.terms.keeping = false),
        ("work in service", |settings| settings.terms.in_service = false),
        ("arrivals", |settings| settings.terms.arrivals = false),
        ("headroom", |settings| settings.terms.headroom = false),
        ("feedback", |settings| settings.terms.feedback = false),
        ("damping", |settings| settings.terms.damping = false),
        ("season", |settings| settings.terms.season = false),
    ];
    // What a part is worth shows on one seed; ours with all parts is run with the same.
    let once = Grid { seeds: 1, ..grid.clone() };
    let mut entries = vec![ours(&once, world, chain, ATTAINED, |_| {}, "all parts")];
    entries.extend(parts.iter().map(|&(name, off)| ours(&once, world, chain, ATTAINED, off, name)));
    entries
}

/// For each trace, ours with the constants that are best on the others.
fn elsewhere(world: &World, chains: &[Chain], clairvoyant: &[f64]) -> Vec<Elsewhere> {
    let of = |variation: &variations::Variation, chain: &Chain| {
        let mut settings = settings(world, ATTAINED);
        variation.1(&mut settings.tuning);
        run(chain, world, vec![Box::new(Docket::new(settings))], false).outcome
    };
    let runs: Vec<Vec<Outcome>> =
        variations::ALL.iter().map(|variation| chains.iter().map(|chain| of(variation, chain)).collect()).collect();
    variations::chosen_elsewhere(&runs, clairvoyant, ATTAINED)
}

/// Shares of late tasks under each fault and without, ours and the cheapest attaining rival's, with cold starts three times as
/// long as a further fault.
fn faults(world: &World, chain: &Chain, row: &Row) -> Vec<(String, f64, f64, f64)> {
    let mine = |world: &World| -> f64 {
        let policies: Vec<Box<dyn super::policy::Policy>> = vec![Box::new(Docket::new(settings(world, ATTAINED)))];
        1.0 - run(chain, world, policies, false).outcome.slo_attainment
    };
    let rivals = 1.0 - row.rival().map_or(0.0, |rival| rival.outcome.slo_attainment);
    let calm = mine(world);
    let mut rows: Vec<(String, f64, f64, f64)> = Fault::ALL
        .iter()
        .map(|&fault| (fault.name().to_owned(), mine(&World { faults: vec![fault], ..world.clone() }), calm, rivals))
        .collect();
    let slow = ColdStart::known(world.cold_start.quantiles.iter().map(|start| start * 3.0).collect());
    rows.push((
        "cold starts three times as long".to_owned(),
        mine(&World { cold_start: slow, ..world.clone() }),
        calm,
        rivals,
    ));
    rows
}

fn described(rival: Rival, settings: &[f64]) -> String {
    let one = |(knob, value): (&super::rivals::Knob, &f64)| {
        if *value < 0.0 { format!("{} {}x slots", knob.name, -value) } else { format!("{} {value}", knob.name) }
    };
    rival.knobs().iter().zip(settings).map(one).collect::<Vec<_>>().join(", ")
}
