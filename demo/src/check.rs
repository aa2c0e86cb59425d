//! Reads the results of a run and proves what they claim: every citation lies where it says, and how good the classifier
//! is on the texts that are no near copies of trained ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Deserialize)]
struct DocumentLine {
    id: String,
    path: PathBuf,
}

#[derive(Deserialize)]
struct FeedbackLine {
    document: String,
    label: String,
    split: String,
}

#[derive(Deserialize)]
struct Division {
    far_from_training: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ResultLine {
    document: String,
    outcome: String,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    stages: BTreeMap<String, StageResult>,
    #[serde(default)]
    citations: Vec<Citation>,
}

#[derive(Deserialize)]
struct StageResult {
    #[serde(default)]
    output: Value,
}

/// A place in a source.
#[derive(Clone, Debug, Deserialize)]
pub struct Citation {
    /// The document's id or path.
    pub source: String,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What stands there.
    pub text: String,
    /// The sentence that rests on it.
    #[serde(default)]
    pub claim: String,
}

/// Hits among tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many were right.
    pub right: usize,
    /// Of how many.
    pub all: usize,
}

/// What the results prove.
#[derive(Debug, Default)]
pub struct Report {
    /// Documents by outcome.
    pub outcomes: BTreeMap<String, usize>,
    /// Citations whose bytes are those of the source.
    pub citations: Share,
    /// Documents that have at least one citation.
    pub cited: usize,
    /// Citations that do not hold, with the document they belong to.
    pub broken: Vec<(String, Citation)>,
    /// Labels on all held-out texts.
    pub held_out: Share,
    /// Labels on held-out texts that are no near copy of a trained one.
    pub far: Share,
    /// Held-out texts with a wrong label: document, truth, answer.
    pub wrong: Vec<(String, String, String)>,
    /// The first document that has citations, and what the pipeline made of it.
    pub example: Option<(String, Value)>,
    /// Every citation that holds, a line each, for a person to look up.
    pub places: Vec<String>,
}

impl Report {
    /// Reads what `collect` wrote into `demo` and what a run wrote into `results`.
    pub fn read(demo: &Path, results: &Path) -> Result<Self> {
        let documents: Vec<DocumentLine> = read_lines(&demo.join("documents.jsonl"))?;
        let feedback: Vec<FeedbackLine> = read_lines(&demo.join("feedback.jsonl"))?;
        let division = demo.join("corpus.json");
        let division: Division = serde_json::from_str(&read(&division)?)
            .with_context(|| format!("failed to read {}", division.display()))?;
        let lines: Vec<ResultLine> = read_lines(&results.join("results.jsonl"))?;
        let paths: BTreeMap<&str, &Path> =
            documents.iter().map(|document| (document.id.as_str(), document.path.as_path())).collect();
        let truth: BTreeMap<&str, &str> = feedback
            .iter()
            .filter(|line| line.split == "test")
            .map(|line| (line.document.as_str(), line.label.as_str()))
            .collect();
        let mut report = Self::default();
        for line in &lines {
            report.add(line, &paths, &truth, &division)?;
        }
        Ok(report)
    }

    fn add(
        &mut self,
        line: &ResultLine,
        paths: &BTreeMap<&str, &Path>,
        truth: &BTreeMap<&str, &str>,
        division: &Division,
    ) -> Result<()> {
        *self.outcomes.entry(line.outcome.clone()).or_default() += 1;
        self.cited += usize::from(!line.citations.is_empty());
        for citation in &line.citations {
            let path = paths.get(citation.source.as_str()).copied().unwrap_or(Path::new(&citation.source));
            let source = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            self.citations.all += 1;
            if source.get(citation.start..citation.end) == Some(citation.text.as_bytes()) {
                self.citations.right += 1;
                self.places.push(place(&line.document, citation));
            } else {
                self.broken.push((line.document.clone(), citation.clone()));
            }
        }
        self.add_label(line, truth, division);
        if self.example.is_none() && !line.citations.is_empty() {
            self.example = Some((line.document.clone(), line.output.clone()));
        }
        Ok(())
    }

    fn add_label(&mut self, line: &ResultLine, truth: &BTreeMap<&str, &str>, division: &Division) {
        let answer = line.stages.get("classify").and_then(|stage| stage.output["label"].as_str());
        let (Some(truth), Some(answer)) = (truth.get(line.document.as_str()), answer) else { return };
        let right = usize::from(*truth == answer);
        self.held_out.all += 1;
        self.held_out.right += right;
        if division.far_from_training.contains(&line.document) {
            self.far.all += 1;
            self.far.right += right;
        }
        if right == 0 {
            self.wrong.push((line.document.clone(), (*truth).to_owned(), answer.to_owned()));
        }
    }
}

fn place(document: &str, citation: &Citation) -> String {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let Citation { source, start, end, text, claim } = citation;
    format!("{document}: \"{}\"\n  {source} bytes {start}..{end}: \"{}\"", one_line(claim), one_line(text))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("failed to read {} line {}", path.display(), number + 1))
        })
        .collect()
}
