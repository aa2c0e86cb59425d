//! Traces: when tasks arrived and how long they were in work. Reads CSV and refuses what cannot be.

use std::{fs, path::Path};

use super::service::Service;
use crate::ColdStart;

/// Arrivals and times of service, in the order of arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// The file's name without its ending, or the generator's.
    pub name: String,
    /// When the replay begins, in the seconds of arrivals: 0, or the first arrival where these are a clock's times.
    pub began: f64,
    /// The tasks.
    pub jobs: Vec<Job>,
}

/// One task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Seconds since the trace began, or since a Monday.
    pub arrival: f64,
    /// Seconds in work.
    pub service: f64,
    /// Class of size, as far as it is known beforehand.
    pub size: u8,
}

/// Why a file cannot be used; whoever gave it can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or is not text.
    #[error("failed to read \"{file}\"")]
    Read {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The first line names other columns.
    #[error("\"{file}\" line 1: the columns must be {expected}, not \"{found}\"")]
    Columns {
        /// The file.
        file: String,
        /// What they may be.
        expected: &'static str,
        /// What they are.
        found: String,
    },
    /// A line cannot be.
    #[error("\"{file}\" line {line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// The line, the first being 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The file holds no tasks.
    #[error("\"{file}\" holds no lines but the first")]
    Empty {
        /// The file.
        file: String,
    },
    /// A trace of tokens says nothing about seconds.
    #[error("\"{file}\" holds tokens: say how long they take with --service \"a+b*input+d*output\"")]
    NeedsService {
        /// The file.
        file: String,
    },
}

/// A year with a leap day: looked at every second, that is minutes of computing, and nothing that is learned of arrivals is
/// longer than some weeks. No task of a longer time is measured in seconds either.
pub(super) const LONGEST: f64 = 366.0 * 86_400.0;
/// Later than any clock: the year 5138. Times beyond it are in other units.
const LATEST: f64 = 1e11;
const WEEK: f64 = 7.0 * 86_400.0;
/// The first Monday after 1970 began, which was a Thursday.
const MONDAY: f64 = 4.0 * 86_400.0;

const COLUMNS: &str = "arrival_s,service_s, with or without a status, or arrival_s,input_tokens,output_tokens";

/// Reads a trace. Arrivals are seconds since it began; where the first is beyond a year they are a clock's seconds since 1970,
/// and count from the Monday before, so that hours of the day and days of the week stay what they were.
///
/// # Errors
/// Names the line that is not sound: a number that is missing, negative or none, an arrival before the one above, or more than
/// a year.
pub fn read(file: &Path, service: Option<Service>) -> Result<Trace, Error> {
    let (file, text) = text_of(file)?;
    let name = Path::new(&file).file_stem().map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned());
    Ok(Trace { name, ..parse(&file, &text, service)? })
}

/// Reads what [`read`] reads, from text; the trace is called as the file is.
///
/// # Errors
/// As for [`read`].
pub fn parse(file: &str, text: &str, service: Option<Service>) -> Result<Trace, Error> {
    let mut lines = lines_of(text);
    let header = lines.next().map_or("", |(_, line)| line).trim();
    let columns: Vec<&str> = header.split(',').map(str::trim).collect();
    let tokens = match columns.as_slice() {
        ["arrival_s", "service_s"] | ["arrival_s", "service_s", "status"] => None,
        ["arrival_s", "input_tokens", "output_tokens"] => {
            Some(service.ok_or_else(|| Error::NeedsService { file: file.to_owned() })?)
        }
        _ => return Err(Error::Columns { file: file.to_owned(), expected: COLUMNS, found: header.to_owned() }),
    };
    let mut jobs: Vec<Job> = Vec::new();
    for (index, line) in lines {
        let bad = |problem: String| Error::Line { file: file.to_owned(), line: index + 1, problem };
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        if cells.len() != columns.len() {
            return Err(bad(format!("{} columns, not {}", cells.len(), columns.len())));
        }
        let arrival = number(columns[0], cells[0]).map_err(bad)?;
        if let Some(before) = jobs.last().filter(|before| arrival < before.arrival) {
            return Err(bad(format!("arrival_s {arrival} is before the line above ({})", before.arrival)));
        }
        if arrival > LATEST {
            return Err(bad(format!(
                "arrival_s {arrival} is no time in seconds, neither since the trace began nor since 1970"
            )));
        }
        let began = origin(jobs.first().map_or(arrival, |first| first.arrival));
        if arrival - began > LONGEST {
            return Err(bad(format!("arrival_s {arrival} is more than a year after the trace began ({began})")));
        }
        let second = number(columns[1], cells[1]).map_err(bad)?;
        let job = match tokens {
            None => Job { arrival, service: second, size: 0 },
            Some(service) => {
                let output = number(columns[2], cells[2]).map_err(bad)?;
                Job { arrival, service: service.seconds(second, output), size: size_of(second) }
            }
        };
        if job.service > LONGEST {
            return Err(bad(format!("{} s in work are more than a year", job.service)));
        }
        jobs.push(job);
    }
    let Some(first) = jobs.first().map(|job| job.arrival) else {
        return Err(Error::Empty { file: file.to_owned() });
    };
    let monday = origin(first);
    jobs.iter_mut().for_each(|job| job.arrival -= monday);
    Ok(Trace { name: file.to_owned(), began: if monday > 0.0 { first - monday } else { 0.0 }, jobs })
}

/// Reads quantiles of the time that pods take to start: columns `quantile,load_s`, evenly spaced from 0 to 1.
///
/// # Errors
/// Names the line that is not sound.
pub fn read_cold_start(file: &Path) -> Result<ColdStart, Error> {
    let (file, text) = text_of(file)?;
    let mut lines = lines_of(&text);
    let header = lines.next().map_or("", |(_, line)| line).trim();
    if header != "quantile,load_s" {
        return Err(Error::Columns { file, expected: "quantile,load_s", found: header.to_owned() });
    }
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (index, line) in lines {
        let bad = |problem: String| Error::Line { file: file.clone(), line: index + 1, problem };
        let (quantile, load) = line.split_once(',').ok_or_else(|| bad("not two columns".to_owned()))?;
        let point = (number("quantile", quantile).map_err(bad)?, number("load_s", load).map_err(bad)?);
        if points.last().is_some_and(|before| point.0 <= before.0 || point.1 < before.1) {
            return Err(bad("quantiles must rise, and times must not fall".to_owned()));
        }
        if point.1 > LONGEST {
            return Err(bad(format!("load_s {} is more than a year", point.1)));
        }
        points.push(point);
    }
    if points.len() == 1 {
        return Err(Error::Line { file, line: 2, problem: "one quantile is no distribution: give 0 and 1".to_owned() });
    }
    let last = points.len().saturating_sub(1);
    if let Some(index) =
        points.iter().enumerate().position(|(at, point)| (point.0 * last as f64 - at as f64).abs() > 0.01)
    {
        let problem = "quantiles must be evenly spaced from 0 to 1".to_owned();
        return Err(Error::Line { file, line: index + 2, problem });
    }
    if points.len() < 2 {
        return Err(Error::Empty { file });
    }
    Ok(ColdStart::known(points.into_iter().map(|point| point.1).collect()))
}

/// What counts as the trace's beginning: the Monday before a first arrival that is a clock's time.
fn origin(first: f64) -> f64 {
    if first > LONGEST { first - (first - MONDAY).rem_euclid(WEEK) } else { 0.0 }
}

fn text_of(file: &Path) -> Result<(String, String), Error> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|source| Error::Read { file: name.clone(), source })?;
    Ok((name, text))
}

/// The lines with their places, without what editors and spreadsheets add: a byte order mark, and blank lines at the end.
fn lines_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.trim_start_matches('\u{feff}').trim_end().lines().enumerate()
}

fn number(column: &str, cell: &str) -> Result<f64, String> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Err(format!("{column} is missing"));
    }
    let value: f64 = cell.parse().map_err(|_| format!("{column} is \"{cell}\", not a number"))?;
    if !value.is_finite() || value < 0.0 {
        return Err(format!("{column} is {cell}; it must be a number that is not negative"));
    }
    Ok(value)
}

fn size_of(tokens: f64) -> u8 {
    // Doubling sizes; below 64 tokens the constant part of the service rules.
    (tokens.max(64.0).log2().floor() - 6.0).clamp(0.0, 11.0) as u8
}
