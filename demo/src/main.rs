//! `docket-demo-corpus collect|check`: makes the demonstration's documents and checks its results.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use docket_demo_corpus::{
    check::{Report, Share},
    collect,
    corpus::Corpus,
    split::Side,
};

const USAGE: &str = "usage: docket-demo-corpus collect [--workspace DIR] [--out DIR]
       docket-demo-corpus check [--out DIR] [--results DIR]

collect  writes documents.jsonl, feedback.jsonl and corpus.json into --out (default .demo)
check    compares the results of a run (default .demo/results) with the sources and the labels";

fn main() -> Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let mut folders = Folders { workspace: ".".into(), out: ".demo".into(), results: ".demo/results".into() };
    while let Some(flag) = arguments.next() {
        folders.set(&flag, arguments.next())?;
    }
    match command.as_str() {
        "collect" => collect_into(&folders.workspace, &folders.out),
        "check" => check(&folders.out, &folders.results),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("unknown command \"{other}\"\n{USAGE}"),
    }
}

struct Folders {
    workspace: PathBuf,
    out: PathBuf,
    results: PathBuf,
}

impl Folders {
    fn set(&mut self, flag: &str, value: Option<String>) -> Result<()> {
        let Some(value) = value else { bail!("{flag} wants a folder\n{USAGE}") };
        match flag {
            "--workspace" => self.workspace = value.into(),
            "--out" => self.out = value.into(),
            "--results" => self.results = value.into(),
            other => bail!("unknown flag \"{other}\"\n{USAGE}"),
        }
        Ok(())
    }
}

fn collect_into(workspace: &Path, out: &Path) -> Result<ExitCode> {
    let packages = collect::dependencies(workspace)?;
    let corpus = Corpus::gather(&packages)?;
    corpus.write(out)?;
    println!(
        "{} licence files of {} crates, {} to review, written to {}",
        corpus.documents.len(),
        packages.len(),
        corpus.reviewed.len(),
        out.display()
    );
    println!("{:<34}{:>22}{:>22}", "label (documents / texts)", "train", "held out");
    for (label, sides) in corpus.counts() {
        let cell =
            |side| sides.get(&side).map_or("-".to_owned(), |count| format!("{} / {}", count.documents, count.groups));
        println!("{label:<34}{:>22}{:>22}", cell(Side::Train), cell(Side::Test));
    }
    Ok(ExitCode::SUCCESS)
}

fn check(out: &Path, results: &Path) -> Result<ExitCode> {
    let report = Report::read(out, results)?;
    println!("held-out labels right      {}", percent(report.held_out));
    println!("  of texts far from any trained one (less than 80 % of five-word runs shared)  {}", percent(report.far));
    println!("citations at their place   {} in {} documents", percent(report.citations), report.cited);
    for (document, citation) in report.broken.iter().take(SHOWN) {
        println!("  {document}: {} bytes {}..{} are not the text cited", citation.source, citation.start, citation.end);
    }
    for (document, truth, answer) in report.wrong.iter().take(SHOWN) {
        println!("  {document}: is {truth}, was labelled {answer}");
    }
    let places = results.join("citations.txt");
    fs::write(&places, report.places.join("\n") + "\n")
        .with_context(|| format!("failed to write {}", places.display()))?;
    println!("  each with its claim and its place in {}, for example", places.display());
    for place in report.places.iter().take(EXAMPLES) {
        println!("  {}", place.replace('\n', "\n  "));
    }
    if let Some((document, output)) = &report.example {
        println!("the entry about {document}:\n{output:#}");
    }
    Ok(if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Citations that are printed whole.
const EXAMPLES: usize = 3;

/// Broken citations and wrong labels that are listed; the results hold all of them.
const SHOWN: usize = 10;

fn percent(share: Share) -> String {
    if share.all == 0 {
        return "none".to_owned();
    }
    format!("{} of {} ({:.1} %)", share.right, share.all, 100.0 * share.right as f64 / share.all as f64)
}
