//! Durations as people write them: `250ms`, `60s`, `1.5s`, `10m`, `24h`, `7d`, `1h30m`.

use std::{fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time written as text, for example `1.5s` or `1h30m`; more than 36500 days count as 36500 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// The schema's pattern for [`Span`]; every text that matches it and is not too long is a span.
pub const SPAN_PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d))+$";

/// Longest text that is read as a [`Span`].
pub const SPAN_MAX_LENGTH: usize = 32;

/// What to say of a text that is no [`Span`].
pub(crate) const SPAN_HINT: &str = "is not a duration; write for example 250ms, 60s, 10m or 1h30m";

/// A hundred years: keeps sums of times far from overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// Most digits before the point, as in [`SPAN_PATTERN`].
const WHOLE_DIGITS: usize = 9;

/// Most digits after the point, as in [`SPAN_PATTERN`]; each unit divides exactly into so many.
const FRACTION_DIGITS: usize = 6;

/// The units, longest first, with their nanoseconds.
const UNITS: [(&str, u128); 5] =
    [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", MILLI)];

const MILLI: u128 = 1_000_000;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        nanoseconds(text).map(|nanos| Self(duration(nanos))).ok_or_else(|| format!("\"{text}\" {SPAN_HINT}"))
    }
}

/// The sum of the parts of `text`; `None` where it does not match [`SPAN_PATTERN`].
fn nanoseconds(text: &str) -> Option<u128> {
    if text.is_empty() || text.len() > SPAN_MAX_LENGTH {
        return None;
    }
    let mut rest = text;
    let mut nanos = 0;
    while !rest.is_empty() {
        let (whole, tail) = digits(rest, WHOLE_DIGITS)?;
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail, FRACTION_DIGITS)?,
            None => ("", tail),
        };
        let name = &tail[..tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len())];
        let (_, unit) = UNITS.iter().find(|(unit, _)| *unit == name)?;
        nanos += whole.parse::<u128>().ok()? * unit;
        if !fraction.is_empty() {
            nanos += format!("{fraction:0<FRACTION_DIGITS$}").parse::<u128>().ok()? * (unit / MILLI);
        }
        rest = &tail[name.len()..];
    }
    Some(nanos)
}

/// The leading digits of `text`, at least one and at most `most`, and what follows.
fn digits(text: &str, most: usize) -> Option<(&str, &str)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (1..=most).contains(&count).then(|| text.split_at(count))
}

fn duration(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(LONGEST, |nanos| Duration::from_nanos(nanos).min(LONGEST))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_nanoseconds(f, self.0.as_nanos())
    }
}

/// Writes the longest unit that divides `nanos`; days and the rest where that would have too many digits.
fn write_nanoseconds(f: &mut fmt::Formatter<'_>, nanos: u128) -> fmt::Result {
    const TOO_LARGE: u128 = 10_u128.pow(WHOLE_DIGITS as u32);
    if nanos == 0 {
        return f.write_str("0ms");
    }
    let (unit, length) = UNITS.into_iter().find(|(_, length)| nanos.is_multiple_of(*length)).unwrap_or(("ms", MILLI));
    let (day_unit, day) = UNITS[0];
    if nanos / length >= TOO_LARGE && length < day {
        write!(f, "{}{day_unit}", nanos / day)?;
        return if nanos.is_multiple_of(day) { Ok(()) } else { write_nanoseconds(f, nanos % day) };
    }
    match nanos % length {
        0 => write!(f, "{}{unit}", nanos / length),
        rest => {
            let fraction = format!("{rest:0>FRACTION_DIGITS$}");
            write!(f, "{}.{}{unit}", nanos / length, fraction.trim_end_matches('0'))
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": SPAN_PATTERN, "maxLength": SPAN_MAX_LENGTH})
    }
}

/// Longest time for one attempt of a stage: a span, or `Adaptive`, which is learned from the attempts before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageTimeout {
    /// Several times what such attempts have taken.
    Adaptive,
    /// Always the same.
    Fixed(Span),
}

/// The schema's pattern for [`StageTimeout`].
pub(crate) const STAGE_TIMEOUT_PATTERN: &str = r"^(Adaptive|([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d))+)$";

/// What to say of a text that is no [`StageTimeout`].
pub(crate) const STAGE_TIMEOUT_HINT: &str =
    "is not a duration; write for example 250ms, 60s, 10m or 1h30m, or Adaptive";

const ADAPTIVE: &str = "Adaptive";

impl FromStr for StageTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == ADAPTIVE {
            return Ok(Self::Adaptive);
        }
        text.parse().map(Self::Fixed).map_err(|_| format!("\"{text}\" {STAGE_TIMEOUT_HINT}"))
    }
}

impl fmt::Display for StageTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str(ADAPTIVE),
            Self::Fixed(span) => span.fmt(f),
        }
    }
}

impl Serialize for StageTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StageTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for StageTimeout {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StageTimeout".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": STAGE_TIMEOUT_PATTERN, "maxLength": SPAN_MAX_LENGTH})
    }
}
