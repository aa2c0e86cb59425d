//! The protobuf forms of statuses. Nothing in them is needed: who leaves a number out has not measured it.

use prost::Message as _;

use super::{DecodeError, VERSION, proto, read};
use crate::{
    CacheCounts, DueInWork, GatewayStatus, HeldModel, LearnedHead, PipelineTally, PodStatus, PoolOrders, ServiceTime,
    WaitCounts,
};

impl PodStatus {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        let service_time = |time: &ServiceTime| proto::ServiceTime {
            pipeline: time.pipeline.clone(),
            stage: time.stage.clone(),
            up_to_tokens: time.up_to_tokens,
            document_size: time.document_size.into(),
            count: time.count,
            of_all: time.of_all,
            mean: time.mean,
            p50: time.p50,
            p95: time.p95,
        };
        let counts = |counts: &CacheCounts| proto::CacheCounts {
            level: counts.level.clone(),
            hits: counts.hits,
            misses: counts.misses,
            errors: counts.errors,
        };
        let held = |model: &HeldModel| proto::HeldModel { name: model.name.clone(), digest: model.digest.clone() };
        let learned = |head: &LearnedHead| proto::LearnedHead {
            pipeline: head.pipeline.clone(),
            head: head.head.clone(),
            examples: head.examples,
        };
        let due = |due: &DueInWork| proto::DueInWork {
            pipeline: due.pipeline.clone(),
            stage: due.stage.clone(),
            deadlines: due.deadlines.clone(),
        };
        let waits = |waits: &WaitCounts| proto::WaitCounts { started: waits.started, counts: waits.counts.clone() };
        proto::PodStatus {
            version: VERSION,
            name: self.name.clone(),
            pool: self.pool.clone(),
            slots: self.slots,
            in_work: self.in_work,
            interactive: self.interactive,
            ready: self.ready,
            cordoned: self.cordoned,
            service_times: self.service_times.iter().map(service_time).collect(),
            model_load_seconds: self.model_load_seconds,
            ready_after_seconds: self.ready_after_seconds,
            cache: self.cache.iter().map(counts).collect(),
            interrupted: self.interrupted,
            models: self.models.iter().map(held).collect(),
            heads: self.heads.iter().map(learned).collect(),
            address: self.address.clone(),
            waits: self.waits.as_ref().map(waits),
            cpu: self.cpu,
            tokens: self.tokens,
            cost: self.cost,
            began: self.began,
            resting: self.resting,
            due: self.due.iter().map(due).collect(),
            at: self.at,
        }
        .encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let status = read::<proto::PodStatus>("status", bytes)?;
        let service_time = |time: proto::ServiceTime| ServiceTime {
            pipeline: time.pipeline,
            stage: time.stage,
            up_to_tokens: time.up_to_tokens,
            document_size: u8::try_from(time.document_size).unwrap_or_default(),
            count: time.count,
            of_all: time.of_all,
            mean: time.mean,
            p50: time.p50,
            p95: time.p95,
        };
        let counts = |counts: proto::CacheCounts| CacheCounts {
            level: counts.level,
            hits: counts.hits,
            misses: counts.misses,
            errors: counts.errors,
        };
        let held = |model: proto::HeldModel| HeldModel { name: model.name, digest: model.digest };
        let learned = |head: proto::LearnedHead| LearnedHead {
            pipeline: head.pipeline,
            head: head.head,
            examples: head.examples,
        };
        let due =
            |due: proto::DueInWork| DueInWork { pipeline: due.pipeline, stage: due.stage, deadlines: due.deadlines };
        Ok(Self {
            name: status.name,
            pool: status.pool,
            slots: status.slots,
            in_work: status.in_work,
            interactive: status.interactive,
            ready: status.ready,
            cordoned: status.cordoned,
            service_times: status.service_times.into_iter().map(service_time).collect(),
            model_load_seconds: status.model_load_seconds,
            ready_after_seconds: status.ready_after_seconds,
            cache: status.cache.into_iter().map(counts).collect(),
            interrupted: status.interrupted,
            models: status.models.into_iter().map(held).collect(),
            heads: status.heads.into_iter().map(learned).collect(),
            address: status.address,
            waits: status.waits.map(|waits| WaitCounts { started: waits.started, counts: waits.counts }),
            cpu: status.cpu,
            tokens: status.tokens,
            cost: status.cost,
            began: status.began,
            resting: status.resting,
            due: status.due.into_iter().map(due).collect(),
            at: status.at,
        })
    }
}

impl PoolOrders {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        proto::PoolOrders { version: VERSION, epoch: self.epoch, resting: self.resting.clone() }.encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let orders = read::<proto::PoolOrders>("pool's orders", bytes)?;
        Ok(Self { epoch: orders.epoch, resting: orders.resting })
    }
}

impl GatewayStatus {
    /// As protobuf.
    pub fn encode(&self) -> Vec<u8> {
        let tally = |tally: &PipelineTally| proto::PipelineTally {
            pipeline: tally.pipeline.clone(),
            open: tally.open,
            done_per_minute: tally.done_per_minute,
            dead_letters: tally.dead_letters,
            p50: tally.p50,
            p95: tally.p95,
        };
        proto::GatewayStatus {
            version: VERSION,
            name: self.name.clone(),
            pipelines: self.pipelines.iter().map(tally).collect(),
            at: self.at,
        }
        .encode_to_vec()
    }

    /// From protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let status = read::<proto::GatewayStatus>("status", bytes)?;
        let tally = |tally: proto::PipelineTally| PipelineTally {
            pipeline: tally.pipeline,
            open: tally.open,
            done_per_minute: tally.done_per_minute,
            dead_letters: tally.dead_letters,
            p50: tally.p50,
            p95: tally.p95,
        };
        let pipelines = status.pipelines.into_iter().map(tally).collect();
        Ok(Self { name: status.name, pipelines, at: status.at })
    }
}
