//! What an object is to be, and what of one that is there is ours.

use kube::{Api, Client, Resource, api::DynamicObject, core::ApiResource};
use serde::Serialize;
use serde_json::{Value, json};

use super::Error;
use crate::names::{ALLOWED, ALLOWED_LABEL, APPLIED_ANNOTATION, FIELD_MANAGER, digest};

/// An object that is to be as it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    pub(super) resource: ApiResource,
    namespace: String,
    pub(super) name: String,
    object: Value,
    left: Option<Left>,
    pub(super) where_known: bool,
}

/// A field that somebody else owns.
#[derive(Clone, Debug, PartialEq)]
struct Left {
    pointer: &'static str,
    at_first: Value,
}

impl Child {
    /// A child made of a typed object, which has a name and a namespace.
    pub fn of<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        let resource = ApiResource::erase::<K>(&());
        let mut value = serde_json::to_value(object).expect("API types are plain data");
        value["apiVersion"] = json!(resource.api_version);
        value["kind"] = json!(resource.kind);
        Self::new(resource, value)
    }

    /// A child of a kind that has no type here.
    pub fn new(resource: ApiResource, object: Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (name, namespace) = (text("name"), text("namespace"));
        Self { resource, namespace, name, object, left: None, where_known: false }
    }

    /// Of a kind that the cluster may not have any more: where it has not, nothing is made.
    pub fn where_known(mut self) -> Self {
        self.where_known = true;
        self
    }

    /// Leaves a field, named by a JSON pointer to a field of an object that is there, to somebody else: it is no difference, an
    /// apply names it as it is, and only a new object begins with `at_first`. Without being named it would fall to the API
    /// server's default.
    pub fn leaving(mut self, pointer: &'static str, at_first: Value) -> Self {
        self.left = Some(Left { pointer, at_first });
        self
    }

    /// Its kind and name, for messages.
    pub fn shown(&self) -> String {
        format!("{} {}/{}", self.resource.kind, self.namespace, self.name)
    }

    /// Whether an object of its name is somebody else's. What a namespace has for all belongs to no single object, and has
    /// names that nobody chooses.
    pub fn is_taken(&self, live: &Value) -> bool {
        let metadata = &live["metadata"];
        let managers = metadata["managedFields"].as_array();
        let is_made = managers.into_iter().flatten().any(|fields| fields["manager"] == FIELD_MANAGER)
            // A backup that was played back keeps no managers.
            || metadata["annotations"][APPLIED_ANNOTATION].is_string();
        self.object["metadata"]["ownerReferences"].is_array()
            && !is_made
            && metadata["labels"][ALLOWED_LABEL] != ALLOWED
    }

    pub(super) fn not_ours(&self) -> Error {
        Error::NotOurs {
            object: self.shown(),
            kind: self.resource.kind.to_lowercase(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// What is wanted.
    pub fn object(&self) -> &Value {
        &self.object
    }

    pub(super) fn with_digest(&self) -> Value {
        let mut object = self.object.clone();
        let text = object.to_string();
        object["metadata"]["annotations"][APPLIED_ANNOTATION] = json!(digest(text.as_bytes()));
        object
    }

    /// What is sent: under the condition that the object still is as it was looked at, and with the field that is left to others
    /// as it is.
    pub fn as_applied(&self, mut wanted: Value, live: Option<&Value>) -> Value {
        if let Some(live) = live {
            for field in ["uid", "resourceVersion"] {
                wanted["metadata"][field] = live["metadata"][field].clone();
            }
        }
        let Some(left) = &self.left else { return wanted };
        let value = live.map_or(Some(&left.at_first), |live| live.pointer(left.pointer));
        let (parent, field) = left.pointer.rsplit_once('/').expect("a pointer to a field");
        if let (Some(value), Some(parent)) = (value, wanted.pointer_mut(parent)) {
            parent[field] = value.clone();
        }
        wanted
    }

    /// What others, who write a status and the field that is left to them, do not change of an object.
    pub(super) fn ours_of(&self, live: Option<Value>) -> Option<Value> {
        let mut live = live?;
        let left = self.left.as_ref().and_then(|left| live.pointer_mut(left.pointer));
        if let Some(left) = left {
            *left = Value::Null;
        }
        live["metadata"] = json!({"uid": live["metadata"]["uid"]});
        live["status"] = Value::Null;
        Some(live)
    }

    pub(super) fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.namespace, &self.resource)
    }
}
