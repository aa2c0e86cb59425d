//! Which of the kept results an erasure is about.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::kept::{self, Head};

/// Results of documents that are erased: under the keys that their records name, and all that were made from them. It holds
/// no names: what stands for them is written in hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ErasedResults {
    /// Keys. Others may have had the result before: it is removed all the same.
    pub keys: BTreeSet<String>,
    /// Tenants of which everything goes.
    tenants: BTreeSet<String>,
    /// Payloads, by tenant.
    payloads: BTreeMap<String, BTreeSet<String>>,
}

impl ErasedResults {
    /// Also what was made from this payload for the tenant.
    pub fn add_payload(&mut self, tenant: &str, payload: &str) {
        self.payloads.entry(written(tenant)).or_default().insert(written(payload));
    }

    /// Also everything of the tenant.
    pub fn add_tenant(&mut self, tenant: &str) {
        self.tenants.insert(written(tenant));
    }

    /// Also what another one is about.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.tenants.extend(other.tenants);
        for (tenant, payloads) in other.payloads {
            self.payloads.entry(tenant).or_default().extend(payloads);
        }
    }

    /// Whether it is about nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is about a result.
    pub fn means(&self, key: &str, head: &Head) -> bool {
        self.keys.contains(key) || self.means_owner(head)
    }

    fn means_owner(&self, head: &Head) -> bool {
        let tenant = kept::hexadecimal(&head.owner.tenant);
        let payload = || kept::hexadecimal(&head.owner.payload);
        self.tenants.contains(&tenant) || self.payloads.get(&tenant).is_some_and(|known| known.contains(&payload()))
    }
}

fn written(name: &str) -> String {
    kept::hexadecimal(&kept::tag(name))
}
