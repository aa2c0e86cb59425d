//! The four questions of KEDA. The metric is the number of agents itself, with a target of one each, so that KEDA's HPA wants as
//! many agents as the autoscaler does.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    pools::Pools,
    protocol::{
        GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
        ScaledObjectRef, external_scaler_server::ExternalScaler,
    },
};

/// Name of the metric.
const METRIC: &str = "docket-desired-replicas";

pub(super) struct Answers {
    pub(super) pools: Pools,
    pub(super) stop: CancellationToken,
}

type Stated = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Answers {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let desired = self.pools.desired(&self.pools.place(request.get_ref())?).await?;
        Ok(Response::new(active(desired)))
    }

    type StreamIsActiveStream = Stated;

    async fn stream_is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<Stated>, Status> {
        let place = self.pools.place(request.get_ref())?;
        let changes = self.pools.changes(place).map(|desired| desired.map(active));
        Ok(Response::new(Box::pin(changes.take_until(self.stop.clone().cancelled_owned()))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.pools.place(request.get_ref())?;
        let spec = MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
        Ok(Response::new(GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let scaled = request.get_ref().scaled_object_ref.as_ref();
        let scaled = scaled.ok_or_else(|| Status::invalid_argument("the request names no ScaledObject"))?;
        let desired = self.pools.desired(&self.pools.place(scaled)?).await?;
        let value = MetricValue {
            metric_name: METRIC.to_owned(),
            metric_value: i64::from(desired),
            metric_value_float: f64::from(desired),
        };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }
}

fn active(desired: u32) -> IsActiveResponse {
    IsActiveResponse { result: desired > 0 }
}
