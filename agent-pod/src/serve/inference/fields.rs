//! A request's body, field by field, so that each refusal names its field. A field that is null is one that is left out.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Values of one body. As text a value may be two bytes long, in memory it takes some dozens: without a bound, a body
/// would need many times its size.
pub const MOST_VALUES: usize = 100_000;

/// The fields of a body.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        let invalid = |message: String| Refusal::Invalid { message, param: None, code: None };
        if values(body) > MOST_VALUES {
            return Err(invalid(format!("the body holds more than {MOST_VALUES} values")));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(invalid("the body is not a JSON object".to_owned())),
            Err(error) => Err(invalid(format!("the body is not JSON: {error}"))),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        self.typed(name, "a text", Value::as_str)
    }

    /// A text that must be there.
    pub fn needed_text(&self, name: &'static str) -> Result<&str, Refusal> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Refusal::of_field(name, format!("{name} is missing or empty")))
    }

    /// True or false; false where it is left out.
    pub fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        Ok(self.typed(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A whole number.
    pub fn whole(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        self.typed(name, "a whole number of 0 or more", Value::as_u64)
    }

    /// A number within a range.
    pub fn number(&self, name: &'static str, range: RangeInclusive<f64>) -> Result<Option<f64>, Refusal> {
        let number = self.typed(name, "a number", Value::as_f64)?;
        match number.filter(|number| !range.contains(number)) {
            Some(_) => Err(Refusal::of_field(name, format!("{name} is not from {} to {}", range.start(), range.end()))),
            None => Ok(number),
        }
    }

    /// A list.
    pub fn list(&self, name: &'static str) -> Result<Option<&[Value]>, Refusal> {
        self.typed(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    fn typed<'a, T>(
        &'a self,
        name: &'static str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Refusal::of_field(name, format!("{name} is not {what}")))
    }
}

/// At most how many values a JSON text holds: what separates values, outside of strings.
fn values(text: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (1, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}
