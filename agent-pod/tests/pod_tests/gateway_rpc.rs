//! A gateway over gRPC.

use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::proto::{
    ApproveRequest, DocumentRequest, EraseRequest, FeedbackRequest, GetRequest, Head, ListApprovalsRequest,
    ListRequest, StatsRequest, SubmitRequest, erase_request::Scope, feedback_request::Opinion,
    gateway_client::GatewayClient, submit_request::Part, watch_event::Event,
};
use crate::support::{
    PLAIN, Place, changed, models,
    processes::{GatewayProcess, PATIENCE},
};

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
async fn a_document_is_erased() {
    let place = Place::new();
    let gateway = gateway(&place, "");
    let mut client = connect(&gateway).await;
    client.submit(parts("a.txt", b"text")).await.expect("accepted");
    let get = GetRequest { pipeline: "plain".to_owned(), document: "a.txt".to_owned(), wait_ms: 60_000 };
    assert_eq!(client.get(get).await.expect("it is there").into_inner().outcome, "succeeded");
    let erase = |scope| EraseRequest { scope };
    let nothing = client.erase(erase(None)).await.expect_err("it says nothing");
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let erased = client.erase(erase(Some(Scope::Document(of("a.txt"))))).await.expect("erased").into_inner();
    assert!(erased.complete && !erased.more, "{}", erased.report_json);
    let again = client.erase(erase(Some(Scope::Document(of("a.txt"))))).await.expect_err("it is gone");
    assert_eq!(again.code(), Code::NotFound);
    let tenant = client.erase(erase(Some(Scope::Tenant("local".to_owned())))).await.expect("erased").into_inner();
    assert!(tenant.complete && tenant.report_json.contains("\"documents\":0"), "{}", tenant.report_json);
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

/// Documents wait for a person after their first stage; a head is there to learn, though no stage uses it.
fn asking() -> String {
    let asking = "  - {name: sign, pool: readers, after: [parse], approve: {reason: 'may it?'}}\n  - {name: head,";
    let model = "spec: {concurrency: 4}";
    let embedder = "spec: {models: [{name: minilm, task: Embed, source: {catalog: minilm}}]}";
    let heads = "spec:\n  heads: [{name: kind, kind: Classifier, embedder: minilm}]\n  stages:";
    changed(PLAIN, &[("  - {name: head,", asking), (model, embedder), ("spec:\n  stages:", heads)])
}

#[tokio::test]
async fn people_are_asked_answer_and_give_feedback() {
    if models(&["minilm"]).is_none() {
        return;
    }
    let place = Place::new();
    place.write("pipeline.yaml", asking());
    let gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let mut client = connect(&gateway).await;
    for id in ["a", "b"] {
        client.submit(parts(id, b"a text")).await.expect("accepted");
    }
    let (pipeline, begun) = ("plain".to_owned(), std::time::Instant::now());
    let asked = loop {
        let list = ListApprovalsRequest { pipeline: pipeline.clone(), ..ListApprovalsRequest::default() };
        let listed = client.list_approvals(list).await.expect("a list").into_inner().items_json;
        if listed.len() == 2 {
            break listed;
        }
        assert!(begun.elapsed() < PATIENCE, "{listed:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(asked.iter().all(|item| item.contains("may it?")), "{asked:?}");
    let approve = |document: &str, approve: bool| ApproveRequest {
        pipeline: pipeline.clone(),
        document: document.to_owned(),
        approve,
        ..ApproveRequest::default()
    };
    client.approve(approve("a", true)).await.expect("it counts");
    assert_eq!(client.approve(approve("a", false)).await.expect_err("too late").code(), Code::FailedPrecondition);
    let rejected = client.approve(approve("b", false)).await.expect("it counts").into_inner();
    assert_eq!(rejected.outcome, "dead-lettered");
    let get = GetRequest { pipeline: pipeline.clone(), document: "a".to_owned(), wait_ms: 60_000 };
    assert_eq!(client.get(get).await.expect("it is there").into_inner().outcome, "succeeded");
    let audits = ListApprovalsRequest { pipeline: pipeline.clone(), audits: true, ..ListApprovalsRequest::default() };
    assert!(client.list_approvals(audits).await.expect("a list").into_inner().items_json.is_empty());
    let feedback = |opinion| FeedbackRequest {
        pipeline: pipeline.clone(),
        document: "a".to_owned(),
        head: "kind".to_owned(),
        opinion: Some(opinion),
    };
    let label = || feedback(Opinion::Label("lease".to_owned()));
    assert!(client.feedback(label()).await.expect("it is kept").into_inner().changed);
    assert!(!client.feedback(label()).await.expect("it is there").into_inner().changed);
    let score = client.feedback(feedback(Opinion::Score(0.5))).await.expect_err("a classifier takes labels");
    assert_eq!(score.code(), Code::InvalidArgument);
    let list = ListRequest { pipeline: pipeline.clone(), ..ListRequest::default() };
    let said = client.list_feedback(list).await.expect("a list").into_inner().items_json;
    assert!(said.len() == 1 && said[0].contains("lease"), "{said:?}");
}
