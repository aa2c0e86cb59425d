//! The Service in front of a pool's pods.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use super::super::validate::ValidatedPool;
use crate::{names::HTTP, pods};

/// The Service of a pool: its OpenAI-compatible interface.
pub fn service(pool: &ValidatedPool) -> Service {
    Service {
        metadata: pool.child_metadata(),
        spec: Some(ServiceSpec {
            selector: Some(pool.selector()),
            ports: Some(vec![pods::service_port("http", HTTP)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}
