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
    pub(super) fn means(&self, key: &str, head: &Head) -> bool {
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

#[cfg(test)]
mod tests {
    use super::{super::kept::Owner, *};

    #[test]
    fn keys_tenants_and_payloads_of_a_tenant_are_meant() {
        let head = |tenant, payload| Head { made_at: 1, owner: Owner::new(tenant, payload) };
        let mut erased = ErasedResults::default();
        assert!(erased.is_empty() && !erased.means("k", &head("acme", "00ff")));
        erased.add_payload("acme", "00ff");
        assert!(erased.means("k", &head("acme", "00ff")));
        assert!(!erased.means("k", &head("acme", "00fe")) && !erased.means("k", &head("other", "00ff")));
        erased.extend(ErasedResults { keys: ["k".to_owned()].into(), ..ErasedResults::default() });
        assert!(erased.means("k", &head("other", "00ff")));
        erased.add_tenant("other");
        assert!(erased.means("l", &head("other", "00fe")) && !erased.means("l", &head("third", "00fe")));
    }

    #[test]
    fn an_order_says_no_names_and_comes_back() {
        let mut erased = ErasedResults::default();
        erased.add_payload("acme", "00ff");
        erased.add_tenant("umbrella");
        let order = serde_json::to_string(&erased).expect("JSON");
        assert!(!["acme", "umbrella", "00ff"].iter().any(|name| order.contains(name)), "{order}");
        assert_eq!(serde_json::from_str::<ErasedResults>(&order).expect("it was just written"), erased);
    }
}
