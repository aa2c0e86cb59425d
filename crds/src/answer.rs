//! Whether an answer matches a stage's output schema.
//!
//! A model that the agent holds cannot leave the schema while it decodes. A model of others can: some providers ignore the
//! schema that they are sent, so what they answer is checked. `format` and keywords that do not constrain are passed over.

use regex::Regex;
use serde_json::{Map, Value};

use crate::OutputSchema;

/// Schemas within schemas and values within values that are followed; what is deeper was not written by a person.
const DEPTH: u32 = 64;
/// Comparisons of a value with a schema, in all: alternatives within alternatives multiply.
const STEPS: u32 = 200_000;

/// Why a value does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the value, for example `parties[2].name`; empty for the whole of it.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            write!(f, "it {}", self.message)
        } else {
            write!(f, "{} {}", self.path, self.message)
        }
    }
}

impl OutputSchema {
    /// Checks a value; the first thing that is wrong.
    pub fn check(&self, value: &Value) -> Result<(), Mismatch> {
        Checker { root: &self.0, steps: STEPS }.object(&self.0, value, "", 0)
    }
}

struct Checker<'a> {
    root: &'a Map<String, Value>,
    steps: u32,
}

type Checked = Result<(), Mismatch>;

fn wrong(path: &str, message: impl Into<String>) -> Checked {
    Err(Mismatch { path: path.to_owned(), message: message.into() })
}

impl<'a> Checker<'a> {
    fn schema(&mut self, schema: &'a Value, value: &Value, path: &str, depth: u32) -> Checked {
        match schema {
            Value::Object(schema) => self.object(schema, value, path, depth),
            Value::Bool(false) => wrong(path, "is not allowed"),
            _ => Ok(()),
        }
    }

    fn object(&mut self, schema: &'a Map<String, Value>, value: &Value, path: &str, depth: u32) -> Checked {
        self.steps = self.steps.saturating_sub(1);
        if depth > DEPTH || self.steps == 0 {
            return wrong(path, "cannot be checked: the schema is too deep or has too many alternatives");
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let Some(target) = self.target(reference) else {
                return wrong(path, format!("cannot be checked: the schema has no \"{reference}\""));
            };
            self.schema(target, value, path, depth + 1)?;
        }
        kind(schema, value, path)?;
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.iter().any(|allowed| same(allowed, value))
        {
            return wrong(path, "is none of the values that the schema lists");
        }
        if schema.get("const").is_some_and(|constant| !same(constant, value)) {
            return wrong(path, "is not the value that the schema names");
        }
        self.combined(schema, value, path, depth)?;
        match value {
            Value::Object(fields) => self.fields(schema, fields, path, depth),
            Value::Array(items) => self.items(schema, items, path, depth),
            Value::String(text) => check_text(schema, text, path),
            Value::Number(number) => check_number(schema, number.as_f64().unwrap_or(f64::NAN), path),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    /// What a reference within the schema means.
    fn target(&self, reference: &str) -> Option<&'a Value> {
        let pointer = reference.strip_prefix("#/")?;
        let mut parts = pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~"));
        let first = self.root.get(&parts.next()?)?;
        parts.try_fold(first, |schema, part| match schema {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(&part),
        })
    }

    fn combined(&mut self, schema: &'a Map<String, Value>, value: &Value, path: &str, depth: u32) -> Checked {
        for part in list(schema, "allOf") {
            self.schema(part, value, path, depth + 1)?;
        }
        for (keyword, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            if !schema.contains_key(keyword) {
                continue;
            }
            let (mut matching, mut first) = (0, None);
            for part in list(schema, keyword) {
                match self.schema(part, value, path, depth + 1) {
                    Ok(()) => matching += 1,
                    Err(mismatch) => first = first.or(Some(mismatch)),
                }
            }
            if matching == 0 {
                return first.map_or_else(|| wrong(path, "is not allowed"), Err);
            }
            if matching > most {
                return wrong(path, "matches several alternatives of which it may match one");
            }
        }
        if schema.get("not").is_some_and(|not| self.schema(not, value, path, depth + 1).is_ok()) {
            return wrong(path, "is what the schema forbids");
        }
        Ok(())
    }

    fn fields(
        &mut self,
        schema: &'a Map<String, Value>,
        fields: &Map<String, Value>,
        path: &str,
        depth: u32,
    ) -> Checked {
        if let Some(name) = list(schema, "required").filter_map(Value::as_str).find(|name| !fields.contains_key(*name))
        {
            return wrong(path, format!("has no \"{name}\""));
        }
        count(schema, "minProperties", "maxProperties", fields.len(), "fields", path)?;
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        for (name, value) in fields {
            let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let known = properties.and_then(|properties| properties.get(name));
            if let Some(schema) = known {
                self.schema(schema, value, &inner, depth + 1)?;
            }
            let mut matched = known.is_some();
            for (pattern, schema) in patterns.into_iter().flatten() {
                if matches(pattern, name, &inner)? {
                    matched = true;
                    self.schema(schema, value, &inner, depth + 1)?;
                }
            }
            if let Some(others) = schema.get("additionalProperties").filter(|_| !matched) {
                self.schema(others, value, &inner, depth + 1)?;
            }
        }
        Ok(())
    }

    fn items(&mut self, schema: &'a Map<String, Value>, items: &[Value], path: &str, depth: u32) -> Checked {
        count(schema, "minItems", "maxItems", items.len(), "items", path)?;
        if schema.get("uniqueItems") == Some(&Value::Bool(true))
            && items.iter().enumerate().any(|(at, item)| items[..at].iter().any(|other| same(other, item)))
        {
            return wrong(path, "holds an item twice");
        }
        let first: Vec<&'a Value> = list(schema, "prefixItems").collect();
        let others = schema.get("items");
        for (at, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(at).copied().or(others) {
                self.schema(schema, item, &format!("{path}[{at}]"), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn list<'a>(schema: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = &'a Value> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

fn kind(schema: &Map<String, Value>, value: &Value, path: &str) -> Checked {
    let is = |wanted: &str| match wanted {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::String(wanted)) if !is(wanted) => wrong(path, format!("is not of type {wanted}")),
        Some(Value::Array(wanted)) if !wanted.iter().filter_map(Value::as_str).any(is) => {
            wrong(path, "is of none of the types that the schema lists")
        }
        _ => Ok(()),
    }
}

fn count(schema: &Map<String, Value>, least: &str, most: &str, found: usize, what: &str, path: &str) -> Checked {
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64);
    if let Some(least) = bound(least).filter(|least| (found as f64) < *least) {
        return wrong(path, format!("has {found} {what}, at least {least} are needed"));
    }
    if let Some(most) = bound(most).filter(|most| found as f64 > *most) {
        return wrong(path, format!("has {found} {what}, at most {most} are allowed"));
    }
    Ok(())
}

fn check_text(schema: &Map<String, Value>, text: &str, path: &str) -> Checked {
    count(schema, "minLength", "maxLength", text.chars().count(), "characters", path)?;
    match schema.get("pattern").and_then(Value::as_str) {
        Some(pattern) if !matches(pattern, text, path)? => wrong(path, format!("does not match {pattern}")),
        _ => Ok(()),
    }
}

fn matches(pattern: &str, text: &str, path: &str) -> Result<bool, Mismatch> {
    let compiled = Regex::new(pattern).map_err(|_| Mismatch {
        path: path.to_owned(),
        message: format!("cannot be checked: the schema's pattern {pattern} cannot be used"),
    })?;
    Ok(compiled.is_match(text))
}

fn check_number(schema: &Map<String, Value>, number: f64, path: &str) -> Checked {
    let bound = |keyword| schema.get(keyword).and_then(Value::as_f64);
    let below = bound("minimum").is_some_and(|least| number < least);
    if below || bound("exclusiveMinimum").is_some_and(|least| number <= least) {
        return wrong(path, "is too small");
    }
    let above = bound("maximum").is_some_and(|most| number > most);
    if above || bound("exclusiveMaximum").is_some_and(|most| number >= most) {
        return wrong(path, "is too large");
    }
    match bound("multipleOf").filter(|step| *step > 0.0) {
        // Decimal steps such as 0.1 have no exact form.
        Some(step) if (number / step - (number / step).round()).abs() > 1e-6 => {
            wrong(path, format!("is no multiple of {step}"))
        }
        _ => Ok(()),
    }
}

/// Equality as JSON sees it: `1` and `1.0` are one number, and the order of fields says nothing.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            let held = |name: &String, value| right.get(name).is_some_and(|other| same(value, other));
            left.len() == right.len() && left.iter().all(|(name, value)| held(name, value))
        }
        _ => left == right,
    }
}
