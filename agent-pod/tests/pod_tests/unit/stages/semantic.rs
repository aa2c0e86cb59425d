//! Scopes of prompts.

use agent_pod::stages::semantic::scope_values;
use serde_json::json;

#[test]
fn a_document_that_lacks_a_field_is_in_no_scope() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let metadata = json!({"jurisdiction": "DE", "version": 2, "draft": null});
    assert_eq!(scope_values(&[], &metadata), Some(Vec::new()));
    assert_eq!(
        scope_values(&names(&["version", "jurisdiction"]), &metadata),
        Some(names(&[r#"["version",2]"#, r#"["jurisdiction","DE"]"#]))
    );
    for missing in ["draft", "other", ""] {
        assert_eq!(scope_values(&names(&["version", missing]), &metadata), None, "{missing}");
    }
    // 2 and "2" are two values.
    assert_ne!(
        scope_values(&names(&["version"]), &metadata),
        scope_values(&names(&["version"]), &json!({"version": "2"}))
    );
}
