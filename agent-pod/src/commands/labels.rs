//! Files of what is known of documents: a line for each label or score. Knows no pipeline; whoever reads one says what fits.

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// One line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feedback {
    /// Where it stands, for messages.
    #[serde(skip)]
    pub(crate) place: String,
    pub(crate) document: String,
    pub(crate) head: String,
    pub(crate) label: Option<String>,
    pub(crate) score: Option<f64>,
    #[serde(default)]
    pub(crate) split: Split,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Split {
    #[default]
    Train,
    Test,
}

/// Reads the file that a flag names. A line that is none, or that `unfit` says something about, is a usage error that names
/// file and line.
pub(crate) fn read(flag: &str, path: &Path, unfit: impl Fn(&Feedback) -> Option<String>) -> Result<Vec<Feedback>> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Error::usage(format!("{flag} {}: {error}", path.display())))?;
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{}:{}", path.display(), number + 1);
        match serde_json::from_str::<Feedback>(line) {
            Ok(Feedback { score: Some(score), .. }) if !(0.0..=1.0).contains(&score) => {
                problems.push(format!("{place}: \"score\" must lie between 0 and 1"));
            }
            Ok(line) if line.label.is_some() == line.score.is_some() => {
                problems.push(format!("{place}: set exactly one of \"label\" and \"score\""));
            }
            Ok(line) => match unfit(&line) {
                Some(problem) => problems.push(format!("{place}: {problem}")),
                None => lines.push(Feedback { place, ..line }),
            },
            Err(error) => problems.push(format!("{place}: not feedback: {error}")),
        }
    }
    if problems.is_empty() { Ok(lines) } else { Err(Error::Usage(problems)) }
}
