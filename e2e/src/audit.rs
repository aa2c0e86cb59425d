//! What a program asked the API server for, from its audit log, and what it may ask for.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::{Api, Client, api::ListParams};
use serde_json::Value;

/// One thing that may be done: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Group of the API; empty for the core.
    pub group: String,
    /// Resource, with its subresource after a slash.
    pub resource: String,
    /// Verb.
    pub verb: String,
}

impl Right {
    /// A verb on a resource of a group.
    pub fn of(verb: &str, resource: &str, group: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), verb: verb.to_owned() }
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(formatter, "{} {}{dot}{}", self.verb, self.resource, self.group)
    }
}

/// The API server's log of who did what.
pub struct AuditLog {
    events: Vec<Value>,
}

impl AuditLog {
    /// Reads the log of the cluster that the story runs in.
    pub fn read() -> Result<Self> {
        let state = std::env::var_os("DOCKET_CLUSTER_STATE").context("find the cluster; use e2e/cluster/run.sh")?;
        let folder = PathBuf::from(state).join("logs");
        let mut events = Vec::new();
        for entry in fs::read_dir(&folder).context("list the cluster's logs")? {
            let path = entry.context("list the cluster's logs")?.path();
            let named = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Older parts have the time in their names.
            if named.starts_with("audit") {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                // The last line may be half written.
                events.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
            }
        }
        Ok(Self { events })
    }

    /// Requests of a ServiceAccount to resources, and whether it has the right. What is refused for another reason, such as a
    /// namespace that is going, shows no lack of rights.
    fn of<'a>(&'a self, account: &(&str, &str)) -> impl Iterator<Item = (Right, bool, &'a Value)> + use<'a> {
        let user = format!("system:serviceaccount:{}:{}", account.0, account.1);
        self.events.iter().filter(move |event| event["user"]["username"] == user.as_str()).filter_map(|event| {
            let object = event["objectRef"].as_object()?;
            let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            let subresource = text("subresource");
            let resource = match subresource.is_empty() {
                true => text("resource"),
                false => format!("{}/{subresource}", text("resource")),
            };
            let verb = event["verb"].as_str().unwrap_or_default().to_owned();
            let allowed = event["annotations"]["authorization.k8s.io/decision"] == "allow";
            Some((Right { group: text("apiGroup"), resource, verb }, allowed, event))
        })
    }

    /// What a ServiceAccount (namespace, name) was let do.
    pub fn used(&self, account: (&str, &str)) -> BTreeSet<Right> {
        self.of(&account).filter(|(_, allowed, _)| *allowed).map(|(right, ..)| right).collect()
    }

    /// What it was refused, with the names of the objects.
    pub fn refused(&self, account: (&str, &str)) -> BTreeSet<String> {
        let refused = self.of(&account).filter(|(_, allowed, _)| !allowed);
        refused
            .map(|(right, _, event)| {
                let text = |field: &str| event["objectRef"][field].as_str().unwrap_or("-").to_owned();
                format!("{right} {}/{}", text("namespace"), text("name"))
            })
            .collect()
    }
}

/// What roles and their bindings grant to a ServiceAccount (namespace, name), everywhere and in namespaces together.
pub async fn granted_to(client: &Client, account: (&str, &str)) -> Result<BTreeSet<Right>> {
    let all = ListParams::default();
    let mut rights = BTreeSet::new();
    let cluster_bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for binding in cluster_bindings.list(&all).await.context("list cluster role bindings")? {
        if is_for(binding.subjects.as_deref(), account) {
            rights.extend(rules(client, &binding.role_ref, "").await?.iter().flat_map(rights_of));
        }
    }
    let bindings: Api<RoleBinding> = Api::all(client.clone());
    for binding in bindings.list(&all).await.context("list role bindings")? {
        if is_for(binding.subjects.as_deref(), account) {
            let namespace = binding.metadata.namespace.unwrap_or_default();
            rights.extend(rules(client, &binding.role_ref, &namespace).await?.iter().flat_map(rights_of));
        }
    }
    Ok(rights)
}

fn is_for(subjects: Option<&[Subject]>, account: (&str, &str)) -> bool {
    subjects.into_iter().flatten().any(|subject| {
        subject.kind == "ServiceAccount"
            && (subject.namespace.as_deref(), subject.name.as_str()) == (Some(account.0), account.1)
    })
}

async fn rules(client: &Client, role: &RoleRef, namespace: &str) -> Result<Vec<PolicyRule>> {
    let name = &role.name;
    let found = if role.kind == "Role" {
        let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
        roles.get(name).await.map(|role| role.rules)
    } else {
        let roles: Api<ClusterRole> = Api::all(client.clone());
        roles.get(name).await.map(|role| role.rules)
    };
    Ok(found.with_context(|| format!("read {} \"{name}\"", role.kind))?.unwrap_or_default())
}

fn rights_of(rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                rights.push(Right { group: group.clone(), resource: resource.clone(), verb: verb.clone() });
            }
        }
    }
    rights
}
