//! Reads files of settings, which are no resources: the configuration of a process.

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings, transform::AddNullable};
use serde::de::DeserializeOwned;

use super::{FileError, Located, check, error::Finding, text_of, tree};

/// Reads a file with one YAML (or JSON) document, checked as strictly as resources are: an unknown field is an error.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn settings<T: JsonSchema + DeserializeOwned>(path: &Path) -> Result<Located<T>, Vec<FileError>> {
    parse_settings(&path.display().to_string(), &text_of(path)?)
}

/// As [`settings`], of a text; `name` stands for the file in messages. No text at all means that everything has its default.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse_settings<T: JsonSchema + DeserializeOwned>(name: &str, text: &str) -> Result<Located<T>, Vec<FileError>> {
    let trees = tree::parse(text);
    let mut findings = trees.findings;
    let mut documents = trees.documents.into_iter();
    let tree = documents.next();
    if let Some(second) = documents.next() {
        let message = "a file of settings holds one document".to_owned();
        findings.push(Finding { place: second.place, field: String::new(), message, hides_rules: true });
    }
    let Some(tree) = tree else {
        if findings.is_empty() {
            return Err(vec![FileError::of_file(name, "holds no settings")]);
        }
        return Err(in_file(findings, name));
    };
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let generator = settings.with_transform(AddNullable::default()).into_generator();
    let schema = generator.into_root_schema_for::<T>().to_value();
    let object = check::check(&tree, &schema, &mut findings);
    if findings.is_empty() {
        match serde_json::from_value(object) {
            Ok(value) => return Ok(Located::new(value, name, 0, tree)),
            Err(error) => {
                let message = format!("failed to read it: {error}");
                findings.push(Finding { place: tree.place, field: String::new(), message, hides_rules: true });
            }
        }
    }
    Err(in_file(findings, name))
}

fn in_file(mut findings: Vec<Finding>, name: &str) -> Vec<FileError> {
    findings.sort_by_key(|finding| finding.place);
    findings.into_iter().map(|finding| finding.in_file(name)).collect()
}
