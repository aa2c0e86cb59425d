//! The fields of a kind, from its schema, and a changed value for each. Pure: the operator's tests use it too.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A field that holds a value of its own, and where an object has it.
#[derive(Clone, Debug)]
pub struct Field {
    /// Such as `stages[].generate.maxTokens`; what follows a map is `{}`.
    pub path: String,
    /// In the value, as a JSON pointer; none where it does not have it.
    pub pointer: Option<String>,
    /// Of the field.
    pub schema: Value,
}

/// All fields of a schema, and where this value has them: the last place of each, on which least depends.
pub fn fields(schema: &Value, value: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    leaves("", schema, &mut fields);
    for field in &mut fields {
        let mut found = Vec::new();
        let parts: Vec<&str> = field.path.split('.').collect();
        places(&parts, value, String::new(), &mut found);
        field.pointer = found.pop();
    }
    fields
}

/// The schema of a definition's specification.
pub fn of_specification(definition: &Value) -> &Value {
    &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
}

/// The fields below a schema, without their places.
pub fn leaves(path: &str, schema: &Value, into: &mut Vec<Field>) {
    let dot = if path.is_empty() { "" } else { "." };
    let properties = schema["properties"].as_object().filter(|properties| !properties.is_empty());
    if let Some(properties) = properties {
        for (name, schema) in properties {
            leaves(&format!("{path}{dot}{name}"), schema, into);
        }
    } else if schema["items"].is_object() {
        leaves(&format!("{path}[]"), &schema["items"], into);
    } else if schema["additionalProperties"].is_object() {
        leaves(&format!("{path}{{}}"), &schema["additionalProperties"], into);
    } else {
        into.push(Field { path: path.to_owned(), pointer: None, schema: schema.clone() });
    }
}

/// Where a value has what these parts of a path name, as JSON pointers.
pub fn places(parts: &[&str], value: &Value, pointer: String, into: &mut Vec<String>) {
    let Some((first, rest)) = parts.split_first() else { return into.push(pointer) };
    let name = first.trim_end_matches("[]").trim_end_matches("{}");
    let Some(value) = value.get(name) else { return };
    let pointer = format!("{pointer}/{name}");
    if first.ends_with("[]") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            places(rest, item, format!("{pointer}/{index}"), into);
        }
    } else if first.ends_with("{}") {
        for (key, item) in value.as_object().into_iter().flatten() {
            places(rest, item, format!("{pointer}/{key}"), into);
        }
    } else {
        places(rest, value, pointer, into);
    }
}

/// Another value that the field's own schema takes. What other fields ask of it is not known here.
pub fn another(value: &Value, schema: &Value) -> Result<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().find(|word| *word != value).cloned().context("an enum of one word has no other");
    }
    let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
    match value {
        Value::Bool(value) => Ok(json!(!value)),
        Value::Number(number) if schema["type"] == "integer" => {
            let number = number.as_i64().context("an integer is one")?;
            Ok(json!(if (number + 1) as f64 <= most { number + 1 } else { number - 1 }))
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            Ok(json!(if number + 0.25 <= most { number + 0.25 } else { number - 0.25 }))
        }
        Value::String(text) if schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("(ms|s|m|h|d)")) => {
            Ok(json!(if text == "95s" { "96s" } else { "95s" }))
        }
        Value::String(text) => Ok(json!(format!("{text}x"))),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            fields.insert("description".to_owned(), json!("changed"));
            Ok(Value::Object(fields))
        }
        other => bail!("there is no other value for {other}"),
    }
}
