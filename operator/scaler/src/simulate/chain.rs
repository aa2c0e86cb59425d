//! What documents pass through: one stage for a plain trace, or a graph of stages with joins. Knows nothing of pods.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{
    manifest,
    random::Random,
    trace::{LONGEST, Trace},
};

/// Stages are kept as bits of a word.
const MOST_STAGES: usize = 32;
/// Ways from an earlier stage that are looked at: more say nothing new.
const MOST_WAYS: usize = 64;

/// Documents and the stages that they pass through.
#[derive(Clone, Debug)]
pub struct Chain {
    /// When the replay begins.
    pub began: f64,
    /// When documents arrive, in order.
    pub arrivals: Vec<f64>,
    /// The stages, each after those that it waits for.
    pub stages: Vec<Stage>,
    /// Stages that wait for no other.
    pub first: Vec<usize>,
    services: Vec<Vec<f32>>,
    sizes: Vec<u8>,
}

/// A stage.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// The stages that it waits for, all of them.
    pub after: Vec<usize>,
    /// Ways that lead to it from earlier stages.
    pub ways: Vec<Way>,
}

/// A way from an earlier stage.
#[derive(Clone, Debug)]
pub struct Way {
    /// Where it begins.
    pub from: usize,
    /// Stages between, in order.
    pub through: Vec<usize>,
    /// How probable it is that a document that is there comes here.
    pub probability: f64,
}

/// A pipeline as it is described in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Description {
    stages: Vec<Described>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Described {
    pub(super) name: String,
    #[serde(default)]
    pub(super) after: Vec<String>,
    /// Seconds in work: a constant, and so many times the trace's own service.
    #[serde(default)]
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) times: f64,
    /// Standard deviation over mean, log-normal.
    #[serde(default)]
    pub(super) variation: f64,
    #[serde(default = "always")]
    pub(super) probability: f64,
}

/// Why a description cannot be used; whoever wrote it can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("failed to read \"{file}\"")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not JSON of the known form.
    #[error("failed to understand \"{file}\"")]
    Parse {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not YAML of the known form.
    #[error("failed to understand \"{file}\"")]
    ParseYaml {
        /// The file.
        file: String,
        /// Where and why.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// A manifest holds several pipelines, and nobody knows which is meant.
    #[error("\"{file}\" holds {count} resources of kind Pipeline, and must hold one")]
    Manifest {
        /// The file.
        file: String,
        /// How many there are.
        count: usize,
    },
    /// A stage cannot be.
    #[error("\"{file}\": stages[{index}].{field} {problem}")]
    Stage {
        /// The file.
        file: String,
        /// Which stage, the first being 0.
        index: usize,
        /// The field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// There are no stages, or too many.
    #[error("\"{file}\": stages must be from 1 to {MOST_STAGES}, not {count}")]
    Count {
        /// The file.
        file: String,
        /// How many there are.
        count: usize,
    },
}

/// A description that was read and found sound.
#[derive(Clone, Debug)]
pub struct Pipeline(Vec<Described>, Vec<Vec<usize>>);

impl Pipeline {
    /// Reads a description: `{"stages": [{"name", "after": [...], "seconds", "times", "variation", "probability"}]}`, as JSON
    /// from a file whose name ends in `.json` and as YAML from others; or a manifest that holds a resource of kind Pipeline,
    /// whose stages all take as long as the trace says.
    ///
    /// # Errors
    /// Names the stage and field that cannot be.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| Error::Read { file: file.clone(), source })?;
        Self::parse(&file, &text)
    }

    /// Reads what [`Pipeline::read`] reads, from text.
    ///
    /// # Errors
    /// As for [`Pipeline::read`].
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let stages = stages(file, text)?;
        if stages.is_empty() || stages.len() > MOST_STAGES {
            return Err(Error::Count { file: file.to_owned(), count: stages.len() });
        }
        let mut after = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            let bad =
                |field: &'static str, problem: String| Error::Stage { file: file.to_owned(), index, field, problem };
            let number = |value: f64| (0.0..=LONGEST).contains(&value);
            if stages[..index].iter().any(|other| other.name == stage.name) {
                return Err(bad("name", format!("\"{}\" is there already", stage.name)));
            }
            if !number(stage.seconds) {
                return Err(bad("seconds", format!("is {}; it must be from 0 to a year", stage.seconds)));
            }
            if !number(stage.times) || stage.seconds + stage.times <= 0.0 {
                let problem = format!("is {}; it must be from 0 to {LONGEST}, and not 0 as seconds are", stage.times);
                return Err(bad("times", problem));
            }
            if !number(stage.variation) || stage.variation > 10.0 {
                return Err(bad("variation", format!("is {}; it must be from 0 to 10", stage.variation)));
            }
            if !(stage.probability > 0.0 && stage.probability <= 1.0) {
                return Err(bad("probability", format!("is {}; it must be above 0 and up to 1", stage.probability)));
            }
            let place = |name: &String| {
                let earlier = stages[..index].iter().position(|other| other.name == *name);
                earlier.ok_or_else(|| bad("after", format!("names \"{name}\", which is no earlier stage")))
            };
            after.push(stage.after.iter().map(place).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Self(stages, after))
    }

    /// Whether no stage makes a task of the trace longer than a year.
    ///
    /// # Errors
    /// Names the stage.
    pub fn fits(&self, file: &Path, trace: &Trace) -> Result<(), Error> {
        let longest = trace.jobs.iter().map(|job| job.service).fold(0.0, f64::max);
        let beyond = |stage: &Described| stage.seconds + stage.times * longest > LONGEST;
        match self.0.iter().position(beyond) {
            Some(index) => Err(Error::Stage {
                file: file.display().to_string(),
                index,
                field: "times",
                problem: format!("makes more than a year of the {longest} s that a task of \"{}\" takes", trace.name),
            }),
            None => Ok(()),
        }
    }
}

fn stages(file: &str, text: &str) -> Result<Vec<Described>, Error> {
    if file.ends_with(".json") {
        let is_manifest = serde_json::from_str::<serde_json::Value>(text).is_ok_and(|it| it["kind"] == "Pipeline");
        if is_manifest {
            // What is JSON is YAML.
            return stages_of_yaml(file, text);
        }
        let description: Result<Description, _> = serde_json::from_str(text);
        return description.map(|it| it.stages).map_err(|source| Error::Parse { file: file.to_owned(), source });
    }
    stages_of_yaml(file, text)
}

fn stages_of_yaml(file: &str, text: &str) -> Result<Vec<Described>, Error> {
    let bad = |source| Error::ParseYaml { file: file.to_owned(), source: Box::new(source) };
    let mut pipelines = manifest::pipelines(text).map_err(bad)?;
    match (pipelines.len(), pipelines.pop()) {
        (1, Some(stages)) => Ok(stages),
        (0, _) => serde_saphyr::from_str(text).map(|it: Description| it.stages).map_err(bad),
        (count, _) => Err(Error::Manifest { file: file.to_owned(), count }),
    }
}

impl Chain {
    /// One stage, with the trace's own service.
    pub fn single(trace: &Trace) -> Self {
        Self {
            began: trace.began,
            arrivals: trace.jobs.iter().map(|job| job.arrival).collect(),
            stages: vec![Stage { name: trace.name.clone(), ..Stage::default() }],
            first: vec![0],
            services: vec![trace.jobs.iter().map(|job| job.service as f32).collect()],
            sizes: trace.jobs.iter().map(|job| job.size).collect(),
        }
    }

    /// The stages of a description, with services drawn by the seed.
    pub fn of(pipeline: &Pipeline, trace: &Trace, seed: u64) -> Self {
        let Pipeline(described, after) = pipeline;
        let mut stages: Vec<Stage> = Vec::new();
        let mut services = Vec::new();
        for (index, stage) in described.iter().enumerate() {
            let mut random = Random::new(seed, 500 + index as u64);
            let service = |job: &super::trace::Job| {
                if random.unit() >= stage.probability {
                    return f32::NAN;
                }
                let mean = (stage.seconds + stage.times * job.service).max(0.001);
                if stage.variation > 0.0 {
                    random.log_normal(mean, stage.variation).min(LONGEST) as f32
                } else {
                    mean as f32
                }
            };
            services.push(trace.jobs.iter().map(service).collect());
            let mut ways: Vec<Way> = Vec::new();
            // Branches that a join brings together carry one task between them.
            let share = stage.probability / after[index].len().max(1) as f64;
            for &from in &after[index] {
                ways.push(Way { from, through: Vec::new(), probability: share });
                for earlier in &stages[from].ways {
                    let mut through = earlier.through.clone();
                    through.push(from);
                    // Two ways from one stage to a join bring one task, not two: the longer one says when.
                    match ways.iter_mut().find(|way| way.from == earlier.from) {
                        Some(known) if known.through.len() < through.len() => known.through = through,
                        Some(_) => {}
                        None => ways.push(Way { from: earlier.from, through, probability: stage.probability }),
                    }
                }
            }
            ways.truncate(MOST_WAYS);
            stages.push(Stage { name: stage.name.clone(), after: after[index].clone(), ways });
        }
        Self {
            began: trace.began,
            arrivals: trace.jobs.iter().map(|job| job.arrival).collect(),
            first: (0..stages.len()).filter(|&stage| stages[stage].after.is_empty()).collect(),
            stages,
            services,
            sizes: trace.jobs.iter().map(|job| job.size).collect(),
        }
    }

    /// Whether the document's branch leads through the stage.
    pub fn takes(&self, stage: usize, document: u32) -> bool {
        !self.services[stage][document as usize].is_nan()
    }

    /// Seconds that the document is in work at the stage.
    pub fn service(&self, stage: usize, document: u32) -> f64 {
        f64::from(self.services[stage][document as usize])
    }

    /// The most seconds that a document can be in work, one stage after another.
    pub fn longest(&self) -> f64 {
        // The largest leaves out NaN, as branches that are not taken are.
        self.services.iter().map(|services| f64::from(services.iter().copied().fold(0.0, f32::max))).sum()
    }

    /// The document's class of size.
    pub fn size(&self, _stage: usize, document: u32) -> u8 {
        self.sizes[document as usize]
    }
}

fn always() -> f64 {
    1.0
}
