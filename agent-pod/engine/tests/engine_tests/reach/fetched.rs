//! What real clients reach: of what must not be called, nothing, counted at its door.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::catalogue::{Entry, FetchError, PullError, PullSettings, pull, pull_url};
use engine::reach::{Kind, LookUpError, Reach, Refused};
use sha2::{Digest, Sha256};

use super::world::{ALLOWED, FORBIDDEN, Scripted, Server, both, guarded, lax, redirects, says};

const WEIGHTS: &str = "these bytes stand for weights";

fn digest() -> String {
    Sha256::digest(WEIGHTS).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn settings(reach: &Reach) -> PullSettings {
    let patience = Duration::from_secs(60);
    PullSettings { connect_timeout: patience, read_timeout: patience, reach: reach.clone(), ..PullSettings::default() }
}

/// Fetches a model's file from a URL.
fn fetch(reach: &Reach, url: &str) -> Result<(), FetchError> {
    let folder = tempfile::tempdir().expect("a folder");
    match pull_url(url, &digest(), folder.path(), &settings(reach), &|_| {}) {
        Ok(files) => {
            assert_eq!(std::fs::read_to_string(files.weights).expect("it is there"), WEIGHTS);
            Ok(())
        }
        Err(PullError::Fetch { source, .. }) => Err(source),
        Err(other) => panic!("{other}"),
    }
}

/// Asks for a URL with a client that follows redirects and does not block.
async fn ask(reach: &Reach, url: &str) -> Result<String, Refused> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reach.client(reqwest::Client::builder()).build().expect("a client");
    let request = client.get(url).build().expect("a request");
    reach.ask(request.url()).await?;
    match client.execute(request).await {
        Ok(answer) => Ok(answer.text().await.expect("a body")),
        Err(error) => Err(Refused::behind(&error).cloned().unwrap_or_else(|| panic!("{error:?}"))),
    }
}

/// The names of the stories: one that may be called, one that may not, and the cluster's own.
fn names() -> Arc<Scripted> {
    Scripted::of(&[
        ("files.example", &[&["127.0.0.2"]]),
        ("inside.example", &[&["127.0.0.1", "::1"]]),
        ("both.example", &[&["127.0.0.1", "127.0.0.2"]]),
        ("kubernetes.default.svc", &[&["10.96.0.1"]]),
        ("broker.docket.svc", &[&["10.96.7.7"]]),
    ])
}

#[test]
fn a_model_is_fetched_from_a_server_that_may_be_called() {
    let (forbidden, allowed) = both(&says("a secret"), &says(WEIGHTS));
    let reach = guarded(names());
    for host in ["127.0.0.2", "files.example", "both.example"] {
        fetch(&reach, &format!("http://{host}:{}/m.gguf", allowed.port)).expect(host);
    }
    assert_eq!((forbidden.connected(), allowed.connected()), (0, 3));
}

#[test]
fn a_model_is_not_fetched_from_where_nobody_may_call() {
    let forbidden = Server::start(FORBIDDEN, 0, &says(WEIGHTS)).expect("a free port");
    let (port, reach) = (forbidden.port, guarded(names()));
    for host in ["127.0.0.1", "2130706433", "inside.example", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let error = fetch(&reach, &format!("http://{host}:{port}/m.gguf")).expect_err(host);
        assert!(matches!(error, FetchError::Refuse(_)), "{host}: {error:?}");
    }
    assert_eq!(forbidden.connected(), 0);
    // Whoever may call it is counted.
    fetch(&lax(names()), &format!("http://inside.example:{port}/m.gguf")).expect("it may be called");
    fetch(&Reach::anybody(), &format!("http://127.0.0.1:{port}/m.gguf")).expect("anybody may be called");
    assert_eq!(forbidden.connected(), 2);
}

#[test]
fn no_redirect_leads_to_where_nobody_may_call() {
    let forbidden = Server::start(FORBIDDEN, 0, &says(WEIGHTS)).expect("a free port");
    for host in ["127.0.0.1", "inside.example", "[::ffff:127.0.0.1]", "0x7f.1", "localhost"] {
        let target = format!("http://{host}:{}/", forbidden.port);
        let allowed = Server::start(ALLOWED, 0, &redirects(&target)).expect("a free port");
        let names = Scripted::of(&[
            ("files.example", &[&["127.0.0.2"]]),
            ("inside.example", &[&["127.0.0.1"]]),
            ("localhost", &[&["127.0.0.1"]]),
        ]);
        let url = format!("http://files.example:{}/m.gguf", allowed.port);
        let error = fetch(&guarded(Arc::clone(&names)), &url).expect_err(host);
        assert!(matches!(error, FetchError::RefuseRedirect(_)), "{host}: {error:?}");
        assert_eq!((allowed.connected(), forbidden.connected()), (1, 0), "{host}");
    }
    // A redirect to whom one may call is followed.
    let target = Server::start(ALLOWED, 0, &says(WEIGHTS)).expect("a free port");
    let to = redirects(&format!("http://files.example:{}/", target.port));
    let allowed = Server::start(ALLOWED, 0, &to).expect("a free port");
    fetch(&guarded(names()), &format!("http://127.0.0.2:{}/m.gguf", allowed.port)).expect("it may be called");
}

#[test]
fn sources_of_the_catalogue_are_reached_by_the_same_rules() {
    let (forbidden, allowed) = both(&says(WEIGHTS), &says(WEIGHTS));
    let entry = |sources: &str| {
        let (bytes, sha256) = (WEIGHTS.len(), digest());
        let file = format!("{{path: model.gguf, bytes: {bytes}, role: Weights, sha256: {sha256}}}");
        let text =
            format!("name: sample\ntask: Generate\nlicence: MIT\ndescription: a sample\nfiles: [{file}]\n{sources}");
        Entry::parse(&text).expect("an entry")
    };
    let sources = |host: &str| {
        let (base, port) = (format!("http://{host}:{}/", allowed.port), allowed.port);
        let web = format!("sources:\n- http: {{baseUrl: \"{base}\"}}\n");
        (web, format!("http://{host}:{port}"))
    };
    let reach = guarded(names());
    let try_it = |text: &str, hub_url: &str| {
        let settings =
            PullSettings { hub_url: hub_url.to_owned(), python: PathBuf::from("/nowhere"), ..settings(&reach) };
        let folder = tempfile::tempdir().expect("a folder");
        pull(&entry(text), folder.path(), &settings, &|_| {}).map(drop)
    };
    let (web, hub) = sources("inside.example");
    let hub_source = "sources:\n- hub: {repo: org/repo, revision: main}\n";
    for error in [try_it(&web, &hub), try_it(hub_source, &hub)] {
        let text = error.expect_err("it is refused").to_string();
        assert!(text.contains("inside.example resolves to 127.0.0.1, a loopback address"), "{text}");
    }
    let (web, hub) = sources("files.example");
    try_it(&web, &hub).expect("it may be called");
    try_it(hub_source, &hub).expect("it may be called");
    assert_eq!((forbidden.connected(), allowed.connected()), (0, 2));
}

#[test]
fn a_name_that_changes_its_mind_reaches_nothing() {
    let (forbidden, allowed) = both(&says("a secret"), &says(WEIGHTS));
    for target in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"] {
        let names = Scripted::of(&[("rebinding.example", &[&["127.0.0.2"], &[target]])]);
        let error = fetch(&guarded(names), &format!("http://rebinding.example:{}/m.gguf", forbidden.port));
        assert!(matches!(error, Err(FetchError::Refuse(_))), "{target}: {error:?}");
    }
    assert_eq!((forbidden.connected(), allowed.connected()), (0, 0));
    // The same name, for one who may call either, is answered by the second server: what is looked at first decides nothing.
    let names = Scripted::of(&[("rebinding.example", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let fetched = fetch(&lax(names), &format!("http://rebinding.example:{}/m.gguf", forbidden.port));
    assert!(matches!(fetched, Err(FetchError::MatchDigest { .. })), "{fetched:?}");
    assert_eq!((forbidden.connected(), allowed.connected()), (1, 0));
}

#[tokio::test]
async fn a_client_that_does_not_block_is_held_to_the_same() {
    let (forbidden, allowed) = both(&says("a secret"), &says("hello"));
    let (port, reach) = (forbidden.port, guarded(names()));
    for host in ["127.0.0.2", "files.example", "both.example"] {
        assert_eq!(ask(&reach, &format!("http://{host}:{port}/")).await.expect(host), "hello");
    }
    for host in ["127.0.0.1", "inside.example", "[::1]", "017700000001"] {
        let refused = ask(&reach, &format!("http://{host}:{port}/")).await.expect_err(host);
        assert_eq!(refused.kind, Kind::Loopback, "{host}");
    }
    for host in ["127.0.0.1", "inside.example"] {
        let turn = Server::start(ALLOWED, 0, &redirects(&format!("http://{host}:{port}/"))).expect("a free port");
        let refused = ask(&reach, &format!("http://files.example:{}/", turn.port)).await.expect_err(host);
        assert_eq!((refused.kind, turn.connected()), (Kind::Loopback, 1), "{host}");
    }
    let rebinding = || Scripted::of(&[("rebinding.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let refused = ask(&guarded(rebinding()), &format!("http://rebinding.example:{port}/")).await;
    assert_eq!(refused.expect_err("the address that counts is the first").kind, Kind::Loopback);
    assert_eq!((forbidden.connected(), allowed.connected()), (0, 3));
    assert_eq!(ask(&lax(rebinding()), &format!("http://rebinding.example:{port}/")).await.expect("it may"), "a secret");
}

#[tokio::test]
async fn a_client_that_speaks_no_http_is_given_what_may_be_called() {
    let reach = guarded(names());
    let addresses = async |host: &str| reach.addresses(host, 5432).await;
    assert_eq!(addresses("both.example").await.expect("one is left"), Some(vec![ALLOWED.into()]));
    assert_eq!(addresses("10.0.0.9").await.expect("it may be called"), Some(vec!["10.0.0.9".parse().expect("one")]));
    for host in ["inside.example", "127.0.0.1", "::1", "broker.docket.svc", "10.96.7.7"] {
        assert!(matches!(addresses(host).await, Err(LookUpError::Refuse(_))), "{host}");
    }
    assert!(matches!(reach.addresses("10.0.0.9", 6222).await, Err(LookUpError::Refuse(_))));
    assert!(matches!(addresses("unknown.example").await, Err(LookUpError::Find(_))));
    assert_eq!(Reach::anybody().addresses("127.0.0.1", 5432).await.expect("anybody may be called"), None);
}
