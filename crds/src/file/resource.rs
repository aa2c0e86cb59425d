//! One document as a resource: its kind, its schema, its rules, its type.

use kube::core::cel::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{
    check,
    error::Finding,
    nearest::did_you_mean,
    place,
    schemas::{API_VERSION, KindSchema, Schemas},
    tree::{Node, Value},
};
use crate::{AgentPool, Pipeline};

/// A resource of any kind.
pub(super) enum Resource {
    AgentPool(Box<AgentPool>),
    Pipeline(Box<Pipeline>),
}

/// Reads a document; `None` where `findings` now say why not.
pub(super) fn read(tree: Node, schemas: &Schemas, findings: &mut Vec<Finding>) -> Option<(Resource, Node)> {
    let kind = kind_of(&tree, schemas, findings)?;
    let before = findings.len();
    let object = check::check(&tree, &kind.schema, findings);
    check_rules(&tree, &object, kind, findings, before);
    if findings.len() > before {
        return None;
    }
    let resource = match kind.kind.as_str() {
        "AgentPool" => typed(object).map(Resource::AgentPool),
        _ => typed(object).map(Resource::Pipeline),
    };
    match resource {
        Ok(resource) => Some((resource, tree)),
        Err(error) => {
            let message = format!("failed to read it as {}: {error}", kind.kind);
            findings.push(Finding { place: tree.place, field: String::new(), message, hides_rules: true });
            None
        }
    }
}

fn typed<T: DeserializeOwned>(object: Json) -> serde_json::Result<Box<T>> {
    serde_json::from_value(object).map(Box::new)
}

/// The schema to use, by `apiVersion` and `kind`.
fn kind_of<'a>(tree: &Node, schemas: &'a Schemas, findings: &mut Vec<Finding>) -> Option<&'a KindSchema> {
    if !matches!(tree.value, Value::Map(_)) {
        let message = format!("a resource is a map of fields, this is {}", check::describe(&tree.value));
        findings.push(Finding { place: tree.place, field: String::new(), message, hides_rules: true });
        return None;
    }
    let mut found = |field: &str, message: String| {
        findings.push(Finding { place: tree.place_of(field), field: field.to_owned(), message, hides_rules: true });
    };
    let text = |field| match tree.entry(field).map(|entry| &entry.node.value) {
        None | Some(Value::Null) => Err("is missing".to_owned()),
        Some(Value::Text(text)) => Ok(text.as_str()),
        Some(other) => Err(format!("must be text, not {}", check::describe(other))),
    };
    let version = match text("apiVersion") {
        Ok(API_VERSION) => Some(()),
        Ok(other) => {
            found("apiVersion", format!("\"{}\" is not known here; write {API_VERSION}", check::shortened(other)));
            None
        }
        Err(message) => {
            found("apiVersion", message);
            None
        }
    };
    let kind = match text("kind") {
        Ok(name) => schemas.kind(name).or_else(|| {
            let known: Vec<_> = schemas.kind_names().collect();
            let near = did_you_mean(name, known.iter().copied());
            found("kind", format!("\"{}\" is not one of {}{near}", check::shortened(name), known.join(", ")));
            None
        }),
        Err(message) => {
            found("kind", message);
            None
        }
    };
    version.and(kind)
}

/// The rules of the schema, as the API server evaluates them. `before` is the number of findings of other documents.
fn check_rules(tree: &Node, object: &Json, kind: &KindSchema, findings: &mut Vec<Finding>, before: usize) {
    let Err(broken) = Validator::new().validate_compiled(&kind.rules, object, None) else { return };
    for error in broken {
        let field = error.field_path;
        let named = kind.field_paths.get(&error.rule).map_or("", String::as_str);
        let scope = field.strip_suffix(named).unwrap_or(&field);
        let hidden = findings[before..].iter().any(|found| found.hides_rules && place::is_within(&found.field, scope));
        if !hidden {
            findings.push(Finding { place: tree.place_of(&field), field, message: error.message, hides_rules: false });
        }
    }
}
