//! A provider that does all that a server can do, and what is made of it.

use std::{io::Write as _, sync::Arc, time::Duration};

use agent_pod::runtime::providers::{
    circuit::Circuits,
    client::{Provider, Written},
    error::Error,
    meters::Meters,
};
use crds::{CircuitBreaker, OpenAiSource, Span};
use engine::{
    generation::{ChatMessage, ChatRole, Finish, GenerateRequest, Sampling},
    reach::Reach,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::provider_server::{Piece, ProviderServer, head, says, status, streams, vectors};

const KEY: &str = "sk-0123456789abcdef";

struct World {
    circuits: Circuits,
    meters: Meters,
}

impl World {
    fn new() -> Self {
        let meters = Meters::default();
        Self { circuits: Circuits::new(meters.clone()), meters }
    }

    fn provider(&self, source: &OpenAiSource) -> Provider {
        let variable = |name: &str| (name == "KEY").then(|| KEY.to_owned());
        Provider::open(source, &Reach::anybody(), (&self.circuits, &self.meters), variable).expect("a provider")
    }

    fn state(&self, server: &ProviderServer) -> i64 {
        self.meters.circuit(&server.host()).get()
    }
}

fn source(server: &ProviderServer) -> OpenAiSource {
    OpenAiSource {
        base_url: server.url(),
        model: "large".to_owned(),
        api_key_env: Some("KEY".to_owned()),
        api_key_file: None,
        timeout: Span(Duration::from_secs(20)),
        max_concurrent: 2,
        dimensions: None,
    }
}

fn request() -> GenerateRequest {
    GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: "Which pet?".to_owned() }],
        max_tokens: 20,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        schema: None,
    }
}

async fn ask(server: &ProviderServer) -> Result<Written, Error> {
    World::new().provider(&source(server)).generate(&request(), None, CircuitBreaker::default()).await
}

/// Reason, whether another attempt may help, and the words.
async fn fails(server: &ProviderServer) -> (&'static str, bool, String) {
    let error = ask(server).await.expect_err("it fails");
    let words = agent_pod::error::chain(&error);
    assert!(!words.contains(KEY) && !format!("{error:?}").contains(KEY), "{words}");
    (error.reason(), error.is_transient(), words)
}

#[tokio::test]
async fn text_comes_in_pieces_and_whole_with_its_tokens() {
    let server = ProviderServer::saying("A small grey cat");
    let (sender, mut pieces) = mpsc::unbounded_channel();
    let world = World::new();
    let provider = world.provider(&source(&server));
    let written = provider.generate(&request(), Some(sender), CircuitBreaker::default()).await.expect("an answer");
    let text = "A small grey cat".to_owned();
    assert_eq!(written, Written { text, finish: Finish::Stop, prompt_tokens: 10, completion_tokens: 8 });
    let mut heard = Vec::new();
    while let Some(piece) = pieces.recv().await {
        heard.push(piece);
    }
    assert_eq!(heard, ["A ", "small ", "grey ", "cat"]);
    let asked = &server.asked()[0];
    assert_eq!((asked.path.as_str(), asked.body["model"].as_str()), ("/v1/chat/completions", Some("large")));
    assert_eq!(asked.authorization.as_deref(), Some("Bearer sk-0123456789abcdef"));
    assert_eq!(provider.name(), format!("large@{}", server.host()));
    assert!(!format!("{provider:?}").contains(KEY));
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_understood_too() {
    let body = json!({
        "choices": [{"message": {"role": "assistant", "content": "A cat"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    });
    let server = ProviderServer::start(move |_, _| status(200, "", &body));
    let written = ask(&server).await.expect("an answer");
    let text = "A cat".to_owned();
    assert_eq!(written, Written { text, finish: Finish::Length, prompt_tokens: 3, completion_tokens: 2 });
}

#[tokio::test]
async fn what_a_server_refuses_is_told_in_its_own_words_and_without_the_key() {
    let body = json!({"error": {"message": format!("Incorrect API key provided: {KEY}.\nSee the manual.")}});
    let server = ProviderServer::start(move |_, _| status(401, "", &body));
    let (reason, transient, words) = fails(&server).await;
    assert_eq!((reason, transient), ("ProviderRefused", false));
    assert!(words.contains("answered 401: Incorrect API key provided: …. See the manual."), "{words}");
}

#[tokio::test]
async fn failures_that_pass_are_told_from_those_that_stay() {
    for (code, reason, transient) in [
        (400, "ProviderRefused", false),
        (404, "ProviderRefused", false),
        (408, "ProviderUnavailable", true),
        (429, "ProviderThrottled", true),
        (500, "ProviderUnavailable", true),
        (503, "ProviderUnavailable", true),
    ] {
        let server = ProviderServer::start(move |_, _| status(code, "", &json!({"error": "busy"})));
        let failed = fails(&server).await;
        assert_eq!((failed.0, failed.1), (reason, transient), "{code}: {}", failed.2);
    }
}

#[tokio::test]
async fn retry_after_is_kept() {
    let server = ProviderServer::start(|_, _| status(429, "retry-after: 7\r\n", &json!({})));
    let error = ask(&server).await.expect_err("it is throttled");
    assert_eq!(error.after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_key_goes_nowhere_else() {
    let elsewhere = ProviderServer::saying("Give me your key");
    let to = format!("location: {}/chat/completions\r\n", elsewhere.url());
    let server = ProviderServer::start(move |_, _| status(307, &to, &json!({})));
    let (reason, transient, words) = fails(&server).await;
    assert_eq!((reason, transient), ("ProviderRefused", false));
    assert!(words.contains(&elsewhere.host()), "{words}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn silence_before_and_within_an_answer_has_an_end() {
    let silence = Piece::Wait(Duration::from_secs(60));
    let before = ProviderServer::start({
        let silence = silence.clone();
        move |_, _| vec![silence.clone()]
    });
    let within = ProviderServer::start(move |_, _| {
        let mut reply = streams("A cat", "stop", false);
        reply.push(silence.clone());
        reply
    });
    for server in [before, within] {
        let world = World::new();
        let short = OpenAiSource { timeout: Span(Duration::from_millis(200)), ..source(&server) };
        let asked = world.provider(&short).generate(&request(), None, CircuitBreaker::default()).await;
        let error = asked.expect_err("it is silent");
        assert_eq!((error.reason(), error.is_transient()), ("ProviderTimeout", true), "{error}");
    }
}

#[tokio::test]
async fn answers_that_are_broken_cut_off_or_endless_are_failures_that_may_pass() {
    let cut = ProviderServer::start(|_, _| streams("A cat", "stop", false));
    assert_eq!(fails(&cut).await.0, "ProviderUnavailable");
    let broken = ProviderServer::start(|_, _| {
        vec![head(200, "text/event-stream", ""), Piece::Bytes(b"data: {\"choices\": [oops\n\n".to_vec())]
    });
    assert_eq!(fails(&broken).await.0, "ProviderAnswerInvalid");
    let failing = ProviderServer::start(|_, _| {
        let error = b"data: {\"error\": {\"message\": \"the machine is on fire\"}}\n\n".to_vec();
        vec![head(200, "text/event-stream", ""), Piece::Bytes(error)]
    });
    let (reason, transient, words) = fails(&failing).await;
    assert!(reason == "ProviderUnavailable" && transient && words.contains("on fire"), "{words}");
    for kind in ["text/event-stream", "application/json"] {
        let endless = ProviderServer::start(move |_, _| {
            let line = format!(": {}\n", "x".repeat(1 << 16)).into_bytes();
            let mut reply = vec![head(200, kind, "")];
            reply.extend((0..400).map(|_| Piece::Bytes(line.clone())));
            reply
        });
        let (reason, transient, words) = fails(&endless).await;
        assert!(reason == "ProviderAnswerInvalid" && transient && words.contains("larger than"), "{words}");
    }
    let gone = {
        let server = ProviderServer::saying("x");
        source(&server)
    };
    let asked = World::new().provider(&gone).generate(&request(), None, CircuitBreaker::default()).await;
    assert_eq!(asked.expect_err("nobody listens").reason(), "ProviderUnavailable");
}

#[tokio::test]
async fn a_model_that_declines_is_not_asked_again() {
    let server = ProviderServer::start(|_, _| streams("half an ans", "content_filter", true));
    let (reason, transient, words) = fails(&server).await;
    assert!(reason == "ProviderRefused" && !transient && words.contains("filter"), "{words}");
}

#[tokio::test]
async fn the_circuit_opens_after_failures_in_a_row_and_one_request_tries_whether_it_works_again() {
    // Longer than this thread may have to wait for its turn among other tests.
    const OPEN: Duration = Duration::from_secs(5);
    let server = ProviderServer::start(|n, _| if n < 3 { status(500, "", &json!({})) } else { says("A cat") });
    let world = World::new();
    let provider = world.provider(&source(&server));
    let breaker = CircuitBreaker { failures: 3, open: Span(OPEN) };
    for _ in 0..3 {
        assert_eq!(world.state(&server), 0);
        provider.generate(&request(), None, breaker).await.expect_err("it fails");
    }
    assert_eq!(world.state(&server), 2);
    let refused = provider.generate(&request(), None, breaker).await.expect_err("it is not asked");
    assert_eq!((refused.reason(), refused.is_transient()), ("CircuitOpen", true));
    assert!(refused.after().is_some_and(|wait| wait <= OPEN), "{refused}");
    assert_eq!(server.asked().len(), 3);
    tokio::time::sleep(OPEN + Duration::from_millis(50)).await;
    provider.generate(&request(), None, breaker).await.expect("it works again");
    assert_eq!((world.state(&server), server.asked().len()), (0, 4));
}

#[tokio::test]
async fn what_the_request_is_to_blame_for_does_not_open_the_circuit() {
    let server = ProviderServer::start(|_, _| status(400, "", &json!({"error": "too long"})));
    let world = World::new();
    let provider = world.provider(&source(&server));
    let breaker = CircuitBreaker { failures: 1, open: Span(Duration::from_secs(60)) };
    for _ in 0..3 {
        let error = provider.generate(&request(), None, breaker).await.expect_err("it is refused");
        assert_eq!(error.reason(), "ProviderRefused");
    }
    assert_eq!(world.state(&server), 0);
}

#[tokio::test]
async fn a_request_that_is_given_up_counts_as_a_failure() {
    let server = ProviderServer::start(|_, _| vec![Piece::Wait(Duration::from_secs(60))]);
    let world = World::new();
    let provider = world.provider(&source(&server));
    let breaker = CircuitBreaker { failures: 1, open: Span(Duration::from_secs(60)) };
    let request = request();
    let asked = provider.generate(&request, None, breaker);
    assert!(tokio::time::timeout(Duration::from_millis(200), asked).await.is_err());
    assert_eq!(world.state(&server), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_requests_than_allowed_are_out_at_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (out, seen) = (Arc::clone(&now), Arc::clone(&most));
    let server = ProviderServer::start(move |_, _| {
        seen.fetch_max(out.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        out.fetch_sub(1, Ordering::SeqCst);
        says("A cat")
    });
    let provider = Arc::new(World::new().provider(&source(&server)));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let provider = Arc::clone(&provider);
        asking.spawn(async move { provider.generate(&request(), None, CircuitBreaker::default()).await.map(drop) });
    }
    while let Some(asked) = asking.join_next().await {
        asked.expect("no panic").expect("an answer");
    }
    assert_eq!((server.asked().len(), most.load(Ordering::SeqCst)), (8, 2));
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts_with_length_one() {
    let server = ProviderServer::start(|_, asked| vectors(asked, 4));
    let world = World::new();
    let embedder = OpenAiSource { dimensions: Some(4), ..source(&server) };
    let texts = ["one text".to_owned(), "quite another text".to_owned()];
    let embed = async |texts: &[String]| {
        world.provider(&embedder).embed(texts, CircuitBreaker::default()).await.expect("vectors")
    };
    let (both, tokens) = embed(&texts).await;
    assert_eq!((both.len(), tokens), (2, 14));
    for (text, vector) in texts.iter().zip(&both) {
        assert_eq!(&embed(std::slice::from_ref(text)).await.0[0], vector);
        assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert_ne!(both[0], both[1]);
    assert_eq!(server.asked()[0].path, "/v1/embeddings");
    let narrow = OpenAiSource { dimensions: Some(3), ..source(&server) };
    let error = world.provider(&narrow).embed(&texts, CircuitBreaker::default()).await.expect_err("another length");
    assert!(error.to_string().contains("a vector has 4 numbers; dimensions says 3"), "{error}");
}

#[tokio::test]
async fn vectors_that_are_missing_doubled_or_without_direction_are_refused() {
    for data in [
        json!([]),
        json!([{"index": 1, "embedding": [1, 0]}]),
        json!([{"index": 0, "embedding": [0, 0]}]),
        json!([{"index": 0, "embedding": [1e38, 1e38]}]),
        json!([{"index": 0, "embedding": ["x"]}]),
    ] {
        let body = json!({"data": data});
        let server = ProviderServer::start(move |_, _| status(200, "", &body));
        let embedder = OpenAiSource { dimensions: Some(2), ..source(&server) };
        let asked = World::new().provider(&embedder).embed(&["a".to_owned()], CircuitBreaker::default()).await;
        assert_eq!(asked.expect_err("no vectors").reason(), "ProviderAnswerInvalid");
    }
}

#[tokio::test]
async fn a_key_in_a_file_is_read_for_each_request() {
    let server = ProviderServer::saying("A cat");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"first-key\n").expect("written");
    let path = file.path().to_string_lossy().into_owned();
    let from_file = OpenAiSource { api_key_env: None, api_key_file: Some(path), ..source(&server) };
    let provider = World::new().provider(&from_file);
    provider.generate(&request(), None, CircuitBreaker::default()).await.expect("an answer");
    std::fs::write(file.path(), "second-key").expect("written");
    provider.generate(&request(), None, CircuitBreaker::default()).await.expect("an answer");
    std::fs::write(file.path(), "").expect("written");
    let error = provider.generate(&request(), None, CircuitBreaker::default()).await.expect_err("no key");
    assert!(error.is_transient() && error.to_string().contains("failed to read the key"), "{error}");
    let keys: Vec<_> = server.asked().into_iter().map(|asked| asked.authorization).collect();
    assert_eq!(keys, [Some("Bearer first-key".to_owned()), Some("Bearer second-key".to_owned())]);
}

#[test]
fn a_key_that_cannot_be_had_is_named_before_anything_is_sent() {
    let server = ProviderServer::saying("A cat");
    let world = World::new();
    let open = |source: &OpenAiSource, value: Option<&str>| {
        let value = value.map(str::to_owned);
        Provider::open(source, &Reach::anybody(), (&world.circuits, &world.meters), move |_| value.clone()).map(drop)
    };
    assert!(open(&source(&server), Some("key")).is_ok());
    let unset = open(&source(&server), None).expect_err("no variable");
    assert!(unset.contains("the variable KEY is not set"), "{unset}");
    let two_lines = open(&source(&server), Some("first\nsecond")).expect_err("no header can hold it");
    assert!(two_lines.contains("cannot be a key") && !two_lines.contains("second"), "{two_lines}");
    let missing = Some("/nowhere/key".to_owned());
    let missing = OpenAiSource { api_key_env: None, api_key_file: missing, ..source(&server) };
    assert!(open(&missing, None).expect_err("no file").contains("/nowhere/key"));
}
