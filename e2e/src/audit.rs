//! What a program asked the API server for, from its audit log, and what it may ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject},
    jiff::Timestamp,
};
use kube::{Api, Client, api::ListParams};
use serde_json::Value;

/// Answer to an apply that made an object: one that changed it is answered by 200.
const CREATED: u64 = 201;

/// One thing that may be done: a verb on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Group of the API; empty for the core.
    pub group: String,
    /// Resource, with its subresource after a slash.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// The only object that it is about; none where it is about all.
    pub name: Option<String>,
}

impl Right {
    /// A verb on all objects of a resource of a group.
    pub fn of(verb: &str, resource: &str, group: &str) -> Self {
        Self { group: group.to_owned(), resource: resource.to_owned(), verb: verb.to_owned(), name: None }
    }

    /// Whether a request needed this right. An apply that makes an object is logged as a patch, and needs two.
    pub fn is_needed_by(&self, request: &Request) -> bool {
        let makes = self.verb == "create" && request.verb == "patch" && request.answer == CREATED;
        (&self.group, &self.resource) == (&request.group, &request.resource)
            && (self.verb == request.verb || makes)
            && self.name.as_ref().is_none_or(|name| *name == request.name)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dot = if self.group.is_empty() { "" } else { "." };
        write!(formatter, "{} {}{dot}{}", self.verb, self.resource, self.group)?;
        self.name.iter().try_for_each(|name| write!(formatter, " \"{name}\""))
    }
}

/// What somebody asked the API server for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Group of the API; empty for the core.
    pub group: String,
    /// Resource, with its subresource after a slash.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// Namespace; empty where it is about all of them, or about what has none.
    pub namespace: String,
    /// Name of the object; empty where it is about several.
    pub name: String,
    /// Code of the answer.
    pub answer: u64,
    /// Whether rights allowed it. What is refused for another reason, such as a namespace that is going, shows no lack of rights.
    pub allowed: bool,
    /// Whether rights refused it. Where the API server fails before it has looked at them, it is neither.
    pub refused: bool,
}

impl Request {
    /// One that is about an object; others, such as for what the API server can do, are not looked at.
    fn of(event: &Value) -> Option<Self> {
        let object = event["objectRef"].as_object()?;
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let subresource = text("subresource");
        let decision = &event["annotations"]["authorization.k8s.io/decision"];
        let resource = match subresource.is_empty() {
            true => text("resource"),
            false => format!("{}/{subresource}", text("resource")),
        };
        Some(Self {
            group: text("apiGroup"),
            resource,
            verb: event["verb"].as_str().unwrap_or_default().to_owned(),
            namespace: text("namespace"),
            name: text("name"),
            answer: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            allowed: decision == "allow",
            refused: decision == "forbid",
        })
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let right = Right::of(&self.verb, &self.resource, &self.group);
        write!(formatter, "{right} {}/{}", or_none(&self.namespace), or_none(&self.name))
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

    /// The log from this time on: a cluster may have told of other installations before.
    pub fn since(time: Timestamp) -> Result<Self> {
        let mut log = Self::read()?;
        let received = |event: &Value| event["requestReceivedTimestamp"].as_str()?.parse::<Timestamp>().ok();
        log.events.retain(|event| received(event).is_some_and(|received| received >= time));
        Ok(log)
    }

    /// What a ServiceAccount (namespace, name) asked for.
    pub fn requests(&self, account: (&str, &str)) -> BTreeSet<Request> {
        let user = format!("system:serviceaccount:{}:{}", account.0, account.1);
        self.events.iter().filter(|event| event["user"]["username"] == user.as_str()).filter_map(Request::of).collect()
    }
}

/// Which of some rights no request has needed, but for two that leave no request of their own.
pub fn unused<'a>(granted: &'a BTreeSet<Right>, requests: &BTreeSet<Request>) -> BTreeSet<&'a Right> {
    const EVENTS: [&str; 2] = ["events", "events.k8s.io"];
    const MONITORS: [&str; 2] = ["podmonitors", "monitoring.coreos.com"];
    let of = |verb, [resource, group]: [&str; 2]| Right::of(verb, resource, group);
    let is_used = |right: &Right| requests.iter().any(|request| request.allowed && right.is_needed_by(request));
    let is_kept = |right: &Right| {
        // News that repeats itself after minutes is counted, not told again: no story lasts that long, but some tell news.
        (*right == of("patch", EVENTS) && is_used(&of("create", EVENTS)))
            // The admission asks for it when an owner is put back; a story of PodMonitors shows that it is.
            || (*right == of("delete", MONITORS) && is_used(&of("patch", MONITORS)))
    };
    granted.iter().filter(|right| !is_used(right) && !is_kept(right)).collect()
}

/// What roles and their bindings grant to a ServiceAccount.
#[derive(Clone, Debug, Default)]
pub struct Granted {
    /// In the whole cluster.
    pub everywhere: BTreeSet<Right>,
    /// By namespace.
    pub within: BTreeMap<String, BTreeSet<Right>>,
}

impl Granted {
    /// All of it, wherever.
    pub fn all(&self) -> BTreeSet<Right> {
        self.within.values().flatten().chain(&self.everywhere).cloned().collect()
    }
}

/// What a ServiceAccount (namespace, name) is granted.
pub async fn granted_to(client: &Client, account: (&str, &str)) -> Result<Granted> {
    let all = ListParams::default();
    let mut granted = Granted::default();
    let cluster_bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for binding in cluster_bindings.list(&all).await.context("list cluster role bindings")? {
        if is_for(binding.subjects.as_deref(), account) {
            granted.everywhere.extend(rules(client, &binding.role_ref, "").await?.iter().flat_map(rights_of));
        }
    }
    let bindings: Api<RoleBinding> = Api::all(client.clone());
    for binding in bindings.list(&all).await.context("list role bindings")? {
        if is_for(binding.subjects.as_deref(), account) {
            let namespace = binding.metadata.namespace.unwrap_or_default();
            let rules = rules(client, &binding.role_ref, &namespace).await?;
            granted.within.entry(namespace).or_default().extend(rules.iter().flat_map(rights_of));
        }
    }
    Ok(granted)
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
    let names: Vec<Option<String>> = match &rule.resource_names {
        Some(names) if !names.is_empty() => names.iter().cloned().map(Some).collect(),
        _ => vec![None],
    };
    let mut rights = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                let right = Right::of(verb, resource, group);
                rights.extend(names.iter().map(|name| Right { name: name.clone(), ..right.clone() }));
            }
        }
    }
    rights
}
