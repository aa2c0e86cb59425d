//! The schemas that documents are checked against, with their rules compiled.

use std::{collections::HashMap, sync::LazyLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::cel::{CompiledSchema, compile_schema};
use schemars::{generate::SchemaSettings, transform::AddNullable};
use serde_json::{Value, json};

use crate::definitions;

/// The only version of the API.
pub(super) const API_VERSION: &str = "docket.dev/v1alpha1";

/// A name as Kubernetes has it for most objects, RFC 1123.
pub(super) const LABEL_PATTERN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// The schema of one kind.
pub(super) struct KindSchema {
    pub(super) kind: String,
    /// Of the whole document: `apiVersion`, `kind`, `metadata` and `spec`.
    pub(super) schema: Value,
    pub(super) rules: CompiledSchema,
    /// By the text of a rule the field, seen from the rule's place, at which its failure is reported.
    pub(super) field_paths: HashMap<String, String>,
}

/// The schemas of all kinds.
pub(super) struct Schemas {
    kinds: Vec<KindSchema>,
}

impl Schemas {
    /// Made once in a process: the types are walked and their rules compiled for it.
    pub(super) fn get() -> &'static Self {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::new);
        &SCHEMAS
    }

    fn new() -> Self {
        let metadata = metadata();
        let kinds = definitions().map(|definition| {
            let kind = definition.spec.names.kind;
            let spec = definition.spec.versions.into_iter().find_map(|version| version.schema?.open_api_v3_schema);
            let mut schema = serde_json::to_value(spec).expect("a schema is plain data");
            schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
            schema["properties"]["apiVersion"] = json!({"type": "string", "enum": [API_VERSION]});
            schema["properties"]["kind"] = json!({"type": "string", "enum": [kind.clone()]});
            schema["properties"]["metadata"] = metadata.clone();
            // A status is observed, never written by a person.
            schema["properties"].as_object_mut().expect("a schema has properties").remove("status");
            let mut field_paths = HashMap::new();
            collect_field_paths(&schema, &mut field_paths);
            KindSchema { rules: compile_schema(&schema), kind, schema, field_paths }
        });
        Self { kinds: kinds.into() }
    }

    pub(super) fn kind(&self, name: &str) -> Option<&KindSchema> {
        self.kinds.iter().find(|kind| kind.kind == name)
    }

    pub(super) fn kind_names(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.kind.as_str())
    }
}

fn collect_field_paths(schema: &Value, found: &mut HashMap<String, String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        if let (Some(text), Some(path)) = (rule["rule"].as_str(), rule["fieldPath"].as_str()) {
            found.insert(text.to_owned(), path.to_owned());
        }
    }
    let properties = schema["properties"].as_object().into_iter().flat_map(serde_json::Map::values);
    properties.chain(schema.get("items")).for_each(|child| collect_field_paths(child, found));
}

/// Kubernetes' own metadata, with the name that a file must give.
fn metadata() -> Value {
    let generator = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = generator.with_transform(AddNullable::default()).into_generator();
    let mut schema = generator.into_root_schema_for::<ObjectMeta>().to_value();
    schema["required"] = json!(["name"]);
    for name in ["name", "namespace"] {
        schema["properties"][name] =
            json!({"type": "string", "minLength": 1, "maxLength": 63, "pattern": LABEL_PATTERN});
    }
    schema
}
