//! Tokens of ServiceAccounts: whom the gateway lets in, by what an API server of the test's own says of them over TLS.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::support::{
    PLAIN, Place, Ran,
    authority::Authority,
    processes::{GatewayProcess, PATIENCE, client, sum, wait_for},
    provider_server::{Asked, Piece, ProviderServer, Reply, status},
};

const STATIC: &str = "token-of-the-file-01";
const OWN: &str = "own.token.1";
const CLERK: &str = "head.clerk.signature";

/// What the API server knows of a token: whose it is, and for which audience it was made.
fn known(token: &str) -> Option<(&'static str, &'static str)> {
    match token {
        CLERK => Some(("system:serviceaccount:documents:clerk", "docket")),
        "head.default-audience.signature" => {
            Some(("system:serviceaccount:documents:clerk", "https://kubernetes.default.svc"))
        }
        "head.stranger.signature" => Some(("system:serviceaccount:documents-two:clerk", "docket")),
        "head.person.signature" => Some(("documents:clerk", "docket")),
        _ => None,
    }
}

/// Answers as a real API server does: it names those of the audiences asked for that the token was made for, and knows
/// nobody whose token is for none of them.
fn review(asked: &Asked) -> Reply {
    let spec = &asked.body["spec"];
    let mut status_of = json!({"user": {}, "error": "invalid bearer token"});
    if let Some((username, audience)) = known(spec["token"].as_str().unwrap_or_default())
        && spec["audiences"].as_array().is_some_and(|asked| asked.contains(&json!(audience)))
    {
        let user = json!({"username": username, "uid": "1", "groups": ["system:serviceaccounts"]});
        status_of = json!({"authenticated": true, "user": user, "audiences": [audience]});
    }
    created(asked, &status_of)
}

fn created(asked: &Asked, status_of: &Value) -> Reply {
    let mut body = asked.body.clone();
    body["status"] = status_of.clone();
    status(201, "", &body)
}

/// An API server and a gateway that asks it.
struct Setting<'a> {
    server: ProviderServer,
    gateway: GatewayProcess,
    place: &'a Place,
}

impl<'a> Setting<'a> {
    /// `None`, and said so, where certificates cannot be made.
    fn start(
        place: &'a Place,
        keep: &str,
        reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static,
    ) -> Option<Self> {
        let authority = Authority::new(place, "account")?;
        let (certificate, key) = authority.issue("server");
        let server = ProviderServer::start_tls(reply, (&place.path(&certificate), &place.path(&key)));
        std::fs::copy(authority.path(), place.path("account/ca.crt")).expect("a copy");
        place.write("account/token", format!("{OWN}\n"));
        place.write("account/namespace", "documents");
        place.write("pipeline.yaml", PLAIN);
        place.write("tokens.yaml", format!("tokens: [{{name: all, token: {STATIC}}}]"));
        let config = format!(
            "resources: [pipeline.yaml]\nstate: state\ntokens: tokens.yaml\n\
             kubernetes: {{server: 'https://{}', account: account, keep: {keep}}}\n",
            server.host()
        );
        Some(Self { gateway: GatewayProcess::start(place, &config), server, place })
    }

    fn ask(&self, token: &str) -> Response {
        ask(&self.gateway.http, token)
    }

    fn code(&self, token: &str) -> u16 {
        self.ask(token).status().as_u16()
    }

    /// Reviews of a token so far.
    fn reviews(&self, token: &str) -> usize {
        self.server.asked().iter().filter(|asked| asked.body["spec"]["token"] == token).count()
    }
}

fn ask(http: &str, token: &str) -> Response {
    client().get(format!("{http}/v1/pipelines")).bearer_auth(token).send().expect("it answers")
}

#[test]
fn a_service_account_of_the_namespace_is_let_in_and_nobody_else() {
    let place = Place::new();
    let Some(mut setting) = Setting::start(&place, "60s", |_, asked| review(asked)) else { return };
    assert_eq!((setting.code(CLERK), setting.code(STATIC)), (200, 200));
    for refused in [
        "head.default-audience.signature",
        "head.stranger.signature",
        "head.person.signature",
        "head.expired.signature",
    ] {
        let answer = setting.ask(refused);
        assert_eq!((answer.status().as_u16(), answer.headers()["www-authenticate"].as_bytes()), (401, &b"Bearer"[..]));
        assert_eq!(setting.reviews(refused), 1);
    }
    let asked = setting.server.asked();
    let first = asked.first().expect("a review");
    assert_eq!(first.path, "/apis/authentication.k8s.io/v1/tokenreviews");
    assert_eq!(first.authorization.as_deref(), Some("Bearer own.token.1"));
    assert_eq!(first.body["spec"], json!({"token": CLERK, "audiences": ["docket"]}));

    // What cannot be a ServiceAccount's token costs the API server nothing.
    let before = asked.len();
    for refused in ["", "token-of-nobody-001", "a.b", "a..c", &format!("a.{}.c", "b".repeat(9_000))] {
        assert_eq!(setting.code(refused), 401);
    }
    let unnamed = client().get(format!("{}/v1/pipelines", setting.gateway.http)).send().expect("it answers");
    assert_eq!((unnamed.status().as_u16(), setting.server.asked().len()), (401, before));

    let metrics = setting.gateway.metrics();
    let counted = |result: &str| sum(&metrics, &format!("docket_token_reviews_total{{result=\"{result}\"}}"));
    assert_eq!((counted("accepted"), counted("refused")), (1.0, 4.0));
    for secret in [CLERK, OWN, STATIC, "head.stranger"] {
        assert!(!setting.gateway.process.said().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn it_may_submit_and_ask_for_models_and_use_grpc_like_a_token_of_the_file() {
    let place = Place::new();
    let Some(setting) = Setting::start(&place, "60s", |_, asked| review(asked)) else { return };
    setting.place.write("in/a.txt", "Alpha is the first of the letters.");
    let http = &setting.gateway.http;
    let submit = ["submit", "--gateway", http, "--input", "in", "--format", "jsonl", "--token"];
    let lines = place.docket(&[&submit[..], &[CLERK]].concat()).code(0).lines();
    assert_eq!(lines[0]["outcome"], "succeeded");
    place.docket(&[&submit[..], &["head.stranger.signature"]].concat()).code(2);
    let models = |token: &str| client().get(format!("{http}/v1/models")).bearer_auth(token).send().expect("it answers");
    assert_eq!((models(CLERK).status().as_u16(), models("head.stranger.signature").status().as_u16()), (200, 401));
    assert_eq!(grpc(&setting.gateway.grpc, CLERK), Ok(1));
    assert_eq!(grpc(&setting.gateway.grpc, "head.stranger.signature"), Err(tonic::Code::Unauthenticated));
    assert_eq!(setting.reviews(CLERK), 1, "one review serves all interfaces");
}

mod proto {
    #![allow(clippy::all, missing_docs, unreachable_pub, dead_code, reason = "generated code")]
    #![allow(clippy::clone_on_ref_ptr, reason = "generated")]
    tonic::include_proto!("docket.gateway.v1");
}

/// The number of pipelines that a caller of gRPC sees.
fn grpc(address: &str, token: &str) -> Result<usize, tonic::Code> {
    let (address, authorization) = (address.to_owned(), format!("Bearer {token}").parse().expect("a header"));
    let call = async move {
        let mut client = proto::gateway_client::GatewayClient::connect(address).await.expect("it listens");
        let mut request = tonic::Request::new(proto::PipelinesRequest {});
        request.metadata_mut().insert("authorization", authorization);
        client.pipelines(request).await.map(|answer| answer.into_inner().pipelines_json.len()).map_err(|no| no.code())
    };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(call)
}

#[test]
fn many_requests_with_one_token_are_one_review() {
    let place = Place::new();
    let slow = |_, asked: &Asked| [vec![Piece::Wait(Duration::from_millis(500))], review(asked)].concat();
    let Some(setting) = Setting::start(&place, "60s", slow) else { return };
    thread::scope(|scope| {
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(|| setting.code(CLERK))).collect();
        for asked in asking {
            assert_eq!(asked.join().expect("it answers"), 200);
        }
    });
    (0..20).for_each(|_| assert_eq!(setting.code(CLERK), 200));
    assert_eq!(setting.reviews(CLERK), 1);
}

#[test]
fn a_token_that_was_taken_back_is_refused_when_its_word_has_ended_and_one_that_was_made_is_let_in() {
    let place = Place::new();
    let exists = Arc::new(AtomicBool::new(true));
    let exists_now = Arc::clone(&exists);
    let answer = move |_, asked: &Asked| {
        if exists_now.load(Ordering::Relaxed) { review(asked) } else { created(asked, &json!({"user": {}})) }
    };
    let Some(setting) = Setting::start(&place, "2s", answer) else { return };
    assert_eq!(setting.code(CLERK), 200);
    exists.store(false, Ordering::Relaxed);
    let deleted = Instant::now();
    wait_for("its refusal", || (setting.code(CLERK) == 401).then_some(()));
    let before = setting.reviews(CLERK);
    assert_eq!(before, 2, "kept for {:?} and no review before its end", deleted.elapsed());
    exists.store(true, Ordering::Relaxed);
    wait_for("it to be let in again", || (setting.code(CLERK) == 200).then_some(()));
}

#[test]
fn our_own_token_is_read_for_each_review_and_a_changed_authority_is_trusted() {
    let place = Place::new();
    let Some(setting) = Setting::start(&place, "60s", |_, asked| review(asked)) else { return };
    assert_eq!(setting.code("head.one.signature"), 401);
    place.write("account/token", "own.token.2");
    assert_eq!(setting.code("head.two.signature"), 401);
    let by: Vec<Option<String>> = setting.server.asked().into_iter().map(|asked| asked.authorization).collect();
    assert_eq!(by, ["own.token.1", "own.token.2"].map(|token| Some(format!("Bearer {token}"))));

    let ours = std::fs::read(place.path("account/ca.crt")).expect("a file");
    let other = Authority::new(&place, "other").expect("as before");
    std::fs::copy(other.path(), place.path("account/ca.crt")).expect("a copy");
    assert_eq!(setting.code(CLERK), 503, "nobody vouches for the server");
    assert_eq!(setting.reviews(CLERK), 0, "it gets no token then");
    place.write("account/ca.crt", ours);
    assert_eq!(setting.code(CLERK), 200);
}

#[test]
fn where_the_api_server_does_not_answer_well_nobody_new_is_let_in_and_the_file_still_counts() {
    let place = Place::new();
    let replies: [fn() -> Reply; 7] = [
        || status(403, "", &json!({"kind": "Status", "message": "tokenreviews is forbidden"})),
        || status(500, "", &json!({})),
        // Not created, whatever it says.
        || status(200, "", &json!({"status": {"authenticated": true}})),
        || status(302, "location: https://127.0.0.1:1/\r\n", &json!({})),
        || status(201, "", &json!("no review")),
        || status(201, "", &json!({"status": {"error": "x".repeat(300 << 10)}})),
        Vec::new,
    ];
    let last = Arc::new(Mutex::new(None::<usize>));
    let answer = {
        let last = Arc::clone(&last);
        move |_, asked: &Asked| match *last.lock().expect("no panic while it is held") {
            Some(reply) => replies[reply](),
            None => review(asked),
        }
    };
    let Some(mut setting) = Setting::start(&place, "60s", answer) else { return };
    for reply in 0..replies.len() {
        *last.lock().expect("no panic while it is held") = Some(reply);
        let refused = setting.ask(CLERK);
        assert_eq!((refused.status().as_u16(), refused.headers().contains_key("retry-after")), (503, true), "{reply}");
        assert_eq!(setting.code(STATIC), 200);
    }
    let complaint = "tokens cannot be reviewed";
    wait_for("the complaint to be heard", || setting.gateway.process.said().contains(complaint).then_some(()));
    let said = setting.gateway.process.said();
    assert_eq!(said.matches(complaint).count(), 1, "once, until it works again:\n{said}");
    assert_eq!(sum(&setting.gateway.metrics(), "docket_token_reviews_total{result=\"failed\"}"), 7.0);
    *last.lock().expect("no panic while it is held") = None;
    assert_eq!(setting.code(CLERK), 200, "no failure is kept");
}

#[test]
fn an_api_server_that_is_silent_or_away_ends_a_clients_wait() {
    let place = Place::new();
    let silent = |_, _: &Asked| vec![Piece::Wait(PATIENCE)];
    let Some(setting) = Setting::start(&place, "60s", silent) else { return };
    assert_eq!(setting.code(CLERK), 503);
    let Setting { server, gateway, .. } = setting;
    drop(server);
    wait_for("connections to be refused", || (ask(&gateway.http, CLERK).status() == 503).then_some(()));
    assert_eq!(ask(&gateway.http, STATIC).status(), 200);
}

#[test]
fn a_file_that_cannot_work_is_refused_with_what_to_do() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let says = |kubernetes: &str, words: &str| {
        place.write("gateway.yaml", format!("resources: [pipeline.yaml]\nstate: state\nkubernetes: {kubernetes}\n"));
        let mut gateway = place.command(&["gateway", "--config", "gateway.yaml"]);
        // The test may itself run in a pod.
        let ran = gateway.env_remove("KUBERNETES_SERVICE_HOST").output().expect("docket starts");
        Ran::from(ran).code(2).says(words);
    };
    says("{audiance: docket}", "gateway.yaml:3:");
    says("{namespace: Documents}", "kubernetes.namespace");
    says("{account: none}", "kubernetes.namespace");
    says("{namespace: documents}", "kubernetes.server");
    says("{namespace: documents, server: 'http://127.0.0.1:1'}", "https://host:port");
    says("{namespace: documents, server: 'https://127.0.0.1:1', keep: 2m}", "kubernetes.keep");
    says("{namespace: documents, server: 'https://127.0.0.1:1', account: none}", "none/token");
    place.write("account/token", OWN);
    place.write("account/ca.crt", "no certificate");
    says("{namespace: documents, server: 'https://127.0.0.1:1', account: account}", "holds no certificates");
}
