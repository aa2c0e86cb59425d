//! A plan travels as the specification that it was compiled from: a reader compiles it again, so it holds no plan that
//! its own checks refuse.

use std::collections::BTreeMap;

use prost::Message;
use serde::Serialize;

use super::{DecodeError, VERSION, proto, read};
use crate::{Plan, compile};

impl Plan {
    /// As protobuf, for documents that must find their plan again after the pipeline has changed.
    pub fn encode(&self) -> Vec<u8> {
        let pools = self.pools.iter().map(|(name, pool)| (name.clone(), json(pool))).collect();
        let (version, name, generation) = (VERSION, self.name.clone(), self.generation);
        proto::Plan { version, name, generation, spec: json(&self.spec), pools }.encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let plan = read::<proto::Plan>("plan", bytes)?;
        let invalid = |source| DecodeError::Specification { source };
        let spec = serde_json::from_slice(&plan.spec).map_err(invalid)?;
        let pools: BTreeMap<_, _> = plan
            .pools
            .into_iter()
            .map(|(name, pool)| Ok((name, serde_json::from_slice(&pool).map_err(invalid)?)))
            .collect::<Result<_, DecodeError>>()?;
        compile(&plan.name, plan.generation, &spec, &pools).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            DecodeError::Plan { problems: problems.join("; ") }
        })
    }
}

fn json(specification: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(specification).expect("specifications are read from JSON or YAML, so JSON can hold them")
}
