//! The CustomResourceDefinitions of the API types, as objects and as the files in `config/crd`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::Value;

use crate::{AgentPool, Pipeline};

/// The definitions of all kinds, `AgentPool` first.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [AgentPool::crd(), Pipeline::crd()].map(normalised)
}

/// The file of a definition: its name, for example `pipelines.docket.dev.yaml`, and its text.
pub fn manifest(definition: &CustomResourceDefinition) -> (String, String) {
    let name = format!("{}.{}.yaml", definition.spec.names.plural, definition.spec.group);
    let mut object = serde_json::to_value(definition).expect("a definition is plain data");
    write_whole_numbers(&mut object);
    let text = serde_saphyr::to_string(&object).expect("a definition is plain data");
    (name, format!("# Written by `cargo run -p crds` from crds/src; edit the types there.\n{text}"))
}

fn normalised(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            normalise(schema);
        }
    }
    definition
}

/// Makes a schema mean the same to an API server as to [`crate::file`] and to serde.
///
/// `null` counts as not written: without `nullable` an API server drops it, so that `has()` in a rule is false for it.
/// Unsigned formats are unknown to API servers, which warn of them: bounds say the same.
fn normalise(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    let largest = match schema.format.as_deref() {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        // No bound of its own: every u64 field has one, which a test checks.
        Some("uint" | "uint64") => None,
        _ => return normalise_children(schema),
    };
    schema.format = None;
    schema.minimum = schema.minimum.or(Some(0.0));
    schema.maximum = schema.maximum.or(largest);
}

fn normalise_children(schema: &mut JSONSchemaProps) {
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(normalise);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => normalise(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(normalise),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &mut schema.additional_properties {
        normalise(value);
    }
}

/// The schema's bounds are floats in the Rust type; `maximum: 1024` reads better than `maximum: 1024.0`.
fn write_whole_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) =
                number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT)
            {
                *number = (float as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(write_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
