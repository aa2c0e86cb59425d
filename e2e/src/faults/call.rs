//! What one request to the API server is about, from its method, path and body.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

/// A request, without its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// `get`, `list`, `watch`, `create`, `patch`, `update` or `delete`.
    pub verb: &'static str,
    /// Plural, such as `configmaps`; empty where it is about no object, as discovery is.
    pub resource: String,
    /// Empty where it is about no namespace.
    pub namespace: String,
    /// Name of the object; empty for lists.
    pub name: String,
    /// Such as `status`; empty for the object itself.
    pub subresource: String,
}

impl Call {
    /// What a request is about.
    pub fn of(method: &str, target: &str, body: &[u8]) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.first() {
            Some(&"api") => parts.get(2..),
            Some(&"apis") => parts.get(3..),
            _ => None,
        }
        .unwrap_or_default();
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |index: usize| rest.get(index).map_or_else(String::new, ToString::to_string);
        let mut name = part(1);
        let watches = query.split('&').any(|word| matches!(word, "watch=true" | "watch=1"));
        let verb = match method {
            "GET" if watches => "watch",
            "GET" if name.is_empty() && !rest.is_empty() => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "get",
        };
        if verb == "create" && name.is_empty() {
            let object: Value = serde_json::from_slice(body).unwrap_or_default();
            name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        }
        Self { verb, resource: part(0), namespace: namespace.to_owned(), name, subresource: part(2) }
    }

    /// Whether it changes an object other than what an election or news are about.
    pub fn is_write(&self) -> bool {
        self.changes() && !matches!(self.resource.as_str(), "leases" | "events")
    }

    /// Whether it changes anything.
    pub fn changes(&self) -> bool {
        matches!(self.verb, "create" | "patch" | "update" | "delete")
    }

    /// Whether it is about the Lease.
    pub fn is_of_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// Verb, kind and name in one line.
    pub fn shown(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        format!("{} {}{slash}{} {}", self.verb, self.resource, self.subresource, self.name).trim_end().to_owned()
    }
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was asked.
    pub call: Call,
    /// When it came.
    pub at: Instant,
    /// When it was answered, or the peer gave up.
    pub ended: Instant,
    /// What the API server answered; none where it was not asked.
    pub status: Option<u16>,
}

impl Done {
    /// Whether the API server has done it.
    pub fn is_effective(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }

    /// Whether it made an object that was not there. Server-side apply says so by its status.
    pub fn created(&self) -> bool {
        self.status == Some(201) && self.call.is_write()
    }

    /// Whether it removed an object.
    pub fn deleted(&self) -> bool {
        self.is_effective() && self.call.verb == "delete"
    }
}
