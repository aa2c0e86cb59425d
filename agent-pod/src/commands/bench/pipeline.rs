//! Ten documents through a pipeline that writes: branches side by side against stages in sequence, one document after
//! another and all at once, and again from the cache.

use std::{path::Path, sync::Arc, time::Instant};

use serde_json::Map;

use super::measure::{self, Measured};
use crate::{
    Error, Result,
    args::Format,
    commands::run::{
        report::Reporter,
        session::{Session, Settings},
    },
    runtime::{
        inputs::{Content, Input},
        now,
        state::{Run, State},
    },
};

const SUITE: &str = "pipeline";
const FILE: &str = include_str!("pipeline.yaml");
const TEXT: &str = include_str!("../../../../LICENSE");
const DOCUMENTS: usize = 10;

/// Slots of the pool: enough that no stage of ten documents waits for one.
const SLOTS: u32 = 32;

/// One way to run the same documents.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// `parallel` of the pipeline.
    parallel: bool,
    /// Documents in flight at once.
    in_flight: usize,
}

const WAYS: [Way; 4] = [
    Way { name: "10 documents one after another, stages in sequence", parallel: false, in_flight: 1 },
    Way { name: "10 documents one after another, branches in parallel", parallel: true, in_flight: 1 },
    Way { name: "10 documents at once, stages in sequence", parallel: false, in_flight: DOCUMENTS },
    Way { name: "10 documents at once, branches in parallel", parallel: true, in_flight: DOCUMENTS },
];

pub(super) async fn run(models: Option<&Path>, rounds: usize) -> Result<Vec<Measured>> {
    let mut cold: Vec<(Vec<f64>, f64)> = WAYS.iter().map(|_| (Vec::new(), 0.0)).collect();
    let mut cached = (Vec::new(), 0.0);
    let mut hits = (Vec::new(), 0.0);
    // Round 0 warms up; the ways take turns, so that all meet the same noise.
    for round in 0..=rounds {
        for (way, (seconds, cpu)) in WAYS.iter().zip(&mut cold) {
            let folder = tempfile::tempdir().map_err(Error::system("make a folder"))?;
            let first = once(*way, models, folder.path(), round).await?;
            if round == 0 {
                continue;
            }
            seconds.push(first.seconds);
            *cpu += first.cpu_seconds;
            if way.parallel && way.in_flight > 1 {
                let again = once(*way, models, folder.path(), round).await?;
                cached.0.push(again.seconds);
                cached.1 += again.cpu_seconds;
                hits.0.extend(again.hit_milliseconds);
            }
        }
    }
    let mut measured: Vec<Measured> =
        WAYS.iter().zip(cold).map(|(way, (seconds, cpu))| Measured::of(SUITE, way.name, "s", seconds, cpu)).collect();
    measured.push(Measured::of(SUITE, "10 documents at once, from the cache", "s", cached.0, cached.1));
    measured.push(Measured::of(SUITE, "a stage answered by the cache", "ms", hits.0, hits.1));
    Ok(measured)
}

struct Once {
    seconds: f64,
    cpu_seconds: f64,
    hit_milliseconds: Vec<f64>,
}

/// One run; models are loaded before the clock starts.
async fn once(way: Way, models: Option<&Path>, folder: &Path, round: usize) -> Result<Once> {
    let resources = crds::file::parse("pipeline.yaml", FILE)
        .map_err(|errors| Error::Usage(errors.iter().map(ToString::to_string).collect()))?;
    let pipeline = resources.pipelines.first().ok_or_else(|| Error::usage("pipeline.yaml holds no pipeline"))?;
    let mut spec = pipeline.resource.spec.clone();
    spec.parallel = way.parallel;
    let pools = resources.pools.iter().map(|pool| {
        let mut pool_spec = pool.resource.spec.clone();
        pool_spec.concurrency = Some(SLOTS);
        (pool.name().to_owned(), pool_spec)
    });
    let plan = flow::compile(pipeline.name(), 1, &spec, &pools.collect())
        .map_err(|problems| Error::Usage(problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()))?;
    let state = State::open(folder)?;
    let run = Run::new(&plan.name, now());
    let mut reporter = Reporter::silent(&run, &plan, Format::Json);
    let session = Arc::new(
        Session::start(Settings {
            state,
            run,
            plan,
            replayed: Vec::new(),
            models: models.map(Path::to_path_buf),
            suspended: false,
            in_flight: Some(way.in_flight),
            redis: None,
        })
        .await?,
    );
    let (begun, cpu) = (Instant::now(), measure::cpu_seconds());
    session.work(documents(round).into_iter(), false, &mut reporter, "nothing is measured").await?;
    let hit_milliseconds = reporter.cached_seconds().map(|seconds| seconds * 1_000.0).collect();
    Ok(Once { seconds: begun.elapsed().as_secs_f64(), cpu_seconds: measure::cpu_seconds() - cpu, hit_milliseconds })
}

/// Paragraphs of a long real text, each document with other ones.
fn documents(round: usize) -> Vec<Input> {
    let paragraphs: Vec<&str> = TEXT.split("\n\n").filter(|paragraph| paragraph.len() > 200).collect();
    let text = |n: usize| format!("Document {n} of round {round}.\n\n{}", paragraphs[n % paragraphs.len()]);
    (0..DOCUMENTS)
        .map(|n| Input {
            id: format!("document-{n}"),
            source: format!("document-{n}.txt"),
            metadata: Map::new(),
            priority: None,
            content: Content::Text(text(n)),
        })
        .collect()
}
