//! A request's body, field by field, so that each refusal names its field. A field that is null is one that is left out.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// Values of one body. As text a value may be two bytes long, in memory it takes some dozens: without a bound, a body
/// would need many times its size.
const MOST_VALUES: usize = 100_000;

/// The fields of a body.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
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

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(super) fn needed_text(&self, name: &'static str) -> Result<&str, Refusal> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| Refusal::of_field(name, format!("{name} is missing or empty")))
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Refusal> {
        Ok(self.typed(name, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn whole(&self, name: &'static str) -> Result<Option<u64>, Refusal> {
        self.typed(name, "a whole number of 0 or more", Value::as_u64)
    }

    pub(super) fn number(&self, name: &'static str, range: RangeInclusive<f64>) -> Result<Option<f64>, Refusal> {
        let number = self.typed(name, "a number", Value::as_f64)?;
        match number.filter(|number| !range.contains(number)) {
            Some(_) => Err(Refusal::of_field(name, format!("{name} is not from {} to {}", range.start(), range.end()))),
            None => Ok(number),
        }
    }

    pub(super) fn list(&self, name: &'static str) -> Result<Option<&[Value]>, Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Result<Fields, Refusal> {
        Fields::read(body.as_bytes())
    }

    fn param(refusal: Refusal) -> String {
        refusal.body()["error"]["param"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_field_of_another_kind_is_named() {
        let fields = fields(r#"{"model": 1, "stream": "yes", "seed": -1, "top_p": 2, "stop": {}}"#)
            .unwrap_or_else(|_| panic!("JSON"));
        assert_eq!(param(fields.text("model").unwrap_err()), "model");
        assert_eq!(param(fields.flag("stream").unwrap_err()), "stream");
        assert_eq!(param(fields.whole("seed").unwrap_err()), "seed");
        assert_eq!(param(fields.number("top_p", 0.0..=1.0).unwrap_err()), "top_p");
        assert_eq!(param(fields.list("stop").unwrap_err()), "stop");
        assert_eq!(param(fields.needed_text("query").unwrap_err()), "query");
    }

    #[test]
    fn null_is_left_out() {
        let fields = fields(r#"{"user": null, "stream": null}"#).unwrap_or_else(|_| panic!("JSON"));
        assert_eq!(fields.text("user"), Ok(None));
        assert_eq!(fields.flag("stream"), Ok(false));
    }

    #[test]
    fn a_body_that_is_no_object_or_too_many_values_is_refused() {
        for body in ["", "[]", "{", "\"text\"", "{\"a\": 1} x"] {
            assert!(fields(body).is_err(), "{body}");
        }
        let commas_in_text = format!("{{\"text\": \"{}\"}}", ",\\\"[".repeat(MOST_VALUES));
        assert!(fields(&commas_in_text).is_ok());
        assert!(fields(&format!("{{\"input\": [{}1]}}", "1,".repeat(MOST_VALUES))).is_err());
        assert!(fields(&format!("{{\"input\": {}", "[".repeat(2 * MOST_VALUES))).is_err());
    }
}
