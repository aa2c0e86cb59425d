//! What of an object its maker decided, without what an API server and controllers add.

use kube::api::DynamicObject;
use serde_json::{Value, json};

/// The part of an object that stays the same when it is deleted and made again.
pub fn essence(object: &DynamicObject) -> Value {
    let mut data = object.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.remove("status");
    }
    // Given out by the API server.
    if let Some(spec) = data.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let metadata = &object.metadata;
    let annotations = metadata.annotations.iter().flatten();
    // Counted by the controller of Deployments.
    let annotations: Vec<_> = annotations.filter(|(name, _)| *name != "deployment.kubernetes.io/revision").collect();
    let owners: Vec<_> = metadata.owner_references.iter().flatten().map(|owner| (&owner.kind, &owner.name)).collect();
    json!({"labels": metadata.labels, "annotations": annotations, "owners": owners, "data": data})
}
