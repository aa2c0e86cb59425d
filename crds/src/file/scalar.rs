//! What an unquoted YAML text stands for (YAML 1.2, core schema).

use serde_json::Number;

use super::tree::Value;

/// The value of a text without quotes.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let based = |digits: &str, base| {
        u64::from_str_radix(digits, base).ok().filter(|_| !digits.starts_with('+')).map(Number::from)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return based(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return based(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    if digits == unsigned.len() {
        let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
        if let Ok(number) = whole {
            return Some(number);
        }
    }
    // Rust's floats are YAML's, apart from words such as `inf`, which have no digit or another letter.
    let float_letters = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    float_letters.then(|| text.parse::<f64>().ok()).flatten().and_then(Number::from_f64)
}
