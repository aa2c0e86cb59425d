//! gRPC: the same as HTTP, with documents in chunks, health and reflection.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::middleware;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};

use self::proto::{
    ApproveRequest, Document, DocumentRequest, EraseRequest, EraseResponse, FeedbackRequest, FeedbackResponse,
    GetRequest, ListApprovalsRequest, ListRequest, ListResponse, PipelinesRequest, PipelinesResponse, StatsRequest,
    StatsResponse, SubmitRequest, SubmitResponse, Token, WatchEvent,
    erase_request::Scope,
    feedback_request,
    gateway_server::{Gateway, GatewayServer},
    submit_request::Part,
    watch_event::Event,
};
use super::{
    api::{self, Api, Head, Listed},
    approvals::Said,
    gate::{self, SHORT},
    refusal::Refusal,
    tokens::Caller,
    watch::{self, Watched},
};
use crate::{Error, Result, runtime::feedback::Opinion};

/// The generated types.
mod proto {
    #![allow(clippy::all, missing_docs, reason = "generated code")]
    #![allow(clippy::clone_on_ref_ptr, reason = "generated")]
    tonic::include_proto!("docket.gateway.v1");
    pub(super) const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("gateway");
}

/// Largest message that is taken: chunks of a document are much smaller.
const MAX_TAKEN: usize = 4 << 20;
/// Largest message that is sent: a result holds what all stages made.
const MAX_SENT: usize = 64 << 20;
/// As in HTTP.
const MAX_WAIT: Duration = Duration::from_secs(60);
const MAX_ITEMS: u32 = 1_000;
const ITEMS: u32 = 100;

/// All services.
pub(super) fn routes(api: &Arc<Api>) -> Result<Routes> {
    let gateway = GatewayServer::new(Rpc { api: Arc::clone(api) })
        .max_decoding_message_size(MAX_TAKEN)
        .max_encoding_message_size(MAX_SENT);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTION)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(Error::system("describe the gRPC services"))?
        .max_decoding_message_size(SHORT);
    let (reporter, health) = tonic_health::server::health_reporter();
    let health = health.max_decoding_message_size(SHORT);
    let stop = api.stop.clone();
    tokio::spawn(async move {
        reporter.set_serving::<GatewayServer<Rpc>>().await;
        stop.left().await;
        reporter.set_not_serving::<GatewayServer<Rpc>>().await;
    });
    let routes = Routes::new(gateway).add_service(health).add_service(reflection).into_axum_router();
    Ok(routes.layer(middleware::from_fn_with_state(Arc::clone(api), gate::pass)).into())
}

struct Rpc {
    api: Arc<Api>,
}

impl Rpc {
    /// Who calls, as the gate has found; it lets nobody else through.
    fn caller<T>(&self, request: &Request<T>) -> std::result::Result<Caller, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        caller.ok_or_else(|| Refusal::Unauthenticated.into())
    }
}

type Answer<T> = std::result::Result<Response<T>, Status>;

#[async_trait]
impl Gateway for Rpc {
    async fn submit(&self, request: Request<Streaming<SubmitRequest>>) -> Answer<SubmitResponse> {
        let caller = self.caller(&request)?;
        let mut parts = request.into_inner();
        let intake = &self.api.intake;
        // A message is gathered before we see anything of it.
        let room = intake.room(MAX_TAKEN as u64).await?;
        let first = tokio::time::timeout(intake.time(), parts.message()).await;
        let first = first.map_err(|_| intake.too_slow())??;
        let Some(SubmitRequest { part: Some(Part::Head(said)) }) = first else {
            return Err(Refusal::Invalid("the first message must be the head".to_owned()).into());
        };
        let accepted = self.api.submit(&caller, head(said)?, (chunks(parts), room)).await?;
        Ok(Response::new(SubmitResponse {
            document: accepted.document,
            repeated: accepted.repeated,
            expected_finish: accepted.expected_finish,
        }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<Document> {
        let caller = self.caller(&request)?;
        let GetRequest { pipeline, document, wait_ms } = request.into_inner();
        let at_most = Duration::from_millis(wait_ms).min(MAX_WAIT);
        let result = watch::wait(&self.api, &caller, (&pipeline, &document), at_most).await?;
        Ok(Response::new(sent(&result)))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        let caller = self.caller(&request)?;
        let ListRequest { pipeline, after, limit, outcome } = request.into_inner();
        let listed = self.api.list(&caller, &pipeline, (after, items(limit), outcome.as_deref())).await?;
        Ok(Response::new(list(&listed)))
    }

    async fn dead_letters(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        let caller = self.caller(&request)?;
        let ListRequest { pipeline, after, limit, .. } = request.into_inner();
        let listed = self.api.dead_letters(&caller, &pipeline, after, items(limit)).await?;
        Ok(Response::new(list(&listed)))
    }

    async fn cancel(&self, request: Request<DocumentRequest>) -> Answer<Document> {
        let caller = self.caller(&request)?;
        let DocumentRequest { pipeline, document } = request.into_inner();
        Ok(Response::new(sent(&self.api.cancel(&caller, &pipeline, &document).await?)))
    }

    async fn replay(&self, request: Request<DocumentRequest>) -> Answer<Document> {
        let caller = self.caller(&request)?;
        let DocumentRequest { pipeline, document } = request.into_inner();
        Ok(Response::new(sent(&self.api.replay(&caller, &pipeline, &document).await?)))
    }

    async fn erase(&self, request: Request<EraseRequest>) -> Answer<EraseResponse> {
        let caller = self.caller(&request)?;
        let report = match request.into_inner().scope {
            Some(Scope::Document(DocumentRequest { pipeline, document })) => {
                self.api.erase_document(&caller, &pipeline, &document).await?
            }
            Some(Scope::Tenant(tenant)) => self.api.erase_tenant(&caller, &tenant).await?,
            None => return Err(Refusal::Invalid("scope: set document or tenant".to_owned()).into()),
        };
        let (complete, more) = (report["complete"] == true, report["more"] == true);
        Ok(Response::new(EraseResponse { complete, more, report_json: report.to_string() }))
    }

    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = std::result::Result<WatchEvent, Status>> + Send>>;

    async fn watch(&self, request: Request<DocumentRequest>) -> Answer<Self::WatchStream> {
        let caller = self.caller(&request)?;
        let DocumentRequest { pipeline, document } = request.into_inner();
        let watched = watch::watch(&self.api, &caller, &pipeline, &document).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(watched).map(event))))
    }

    async fn approve(&self, request: Request<ApproveRequest>) -> Answer<Document> {
        let caller = self.caller(&request)?;
        let ApproveRequest { pipeline, document, stage, approve, comment } = request.into_inner();
        let said = Said { stage, approve, comment };
        Ok(Response::new(sent(&self.api.answer(&caller, &pipeline, &document, said).await?)))
    }

    async fn list_approvals(&self, request: Request<ListApprovalsRequest>) -> Answer<ListResponse> {
        let caller = self.caller(&request)?;
        let ListApprovalsRequest { pipeline, audits, after, limit } = request.into_inner();
        let listed = match audits {
            true => Listed { items: self.api.audits(&caller, &pipeline, items(limit)).await?, next: None },
            false => self.api.approvals(&caller, &pipeline, after, items(limit)).await?,
        };
        Ok(Response::new(list(&listed)))
    }

    async fn feedback(&self, request: Request<FeedbackRequest>) -> Answer<FeedbackResponse> {
        let caller = self.caller(&request)?;
        let FeedbackRequest { pipeline, document, head, opinion } = request.into_inner();
        let mut said = Opinion { head, ..Opinion::default() };
        match opinion {
            Some(feedback_request::Opinion::Label(label)) => said.label = Some(label),
            Some(feedback_request::Opinion::Score(score)) => said.score = Some(score),
            None => {}
        }
        let kept = self.api.feedback(&caller, &pipeline, &document, said).await?;
        Ok(Response::new(FeedbackResponse { changed: kept["changed"] == true }))
    }

    async fn list_feedback(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        let caller = self.caller(&request)?;
        let ListRequest { pipeline, after, limit, .. } = request.into_inner();
        let listed = self.api.list_feedback(&caller, &pipeline, after, items(limit)).await?;
        Ok(Response::new(list(&listed)))
    }

    async fn pipelines(&self, request: Request<PipelinesRequest>) -> Answer<PipelinesResponse> {
        let caller = self.caller(&request)?;
        let pipelines_json = self.api.pipelines(&caller).iter().map(Value::to_string).collect();
        Ok(Response::new(PipelinesResponse { pipelines_json }))
    }

    async fn stats(&self, request: Request<StatsRequest>) -> Answer<StatsResponse> {
        let caller = self.caller(&request)?;
        let stats_json = self.api.stats(&caller).await?.to_string();
        Ok(Response::new(StatsResponse { stats_json }))
    }
}

fn head(said: proto::Head) -> std::result::Result<Head, Refusal> {
    Ok(Head {
        pipeline: said.pipeline,
        id: said.id,
        idempotency_key: said.idempotency_key,
        source: said.source,
        tenant: said.tenant,
        priority: said.priority.as_deref().map(api::priority).transpose()?,
        deadline: said.deadline_ms.map(Duration::from_millis),
        metadata: said.metadata_json.as_deref().map(api::metadata).transpose()?.unwrap_or_default(),
        length: said.length,
    })
}

fn chunks(parts: Streaming<SubmitRequest>) -> impl Stream<Item = std::result::Result<Bytes, Refusal>> {
    stream::unfold(Some(parts), async |parts| {
        let mut parts = parts?;
        match parts.message().await {
            Ok(Some(SubmitRequest { part: Some(Part::Chunk(chunk)) })) => Some((Ok(chunk), Some(parts))),
            Ok(Some(_)) => Some((Err(Refusal::Invalid("a message after the first is not a chunk".to_owned())), None)),
            Ok(None) => None,
            Err(status) if status.code() == Code::OutOfRange => {
                Some((Err(Refusal::TooLarge("a chunk has more than 4 MiB".to_owned())), None))
            }
            Err(status) => Some((Err(Refusal::broken_off(status.message())), None)),
        }
    })
}

fn items(asked: u32) -> usize {
    (if asked == 0 { ITEMS } else { asked.min(MAX_ITEMS) }) as usize
}

fn list(listed: &Listed) -> ListResponse {
    ListResponse { items_json: listed.items.iter().map(Value::to_string).collect(), next: listed.next.clone() }
}

fn sent(result: &Value) -> Document {
    let word = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
    Document {
        document: word("document"),
        outcome: word("outcome"),
        result_json: result.to_string(),
        expected_finish: result["expectedFinish"].as_str().map(str::to_owned),
    }
}

fn event(watched: Watched) -> std::result::Result<WatchEvent, Status> {
    let event = match watched {
        Watched::Progress(progress) => Event::ProgressJson(progress.to_string()),
        Watched::Token(token) => Event::Token(Token {
            stage: token["stage"].as_str().unwrap_or_default().to_owned(),
            sequence: token["sequence"].as_u64().unwrap_or_default(),
            text: token["text"].as_str().unwrap_or_default().to_owned(),
        }),
        Watched::End(result) => Event::End(sent(&result)),
        Watched::Lost(refusal) => return Err(refusal.into()),
    };
    Ok(WatchEvent { event: Some(event) })
}
