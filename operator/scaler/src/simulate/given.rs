//! Settings as they are given to the simulator: as an AgentPool's `scaling` is written, or in the numbers of
//! [`crate::Settings`]. Knows no flag, and checks no range.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Invalid;

const MINUTES_A_DAY: u32 = 24 * 60;
const MINUTES_A_WEEK: u32 = 7 * MINUTES_A_DAY;
/// Units of a duration, in milliseconds: sums of whole ones are exact.
const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];
const SECONDS: [&str; 7] = [
    "/cooldownToZero",
    "/target/wait",
    "/target/latencyP95",
    "/queue/waitUp",
    "/queue/waitDown",
    "/stabilization/up",
    "/stabilization/down",
];
/// Groups of a pool's thresholds, and what their two fields are called in the settings.
const THRESHOLDS: [(&str, &str, &str); 3] =
    [("wait", "waitUp", "waitDown"), ("cpu", "cpuUp", "cpuDown"), ("steps", "stepUp", "stepDown")];

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The fields of [`crate::Settings`] that are written.
    pub fields: Value,
    /// For each window of `schedule`, the entry that it is from: one that names several days is several windows.
    pub entries: Vec<usize>,
}

/// Why settings cannot be read; whoever wrote them can fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no JSON.
    #[error("it is not JSON")]
    ReadJson(#[source] serde_json::Error),
    /// The text is no YAML.
    #[error("it is not YAML")]
    ReadYaml(#[source] Box<serde_saphyr::Error>),
    /// Nobody knows which settings are meant.
    #[error("it must hold settings, or one resource of kind AgentPool, not {count}")]
    Pools {
        /// How many there are.
        count: usize,
    },
    /// The pool is not scaled.
    #[error("its AgentPool has no \"spec.scaling\"")]
    NotScaled,
    /// A field is not what it must be.
    #[error("\"{field}\" is {value}, and must be {wanted}")]
    Field {
        /// The field.
        field: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        wanted: &'static str,
    },
    /// An entry of the schedule is not of the known form.
    #[error("\"schedule[{index}]\" is not of the known form")]
    Entry {
        /// Which entry, the first being 0.
        index: usize,
        /// Where and why.
        #[source]
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// A field is unknown, or of another type.
    #[error("a field is not of the known form")]
    Form(#[source] serde_path_to_error::Error<serde_json::Error>),
}

/// Hours of the week as an AgentPool has them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hours {
    days: Vec<Day>,
    from: String,
    to: String,
    #[serde(rename = "timeZone", default)]
    _time_zone: Zone,
    min_replicas: u32,
    max_replicas: u32,
}

#[derive(Clone, Copy, Deserialize)]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Default, Deserialize)]
enum Zone {
    #[default]
    #[serde(rename = "UTC")]
    Utc,
}

/// Reads settings, or a manifest with one AgentPool, whose `spec.scaling` counts: as JSON from a file whose name ends in
/// `.json` and as YAML from others. Times are numbers of seconds or texts such as `1m30s`.
///
/// # Errors
/// Names the field that is not of the known form.
pub fn read(file: &str, text: &str) -> Result<Given, Error> {
    let documents: Vec<Value> = if file.ends_with(".json") {
        vec![serde_json::from_str(text).map_err(Error::ReadJson)?]
    } else {
        serde_saphyr::from_multiple(text).map_err(|source| Error::ReadYaml(Box::new(source)))?
    };
    let is_pool = |document: &Value| document.get("kind").and_then(Value::as_str) == Some("AgentPool");
    let (mut pools, mut others): (Vec<Value>, Vec<Value>) = documents.into_iter().partition(is_pool);
    let mut fields = match (pools.len(), others.len()) {
        (1, _) => pools.remove(0).pointer_mut("/spec/scaling").map(Value::take).ok_or(Error::NotScaled)?,
        (0, 1) => others.remove(0),
        (count, _) => return Err(Error::Pools { count }),
    };
    if let Some(queue) = fields.get_mut("queue").and_then(Value::as_object_mut) {
        flatten(queue)?;
    }
    for path in SECONDS {
        let Some(field) = fields.pointer_mut(path) else { continue };
        let Some(text) = field.as_str() else { continue };
        *field = match seconds(text) {
            Some(seconds) => json!(seconds),
            None => {
                let wanted = "seconds, as a number or as 250ms, 5s or 1m30s";
                return Err(Error::Field { field: path[1..].replace('/', "."), value: format!("\"{text}\""), wanted });
            }
        };
    }
    let mut entries = Vec::new();
    if let Some(schedule) = fields.get_mut("schedule").and_then(Value::as_array_mut) {
        let mut windows = Vec::new();
        for (index, entry) in std::mem::take(schedule).into_iter().enumerate() {
            windows.extend(windows_of(index, entry)?);
            entries.resize(windows.len(), index);
        }
        *schedule = windows;
    }
    Ok(Given { fields, entries })
}

impl Given {
    /// What is wrong with settings, said of the entries of the schedule as they are written.
    pub fn as_written(&self, invalid: Invalid) -> Invalid {
        let entry = |window: usize| self.entries.get(window).copied().unwrap_or(window);
        let field = |field: String| {
            let parts = field.strip_prefix("schedule[").and_then(|rest| rest.split_once(']'));
            let window = parts.and_then(|(window, rest)| Some((window.parse::<usize>().ok()?, rest)));
            window.map_or(field.clone(), |(window, rest)| format!("schedule[{}]{rest}", entry(window)))
        };
        match invalid {
            Invalid::Overlap { first, second } => Invalid::Overlap { first: entry(first), second: entry(second) },
            Invalid::OutOfRange { field: of, value, range } => Invalid::OutOfRange { field: field(of), value, range },
            Invalid::Crossed { lower, lower_value, upper, upper_value } => {
                Invalid::Crossed { lower: field(lower), lower_value, upper: field(upper), upper_value }
            }
        }
    }
}

/// `wait: {up, down}` becomes `waitUp` and `waitDown`, and so on.
fn flatten(queue: &mut Map<String, Value>) -> Result<(), Error> {
    for (group, up, down) in THRESHOLDS {
        let Some(written) = queue.remove(group) else { continue };
        let bad = |field: String, value: &Value, wanted: &'static str| Error::Field {
            field: format!("queue.{field}"),
            value: value.to_string(),
            wanted,
        };
        let Some(both) = written.as_object() else {
            return Err(bad(group.to_owned(), &written, "an object with up and down"));
        };
        for (name, value) in both {
            let flat = match name.as_str() {
                "up" => up,
                "down" => down,
                _ => return Err(bad(format!("{group}.{name}"), value, "left out: only up and down are known")),
            };
            if queue.insert(flat.to_owned(), value.clone()).is_some() {
                return Err(bad(flat.to_owned(), value, "left out where it is written in two ways"));
            }
        }
    }
    Ok(())
}

/// The windows of the week that an entry means; one that names no days is a window already.
fn windows_of(index: usize, entry: Value) -> Result<Vec<Value>, Error> {
    if entry.get("days").is_none() {
        return Ok(vec![entry]);
    }
    let hours: Hours = serde_path_to_error::deserialize(entry).map_err(|source| Error::Entry { index, source })?;
    let bad = |field: &str, text: &str, wanted: &'static str| Error::Field {
        field: format!("schedule[{index}].{field}"),
        value: format!("\"{text}\""),
        wanted,
    };
    let from = minute(&hours.from)
        .filter(|from| *from < MINUTES_A_DAY)
        .ok_or_else(|| bad("from", &hours.from, "an hour and minute such as 07:30"))?;
    let to = minute(&hours.to).ok_or_else(|| bad("to", &hours.to, "an hour and minute such as 18:00, or 24:00"))?;
    if from == to {
        return Err(bad("to", &hours.to, "another time than from; a whole day is from 00:00 to 24:00"));
    }
    let length = if to > from { to - from } else { to + MINUTES_A_DAY - from };
    let (least, most) = (&hours.min_replicas, &hours.max_replicas);
    let window =
        |from: u32, to: u32| json!({"fromMinute": from, "toMinute": to, "minReplicas": least, "maxReplicas": most});
    let of_day = |day: &Day| {
        let begin = *day as u32 * MINUTES_A_DAY + from;
        let end = begin + length;
        // A night from Sunday to Monday is two parts of the week.
        if end <= MINUTES_A_WEEK {
            vec![window(begin, end)]
        } else {
            vec![window(begin, MINUTES_A_WEEK), window(0, end - MINUTES_A_WEEK)]
        }
    };
    Ok(hours.days.iter().flat_map(of_day).collect())
}

/// The minute of the day of a text such as `07:30`.
fn minute(text: &str) -> Option<u32> {
    let number = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u32>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (number(hour)?, number(minute)?);
    ((hour < 24 && minute < 60) || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

/// The seconds of a text such as `1m30s`.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut milliseconds: Option<f64> = None;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|letter: char| letter.is_ascii_alphabetic())?);
        let (unit, length) = UNITS.iter().find(|(unit, _)| tail.starts_with(unit))?;
        let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let is_number = is_digit(number.as_bytes().first()) && is_digit(number.as_bytes().last());
        let number = is_number.then(|| number.parse::<f64>().ok()).flatten()?;
        milliseconds = Some(milliseconds.unwrap_or(0.0) + number * length);
        rest = &tail[unit.len()..];
    }
    milliseconds.map(|sum| sum / 1_000.0).filter(|seconds| seconds.is_finite())
}
