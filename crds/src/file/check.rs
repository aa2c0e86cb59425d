//! Checks a tree against a structural schema, as an API server does, and makes the JSON object of it.
//!
//! Beyond what an API server does, an unknown field is an error. Like there, `null` for a field counts as not written.
//! It must not know the kinds: everything it says comes from the schema.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Number, Value as Json};

use super::{
    error::Finding,
    nearest::did_you_mean,
    place::{self, Place},
    schemas::LABEL_PATTERN,
    tree::{Entry, Node, Value},
};
use crate::{
    SPAN_PATTERN,
    duration::{SPAN_HINT, STAGE_TIMEOUT_HINT, STAGE_TIMEOUT_PATTERN},
};

/// Most known fields that are listed where none is near to a misspelt one.
const MAX_LISTED_FIELDS: usize = 16;

/// Checks a whole document; where `findings` grow the object is only part of it.
pub(super) fn check(tree: &Node, schema: &Json, findings: &mut Vec<Finding>) -> Json {
    Checker { findings, patterns: HashMap::new() }.value(tree, &Spot { path: String::new(), place: tree.place }, schema)
}

/// A value in the words of a message.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::Text(text) => format!("the text \"{}\"", shortened(text)),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
    }
}

/// A text short enough for a message, on one line.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { format!("{line}…") } else { line }
}

/// Where a value is: its path and its place.
struct Spot {
    path: String,
    place: Place,
}

struct Checker<'a> {
    findings: &'a mut Vec<Finding>,
    patterns: HashMap<String, Option<Regex>>,
}

impl Checker<'_> {
    /// The JSON of a value; `null` where it has the wrong type.
    fn value(&mut self, node: &Node, spot: &Spot, schema: &Json) -> Json {
        if let (Value::Null, Some(true)) = (&node.value, schema["nullable"].as_bool()) {
            return Json::Null;
        }
        match (schema["type"].as_str(), &node.value) {
            (Some("object"), Value::Map(entries)) => return Json::Object(self.map(entries, spot, schema)),
            (Some("array"), Value::List(items)) => return Json::Array(self.list(items, spot, schema)),
            (Some("string"), Value::Text(text)) => {
                self.text(text, spot, schema);
                return Json::String(text.clone());
            }
            (Some("number"), Value::Number(number)) => {
                self.number(number, spot, schema);
                return Json::Number(number.clone());
            }
            (Some("integer"), Value::Number(number)) if !number.is_f64() => {
                self.number(number, spot, schema);
                return Json::Number(number.clone());
            }
            (Some("boolean"), Value::Bool(value)) => return Json::Bool(*value),
            (None, _) => return plain(node),
            (Some(expected), value) => self.wrong_type(expected, value, spot),
        }
        Json::Null
    }

    fn wrong_type(&mut self, expected: &str, value: &Value, spot: &Spot) {
        let wanted = match expected {
            "object" => "a map of fields",
            "array" => "a list",
            "string" => "text",
            "integer" => "a whole number",
            "number" => "a number",
            _ => "true or false",
        };
        let hint = match (expected, value) {
            ("string", Value::Bool(_) | Value::Number(_)) => "; put it in quotes",
            _ => "",
        };
        self.severe(spot, format!("must be {wanted}, not {}{hint}", describe(value)));
    }

    fn map(&mut self, entries: &[Entry], spot: &Spot, schema: &Json) -> Map<String, Json> {
        let properties = schema["properties"].as_object();
        let values = schema.get("additionalProperties").filter(|values| values.is_object());
        let free = schema["x-kubernetes-preserve-unknown-fields"] == Json::Bool(true)
            || (properties.is_none_or(Map::is_empty) && values.is_none());
        let mut object = Map::new();
        for entry in entries {
            let spot = Spot { path: place::field(&spot.path, &entry.key), place: entry.place() };
            let known = properties.and_then(|properties| properties.get(&entry.key)).or(values);
            match known {
                _ if free => {
                    object.insert(entry.key.clone(), plain(&entry.node));
                }
                Some(_) if matches!(entry.node.value, Value::Null) => {}
                Some(schema) => {
                    let value = self.value(&entry.node, &spot, schema);
                    if !value.is_null() {
                        object.insert(entry.key.clone(), value);
                    }
                }
                None => self.unknown_field(entry, &spot, properties),
            }
        }
        if let Some(most) = schema["maxProperties"].as_u64().filter(|most| entries.len() as u64 > *most) {
            self.mild(spot, format!("holds {} fields, at most {most} are allowed", entries.len()));
        }
        self.required(entries, spot, schema);
        object
    }

    fn unknown_field(&mut self, entry: &Entry, spot: &Spot, properties: Option<&Map<String, Json>>) {
        let known = || properties.into_iter().flat_map(Map::keys).map(String::as_str);
        let mut hint = did_you_mean(&entry.key, known());
        if hint.is_empty() && known().count() <= MAX_LISTED_FIELDS {
            hint = format!("; known here: {}", known().collect::<Vec<_>>().join(", "));
        }
        let spot = Spot { path: spot.path.clone(), place: entry.key_place };
        self.severe(&spot, format!("unknown field{hint}"));
    }

    fn required(&mut self, entries: &[Entry], spot: &Spot, schema: &Json) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            let written = entries.iter().any(|entry| entry.key == name && !matches!(entry.node.value, Value::Null));
            if !written {
                self.severe(&Spot { path: place::field(&spot.path, name), place: spot.place }, "is missing".to_owned());
            }
        }
    }

    fn list(&mut self, items: &[Node], spot: &Spot, schema: &Json) -> Vec<Json> {
        let most = schema["maxItems"].as_u64().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let least = schema["minItems"].as_u64().unwrap_or(0);
        if items.len() > most {
            self.mild(spot, format!("holds {} items, at most {most} are allowed", items.len()));
        }
        if (items.len() as u64) < least {
            self.mild(spot, format!("holds {} items, at least {least} must be there", items.len()));
        }
        let spots: Vec<_> = (0..items.len().min(most))
            .map(|index| Spot { path: place::item(&spot.path, index), place: items[index].place })
            .collect();
        let values: Vec<_> =
            items.iter().zip(&spots).map(|(item, spot)| self.value(item, spot, &schema["items"])).collect();
        self.unique(&values, &items[..spots.len()], &spots, schema);
        values.into_iter().filter(|value| !value.is_null()).collect()
    }

    /// Items of a set, or the keys of the items of a list-map, are all different.
    fn unique(&mut self, values: &[Json], items: &[Node], spots: &[Spot], schema: &Json) {
        let keys: Option<Vec<&str>> = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => None,
            Some("map") => Some(
                schema["x-kubernetes-list-map-keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Json::as_str)
                    .collect(),
            ),
            _ => return,
        };
        let mut first = HashMap::new();
        for ((value, item), spot) in values.iter().zip(items).zip(spots) {
            let (key, spot) = match &keys {
                None => (Some(value.to_string()), Spot { path: spot.path.clone(), place: spot.place }),
                Some(keys) => {
                    let found: Option<Vec<_>> = keys.iter().map(|key| value.get(key).map(Json::to_string)).collect();
                    let name = keys.first().copied().unwrap_or_default();
                    let place = item.entry(name).map_or(spot.place, Entry::place);
                    (found.map(|found| found.join(", ")), Spot { path: place::field(&spot.path, name), place })
                }
            };
            let Some(key) = key.filter(|key| key != "null") else { continue };
            match first.get(&key) {
                None => {
                    first.insert(key, spot);
                }
                Some(Spot { path, place }) => {
                    let message = format!("{key} occurs twice; first as {path} in line {}", place.line);
                    self.mild(&spot, message);
                }
            }
        }
    }

    fn text(&mut self, text: &str, spot: &Spot, schema: &Json) {
        if let Some(allowed) = schema["enum"].as_array() {
            let allowed: Vec<_> = allowed.iter().filter_map(Json::as_str).collect();
            if !allowed.contains(&text) {
                let near = did_you_mean(text, allowed.iter().copied());
                self.severe(spot, format!("\"{}\" is not one of {}{near}", shortened(text), allowed.join(", ")));
            }
            return;
        }
        let length = text.chars().count() as u64;
        if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
            self.mild(spot, format!("is {length} characters long, at most {most} are allowed"));
            return;
        }
        if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
            let message = if length == 0 {
                "must not be empty".to_owned()
            } else {
                format!("is {length} characters long, at least {least} must be there")
            };
            self.mild(spot, message);
            return;
        }
        if let Some(pattern) = schema["pattern"].as_str().filter(|pattern| !self.matches(pattern, text)) {
            let problem = match pattern {
                SPAN_PATTERN => SPAN_HINT.to_owned(),
                STAGE_TIMEOUT_PATTERN => STAGE_TIMEOUT_HINT.to_owned(),
                LABEL_PATTERN => {
                    "is not a name: lower-case letters, digits and '-', a letter or digit at each end".to_owned()
                }
                other => format!("does not match {other}"),
            };
            self.mild(spot, format!("\"{}\" {problem}", shortened(text)));
        }
    }

    /// A pattern that is no regular expression here matches nothing, so that nothing passes unchecked.
    fn matches(&mut self, pattern: &str, text: &str) -> bool {
        if !self.patterns.contains_key(pattern) {
            self.patterns.insert(pattern.to_owned(), Regex::new(pattern).ok());
        }
        self.patterns.get(pattern).and_then(Option::as_ref).is_some_and(|regex| regex.is_match(text))
    }

    fn number(&mut self, number: &Number, spot: &Spot, schema: &Json) {
        let Some(value) = number.as_f64() else { return };
        if let Some(least) = schema["minimum"].as_f64().filter(|least| value < *least) {
            self.mild(spot, format!("{number} is less than {least}, the least that is allowed"));
        }
        if let Some(most) = schema["maximum"].as_f64().filter(|most| value > *most) {
            self.mild(spot, format!("{number} is more than {most}, the most that is allowed"));
        }
    }

    /// An error that makes a rule over the same fields fail or mean something else.
    fn severe(&mut self, spot: &Spot, message: String) {
        self.findings.push(Finding { place: spot.place, field: spot.path.clone(), message, hides_rules: true });
    }

    /// An error beside which the rules over the same fields still make sense.
    fn mild(&mut self, spot: &Spot, message: String) {
        self.findings.push(Finding { place: spot.place, field: spot.path.clone(), message, hides_rules: false });
    }
}

/// The JSON of a value that no schema describes.
fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => Json::Number(number.clone()),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(plain).collect()),
        Value::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), plain(&entry.node))).collect(),
    }
}
