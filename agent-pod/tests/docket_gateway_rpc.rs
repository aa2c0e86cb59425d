//! A gateway over gRPC.

mod support;

use support::{PLAIN, Place, processes::GatewayProcess};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::proto::{
    DocumentRequest, GetRequest, Head, ListRequest, StatsRequest, SubmitRequest, gateway_client::GatewayClient,
    submit_request::Part, watch_event::Event,
};

mod proto {
    #![allow(clippy::all, missing_docs, dead_code, reason = "generated code")]
    tonic::include_proto!("docket.gateway.v1");
}

const CHUNK: usize = 1 << 20;

async fn connect(gateway: &GatewayProcess) -> GatewayClient<Channel> {
    GatewayClient::connect(gateway.grpc.clone()).await.expect("it listens").max_decoding_message_size(64 << 20)
}

fn gateway(place: &Place, config: &str) -> GatewayProcess {
    place.write("pipeline.yaml", PLAIN);
    GatewayProcess::start(place, &format!("resources: [pipeline.yaml]\nstate: state\n{config}"))
}

fn parts(id: &str, bytes: &[u8]) -> impl futures::Stream<Item = SubmitRequest> + use<> {
    let head = Head { pipeline: "plain".to_owned(), id: Some(id.to_owned()), ..Head::default() };
    let chunks: Vec<Part> = bytes.chunks(CHUNK).map(|chunk| Part::Chunk(chunk.to_vec().into())).collect();
    let parts = std::iter::once(Part::Head(head)).chain(chunks);
    futures::stream::iter(parts.map(|part| SubmitRequest { part: Some(part) }).collect::<Vec<_>>())
}

fn of(document: &str) -> DocumentRequest {
    DocumentRequest { pipeline: "plain".to_owned(), document: document.to_owned() }
}

#[tokio::test]
async fn a_document_in_chunks_is_taken_watched_and_given() {
    let place = Place::new();
    let gateway = gateway(&place, "");
    let mut client = connect(&gateway).await;
    let text = "All work and no play. ".repeat(100_000);
    let accepted = client.submit(parts("large.txt", text.as_bytes())).await.expect("accepted").into_inner();
    assert_eq!((accepted.document.as_str(), accepted.repeated), ("large.txt", false));
    assert!(client.submit(parts("large.txt", text.as_bytes())).await.expect("accepted").into_inner().repeated);
    let mut events = client.watch(of("large.txt")).await.expect("watched").into_inner();
    let mut last = None;
    while let Some(event) = events.message().await.expect("an event") {
        last = event.event;
    }
    let Some(Event::End(end)) = last else { panic!("the last event is {last:?}") };
    assert_eq!(end.outcome, "succeeded");
    let result: serde_json::Value = serde_json::from_str(&end.result_json).expect("JSON");
    assert_eq!(result["output"]["bytes"], text.len());
    let get = GetRequest { pipeline: "plain".to_owned(), document: "large.txt".to_owned(), wait_ms: 1_000 };
    assert_eq!(client.get(get).await.expect("it is there").into_inner().result_json, end.result_json);
    let stats = client.stats(StatsRequest {}).await.expect("stats").into_inner().stats_json;
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!((&stats["pools"][0]["name"], &stats["pipelines"][0]["name"]), (&"readers".into(), &"plain".into()));
    let listed = client.list(ListRequest { pipeline: "plain".to_owned(), ..ListRequest::default() }).await;
    assert_eq!(listed.expect("a list").into_inner().items_json.len(), 1);
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let place = Place::new();
    let gateway = gateway(&place, "");
    let channel = Channel::from_shared(gateway.grpc.clone()).expect("an address").connect().await.expect("it listens");
    let request = HealthCheckRequest { service: "docket.gateway.v1.Gateway".to_owned() };
    let health = HealthClient::new(channel.clone()).check(request).await.expect("an answer").into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .expect("an answer")
        .into_inner();
    let answer = answers.message().await.expect("an answer").and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("no list of services: {answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"docket.gateway.v1.Gateway") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test]
async fn refusals_have_the_right_codes() {
    let place = Place::new();
    place.write("tokens.yaml", "tokens: [{name: a, token: token-of-a-000001}]");
    let gateway = gateway(&place, "limits: {documentBytes: 2000000}\ntokens: tokens.yaml\n");
    let mut client = connect(&gateway).await;
    assert_eq!(client.cancel(of("a")).await.expect_err("no token").code(), Code::Unauthenticated);
    let with_token = |mut request: Request<DocumentRequest>| {
        request.metadata_mut().insert("authorization", "Bearer token-of-a-000001".parse().expect("ascii"));
        request
    };
    let unknown = client.cancel(with_token(Request::new(of("a")))).await.expect_err("there is none");
    assert_eq!(unknown.code(), Code::NotFound);
    let mut large = Request::new(parts("a", &vec![b'x'; 3 * CHUNK]));
    large.metadata_mut().insert("authorization", "Bearer token-of-a-000001".parse().expect("ascii"));
    assert_eq!(client.submit(large).await.expect_err("too large").code(), Code::ResourceExhausted);
    let chunk = SubmitRequest { part: Some(Part::Chunk(vec![1].into())) };
    let mut headless = Request::new(futures::stream::iter([chunk]));
    headless.metadata_mut().insert("authorization", "Bearer token-of-a-000001".parse().expect("ascii"));
    assert_eq!(client.submit(headless).await.expect_err("no head").code(), Code::InvalidArgument);
}
