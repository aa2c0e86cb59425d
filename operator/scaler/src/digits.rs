//! What is remembered, as short as it may be written. Knows not what the numbers mean.

use serde::Serialize;
use serde_json::{Number, Value};

/// Digits of a number that is learned: the next one is noise.
const DIGITS: i32 = 3;
/// Numbers from here on are times, in seconds since 1970.
const TIMES: f64 = 1e9;

/// The value with few digits of each number, and times in whole seconds, never later than they were.
pub fn few_digits<T: Serialize>(value: &T) -> Value {
    let mut value = serde_json::to_value(value).expect("what is remembered is plain data");
    shorten(&mut value);
    value
}

fn shorten(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().map(rounded);
            // Those that are whole need no point; the smallest of all, which stands for never, stays.
            let whole = short.filter(|short| short.fract() == 0.0 && short.abs() < 1e15).map(|short| short as i64);
            let short = whole.map(Number::from).or_else(|| short.and_then(Number::from_f64));
            if let Some(short) = short {
                *number = short;
            }
        }
        _ => {}
    }
}

fn rounded(value: f64) -> f64 {
    if value >= TIMES {
        return value.floor();
    }
    if value == 0.0 {
        return value;
    }
    let digits = 10_f64.powi(DIGITS - 1 - value.abs().log10().floor() as i32);
    (value * digits).round() / digits
}
