//! Clients that break the rules: each is refused or cut off, and others notice nothing.

use reqwest::{Version, header::HeaderValue};
use tonic::{Code, transport::Channel};

use super::{
    Attacked, MIB, documents,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame, header,
        opening, request,
    },
    gateway, read_to_end, send,
};
use crate::{
    proto::{GetRequest, Head, SubmitRequest, gateway_client::GatewayClient, submit_request::Part},
    support::{Place, processes::client},
};

/// A request of gRPC by hand; the status that it is answered with.
fn call(attacked: &Attacked, path: &str, headers: &[(&'static str, &[u8])], body: Vec<u8>) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder().http2_prior_knowledge().build().expect("a client");
    let mut request = client.post(format!("{}/{path}", attacked.gateway.grpc)).version(Version::HTTP_2);
    request = request.header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).expect("a value that HTTP allows"));
    }
    let answer = request.body(body).send().expect("it answers");
    let status = answer.headers().get("grpc-status").expect("an answer without a body");
    status.to_str().expect("a number").to_owned()
}

/// A message in its frame.
fn message(compressed: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![compressed];
    message.extend(u32::try_from(bytes.len()).expect("it is small").to_be_bytes());
    message.extend_from_slice(bytes);
    message
}

fn status(code: Code) -> String {
    (code as i32).to_string()
}

const GET: &str = "docket.gateway.v1.Gateway/Get";
const SUBMIT: &str = "docket.gateway.v1.Gateway/Submit";

async fn connect(attacked: &Attacked) -> GatewayClient<Channel> {
    GatewayClient::connect(attacked.gateway.grpc.clone()).await.expect("it listens")
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused() {
    let attacked = tokio::task::spawn_blocking(|| Attacked::start("")).await.expect("started");
    let mut client = connect(&attacked).await;
    let head = Part::Head(Head { pipeline: "plain".to_owned(), ..Head::default() });
    let parts = [head, Part::Chunk(vec![0; 4 * MIB + 1].into())].map(|part| SubmitRequest { part: Some(part) });
    let refused = client.submit(futures::stream::iter(parts)).await.expect_err("a chunk that is too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let name = "x".repeat(4 * MIB + 1);
    let get = GetRequest { pipeline: name.clone(), document: name, wait_ms: 0 };
    let refused = client.get(get).await.expect_err("a name that is too large");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    tokio::task::spawn_blocking(|| attacked.survives()).await.expect("it survives");
}

#[test]
fn requests_that_cannot_be_read_are_refused() {
    let attacked = Attacked::start("");
    // A message that says it is compressed, and a megabyte of zeros as gzip.
    let bomb = include_bytes!("bomb.gz");
    assert_eq!(call(&attacked, GET, &[("grpc-encoding", b"gzip")], message(1, bomb)), status(Code::Unimplemented));
    assert_eq!(call(&attacked, GET, &[], message(1, bomb)), status(Code::Internal));
    // Groups in groups, under a field that is not known.
    let deep = [vec![0x7b; 10_000], vec![0x7c; 10_000]].concat();
    assert_eq!(call(&attacked, GET, &[], message(0, &deep)), status(Code::Internal));
    assert_eq!(call(&attacked, GET, &[], message(0, b"\x0a\x02\xff\xfe")), status(Code::Internal), "no UTF-8");
    assert_eq!(call(&attacked, GET, &[], message(0, b"\x0a\x7fshort")), status(Code::Internal), "it ends early");
    assert_eq!(call(&attacked, GET, &[], b"\0\x7f\xff\xff\xffshort".to_vec()), status(Code::OutOfRange));
    assert_eq!(call(&attacked, SUBMIT, &[], Vec::new()), status(Code::InvalidArgument), "no head");
    assert_eq!(call(&attacked, "docket.gateway.v1.Gateway/Nothing", &[], Vec::new()), status(Code::Unimplemented));
    assert_eq!(call(&attacked, "docket.Nothing/Nothing", &[], Vec::new()), status(Code::Unimplemented));
    let not_text = call(&attacked, GET, &[("authorization", b"Bearer \xff\xfe")], message(0, b""));
    assert_eq!(not_text, status(Code::NotFound), "nobody is asked for a token here");
    // Metadata that nests without end.
    let nested = "[".repeat(10_000);
    let mut head = b"\x0a\x05plain\x42".to_vec();
    head.extend([(nested.len() % 128 + 128) as u8, (nested.len() / 128) as u8]);
    head.extend(nested.as_bytes());
    let mut submit = vec![0x0a, (head.len() % 128 + 128) as u8, (head.len() / 128) as u8];
    submit.extend(&head);
    assert_eq!(call(&attacked, SUBMIT, &[], message(0, &submit)), status(Code::InvalidArgument));
    let packed = client().post(documents(&attacked.gateway)).header("content-encoding", "gzip");
    assert_eq!(packed.body(&bomb[..]).send().expect("it answers").status(), 400);
    attacked.survives();
}

#[test]
fn headers_of_a_megabyte_are_refused() {
    let attacked = Attacked::start("");
    let large = vec![b'x'; MIB];
    for _ in 0..8 {
        let mut stream = attacked.connect(&attacked.gateway.http);
        let begin = b"GET /v1/pipelines HTTP/1.1\r\nhost: gateway\r\nx-large: ";
        send(&mut stream, &[&begin[..], &large, b"\r\n\r\n"].concat());
        let answer = read_to_end(&mut stream);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));

        let mut stream = attacked.connect(&attacked.gateway.grpc);
        let fields = [request("Get"), header("x-large", &large)].concat();
        let mut frames = opening();
        let mut parts = fields.chunks(16_000).peekable();
        let mut kind = HEADERS;
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { END_HEADERS } else { 0 };
            let flags = if kind == HEADERS { end | END_STREAM } else { end };
            frames.extend(frame(kind, flags, 1, part));
            kind = CONTINUATION;
        }
        send(&mut stream, &frames);
        // Whether the stream or the connection is given up is the server's choice; we end it.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        read_to_end(&mut stream);
    }
    attacked.survives();
}

/// Sends `parts` without end until the other side closes the connection.
#[track_caller]
fn flood(attacked: &Attacked, first: &[u8], mut part: impl FnMut(u32) -> Vec<u8>) {
    const MOST: u32 = 1_000_000;
    let mut stream = attacked.connect(&attacked.gateway.grpc);
    let mut ears = stream.try_clone().expect("a second handle");
    // What the server says is read, so that it is not its full buffers that stop it.
    let hears = std::thread::spawn(move || read_to_end(&mut ears).len());
    assert!(send(&mut stream, &[opening(), first.to_vec()].concat()));
    let closed = (0..MOST / 100).find(|hundred| {
        let parts: Vec<u8> = (hundred * 100..(hundred + 1) * 100).flat_map(&mut part).collect();
        !send(&mut stream, &parts)
    });
    assert!(closed.is_some(), "a million frames were taken");
    let _ = stream.shutdown(std::net::Shutdown::Both);
    hears.join().expect("it was read");
}

#[test]
fn streams_that_are_reset_as_soon_as_they_are_opened_end_the_connection() {
    let attacked = Attacked::start("");
    let fields = request("Get");
    flood(&attacked, &[], |number| {
        let stream = number * 2 + 1;
        let open = frame(HEADERS, END_HEADERS, stream, &fields);
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    attacked.survives();
}

#[test]
fn headers_without_end_end_the_connection() {
    let attacked = Attacked::start("");
    let first = frame(HEADERS, 0, 1, &request("Get"));
    flood(&attacked, &first, |_| frame(CONTINUATION, 0, 1, &[]));
    flood(&attacked, &first, |number| frame(CONTINUATION, 0, 1, &header(&format!("x-{number}"), &[b'x'; 1_000])));
    attacked.survives();
}

#[test]
fn empty_frames_without_end_end_the_connection() {
    let attacked = Attacked::start("");
    let first = frame(HEADERS, END_HEADERS, 1, &request("Submit"));
    flood(&attacked, &first, |_| frame(DATA, 0, 1, &[]));
    attacked.survives();
}

#[test]
fn questions_whose_answers_nobody_reads_take_up_no_memory() {
    let attacked = Attacked::start("");
    for (kind, payload) in [(PING, &b"question"[..]), (SETTINGS, b"")] {
        let mut stream = attacked.connect(&attacked.gateway.grpc);
        stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).expect("set");
        let questions: Vec<u8> = (0..1_000).flat_map(|_| frame(kind, 0, 0, payload)).collect();
        assert!(send(&mut stream, &opening()));
        // It ends when the server reads no more, or has closed the connection.
        let taken = (0..10_000).take_while(|_| send(&mut stream, &questions)).count();
        assert!(taken < 10_000, "ten million questions were taken");
    }
    attacked.survives();
}

#[test]
fn what_is_neither_http_nor_anything_else_is_refused() {
    let attacked = Attacked::start("");
    let noise: Vec<u8> = (0..MIB).map(|place| (place * 7 % 256) as u8).collect();
    for interface in [&attacked.gateway.http, &attacked.gateway.grpc] {
        for bytes in [&noise[..], b"\0\0\0\0", b"\x16\x03\x01\x02\0", b"GET", &[PREFACE, &noise].concat()] {
            let mut stream = attacked.connect(interface);
            send(&mut stream, bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            read_to_end(&mut stream);
        }
    }
    attacked.survives();
}

#[test]
fn wrong_tokens_are_refused_and_no_token_is_told_to_anyone() {
    const SECRET: &str = "a-secret-of-some-length-0123456789";
    let place = Place::new();
    place.write("tokens.yaml", format!("tokens: [{{name: a, token: {SECRET}}}]"));
    let mut gateway = gateway(&place, "tokens: tokens.yaml\n");
    let ask = |token: &str| {
        let answer = client().get(format!("{}/v1/pipelines", gateway.http)).bearer_auth(token).send();
        let answer = answer.expect("it answers");
        (answer.status().as_u16(), answer.text().expect("text"))
    };
    assert_eq!(ask(SECRET).0, 200);
    let mut heard = String::new();
    let almost = &SECRET[..SECRET.len() - 1];
    for token in ["", "x", almost, &format!("{SECRET}0"), &SECRET.to_uppercase(), &"x".repeat(10_000)] {
        let (status, text) = ask(token);
        assert_eq!(status, 401, "{token}");
        heard.push_str(&text);
    }
    heard.push_str(&gateway.metrics());
    heard.push_str(&gateway.process.said());
    assert!(!heard.contains(almost), "{heard}");
}
