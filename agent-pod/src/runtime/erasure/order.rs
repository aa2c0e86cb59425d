//! What is to be erased from a folder of derived state, in a form that can be sent: digests, and the name of a tenant.

use std::collections::{BTreeMap, BTreeSet};

use knowledge::document_key;
use serde::{Deserialize, Serialize};

use super::{Scope, Traces};
use crate::runtime::cache::ErasedResults;

/// What is to be erased from a folder. It names no document: rows of knowledge bases are found by a digest of tenant and id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Order {
    /// All rows of this tenant, in every table of the folder and of the other places named here.
    pub tenant: Option<String>,
    /// Rows of these documents in every table of the folder.
    pub everywhere: BTreeSet<String>,
    /// Rows of documents in tables, by the `uri` of the knowledge base and its name.
    pub knowledge: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// Kept results.
    pub results: ErasedResults,
    /// Whether results may lie on a Redis server.
    pub on_redis: bool,
}

impl Order {
    /// For documents whose records were found.
    pub fn of(traces: &Traces) -> Self {
        let mut order = Self::default();
        if let Scope::Tenant { tenant } = &traces.scope {
            order.tenant = Some(tenant.clone());
            order.results.add_tenant(tenant);
        }
        for document in &traces.documents {
            let key = document_key(&document.tenant, &document.document).to_string();
            for (uri, name) in &document.knowledge {
                let tables = order.knowledge.entry(uri.clone()).or_default();
                tables.entry(name.clone()).or_default().insert(key.clone());
            }
            if document.plan.is_none() {
                order.everywhere.insert(key);
            }
            order.results.keys.extend(document.cache_keys.iter().cloned());
            // All of a tenant's results need no list: an order must fit into one message.
            if order.tenant.is_none() {
                order.results.add_payload(&document.tenant, &document.payload);
            }
            order.on_redis |= document.on_redis;
        }
        order
    }

    /// For a document that was only ever ingested, so that there is no record of it.
    pub fn of_ingested(tenant: &str, document: &str) -> Self {
        Self { everywhere: BTreeSet::from([document_key(tenant, document).to_string()]), ..Self::default() }
    }

    /// Both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.tenant = self.tenant.or(other.tenant);
        self.everywhere.extend(other.everywhere);
        for (uri, tables) in other.knowledge {
            let known = self.knowledge.entry(uri).or_default();
            for (name, keys) in tables {
                known.entry(name).or_default().extend(keys);
            }
        }
        self.results.extend(other.results);
        self.on_redis |= other.on_redis;
        self
    }
}
