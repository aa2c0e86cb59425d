//! What the autoscaler has decided for a pool, as the operator keeps it among the records. Adds nothing to it.

use std::collections::BTreeSet;

use flow::keys::DECISIONS;
use serde_json::Value;

use super::{api::Api, refusal::Refusal, tokens::Caller};

/// Of whom the record is: no business of who reads it.
const OF_THE_WRITER: &str = "epoch";

impl Api {
    /// The number of agents that is wanted for a pool of the caller's pipelines, and the last decisions.
    pub(super) async fn explain_pool(&self, caller: &Caller, pool: &str) -> Result<Value, Refusal> {
        let plans = self.plans.values().filter(|plan| self.plan(caller, &plan.name).is_ok());
        let pools: BTreeSet<&str> = plans.flat_map(|plan| plan.pools.keys()).map(String::as_str).collect();
        if !pools.contains(pool) {
            let pools: Vec<&str> = pools.into_iter().collect();
            let message = format!("your pipelines use no pool \"{pool}\"; they use: {}", pools.join(", "));
            return Err(Refusal::NotFound(message));
        }
        let Some(record) = self.ports.records.get(&format!("{DECISIONS}{pool}")).await? else {
            let message = format!(
                "nothing was decided for pool \"{pool}\": its AgentPool has no `scaling`, or no operator has looked at it yet"
            );
            return Err(Refusal::NotFound(message));
        };
        let mut decided: Value = serde_json::from_slice(&record.bytes).map_err(|error| {
            tracing::error!(%error, pool, "what was decided cannot be read");
            let message = "what was decided cannot be read; the operator writes it again with its next decision";
            Refusal::Unavailable(message.to_owned())
        })?;
        if let Some(decided) = decided.as_object_mut() {
            decided.remove(OF_THE_WRITER);
        }
        Ok(decided)
    }
}
