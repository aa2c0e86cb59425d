//! A provider whose address leads where nobody may call.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_pod::runtime::providers::{circuit::Circuits, client::Provider, error::Error, meters::Meters};
use crds::{CircuitBreaker, OpenAiSource, Span};
use engine::{
    generation::{ChatMessage, ChatRole, GenerateRequest, Sampling},
    reach::{Names, Reach, Settings},
};
use serde_json::json;

use crate::support::{
    door::Door,
    provider_server::{ProviderServer, says, status},
};

/// One name, whose answers follow each other; the last stays.
struct Rebinding(Mutex<Vec<Ipv4Addr>>);

impl Names for Rebinding {
    fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().expect("no panic");
        match answers.first().copied() {
            Some(first) if host == "models.example" => {
                if answers.len() > 1 {
                    answers.remove(0);
                }
                Ok(vec![first.into()])
            }
            _ => Err(io::Error::other("nobody knows it")),
        }
    }
}

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Nobody's, and nothing is ever sent to it here.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn reach(except: &[Ipv4Addr], answers: &[Ipv4Addr]) -> Reach {
    let except = except.iter().copied().map(IpAddr::V4).collect();
    Reach::guarded(Settings { own: Vec::new(), except, names: Arc::new(Rebinding(Mutex::new(answers.to_vec()))) })
}

struct World {
    circuits: Circuits,
    meters: Meters,
}

impl World {
    fn new() -> Self {
        let meters = Meters::default();
        Self { circuits: Circuits::new(meters.clone()), meters }
    }

    fn open(&self, base_url: &str, reach: &Reach) -> Result<Provider, String> {
        let source = OpenAiSource {
            base_url: base_url.to_owned(),
            model: "large".to_owned(),
            api_key_env: None,
            api_key_file: None,
            timeout: Span(Duration::from_secs(20)),
            max_concurrent: 2,
            dimensions: None,
        };
        Provider::open(&source, reach, (&self.circuits, &self.meters), |_| None)
    }
}

async fn ask(provider: &Provider) -> Result<String, Error> {
    let request = GenerateRequest {
        messages: vec![ChatMessage { role: ChatRole::User, content: "Which pet?".to_owned() }],
        max_tokens: 20,
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        schema: None,
    };
    provider.generate(&request, None, CircuitBreaker::default()).await.map(|written| written.text)
}

#[tokio::test]
async fn an_address_that_is_refused_is_told_before_anything_is_sent() {
    let (door, world) = (Door::closed(LOCALHOST), World::new());
    let port = door.address.port();
    for host in ["127.0.0.1", "[::1]", "0x7f000001", "models.example"] {
        let problem = world.open(&format!("http://{host}:{port}/v1"), &reach(&[], &[LOCALHOST])).expect_err(host);
        assert!(problem.starts_with("source.openai.baseUrl: ") && problem.contains("a loopback address"), "{problem}");
    }
    assert_eq!(door.knocks(), 0);
    // One whose name nobody knows now may be asked later.
    world.open("https://elsewhere.example/v1", &reach(&[], &[])).expect("it is not refused");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_reaches_nothing_and_the_refusal_stays() {
    let (door, world) = (Door::closed(LOCALHOST), World::new());
    let url = format!("http://models.example:{}/v1", door.address.port());
    let provider = world.open(&url, &reach(&[], &[PUBLIC, LOCALHOST])).expect("it leads to the public address");
    // More often than a circuit stays closed for failures: it is no failure of the provider.
    for _ in 0..10 {
        let error = ask(&provider).await.expect_err("it is not called");
        assert!(matches!(error, Error::Refuse { .. }), "{error:?}");
        assert_eq!((error.reason(), error.is_transient()), ("ProviderRefused", false));
        let words = agent_pod::error::chain(&error);
        assert!(words.contains("models.example resolves to 127.0.0.1, a loopback address"), "{words}");
    }
    assert_eq!(door.knocks(), 0);
    // Where it is excepted, the same name is called.
    let lax = world.open(&url, &reach(&[LOCALHOST], &[PUBLIC, LOCALHOST])).expect("it leads to the public address");
    ask(&lax).await.expect_err("the door is closed");
    assert!(door.knocks() > 0);
}

#[tokio::test]
async fn a_provider_that_may_be_called_answers_and_leads_nowhere_else() {
    let (world, other) = (World::new(), Door::closed(Ipv4Addr::new(127, 0, 0, 3)));
    let server = ProviderServer::saying("A cat");
    let reach = || reach(&[LOCALHOST], &[LOCALHOST]);
    let by_name = server.url().replace("127.0.0.1", "models.example");
    for url in [server.url(), by_name] {
        let provider = world.open(&url, &reach()).expect("it is excepted");
        assert_eq!(ask(&provider).await.expect("an answer"), "A cat");
    }
    let location = format!("location: http://{}/v1/chat/completions\r\n", other.address);
    let turn = ProviderServer::start(move |n, _| if n == 0 { status(307, &location, &json!({})) } else { says("no") });
    let provider = world.open(&turn.url(), &reach()).expect("it is excepted");
    assert!(matches!(ask(&provider).await, Err(Error::Redirect { .. })));
    assert_eq!(other.knocks(), 0);
}
