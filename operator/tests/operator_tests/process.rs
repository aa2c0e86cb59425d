//! The built `docket-operator`: what it says to bad settings, how it tells how it is, how it stops and hands over.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::api_server::{ApiServer, kubeconfig};
use axum::http::Method;
use serde_json::json;
use tempfile::TempDir;

/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process with nothing of this machine's environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_docket-operator"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    command(arguments).output().expect("it starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

struct Operator {
    child: Child,
    /// Where it listens, since it said so.
    health: Option<SocketAddr>,
    folder: TempDir,
}

impl Operator {
    fn start(api_server: SocketAddr, name: &str, further: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("kubeconfig");
        fs::write(&config, kubeconfig(api_server)).expect("it can be written");
        let log = fs::File::create(folder.path().join("log")).expect("it can be written");
        let child = command(&["run", "--agent-image", "docket:test", "--namespace", "docket", "--identity", name])
            .args(["--health", "127.0.0.1:0", "--log-format", "json"])
            .args(further)
            .env("KUBECONFIG", config)
            .stderr(log)
            .spawn();
        let mut operator = Self { child: child.expect("it starts"), health: None, folder };
        until("it says where it listens", || {
            operator.health = operator.listens_at();
            operator.health.is_some()
        });
        operator
    }

    /// By its log: a port that was free a moment ago may be another test's by now.
    fn listens_at(&self) -> Option<SocketAddr> {
        let log = self.log();
        let started = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        started.filter_map(|line| line["fields"]["health"].as_str()?.parse().ok()).next()
    }

    /// Status and text of a page.
    fn page(&self, path: &str) -> Option<(u16, String)> {
        self.page_with(path, "")
    }

    /// As whoever sends this header, with its line's end.
    fn page_with(&self, path: &str, header: &str) -> Option<(u16, String)> {
        let mut connection = TcpStream::connect(self.health?).ok()?;
        // It may stand still with the machine.
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(connection, "GET {path} HTTP/1.1\r\nhost: operator\r\n{header}connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    fn metric(&self, name: &str) -> Option<String> {
        let (_, text) = self.page("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned))
    }

    fn leads(&self) -> bool {
        self.metric("docket_operator_leading").as_deref() == Some("1")
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// The exit code.
    fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().expect("it is a child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log:\n{}", self.log());
        }
    }
}

/// Where nobody listens: a port that systems keep.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn settings_that_cannot_be_used_are_all_named_with_what_to_do() {
    let output = output(&[
        "run",
        "--agent-image",
        "docket test",
        "--namespace",
        "Docket",
        "--nats",
        "http://nats,nats://user:secret@nats",
        "--nats-replicas",
        "2",
        "--payloads",
        "s3://",
        "--watch-namespaces",
        "team-a,team_b",
        "--lease-name",
        "",
        "--nats-credentials-secret",
        "x_y",
        "--nats-keys-secret",
        "y_z",
        "--metrics-secret",
        "z_a",
        "--pod-monitor-labels",
        "release=prometheus, team",
        "--api-server-ports",
        "443,0",
        "--image-pull-secrets",
        "registry, a_b",
    ]);
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    let expected = [
        ("--agent-image", "registry/name:tag"),
        ("--namespace", "small letters"),
        ("\"http://nats\"", "nats://host:4222"),
        ("holds a password", "--nats-credentials-secret"),
        ("--nats-replicas", "1, 3 or 5"),
        ("--payloads", "s3://bucket/prefix"),
        ("\"team_b\"", "small letters"),
        ("--lease-name", "small letters"),
        ("\"x_y\"", "small letters"),
        ("--nats-keys-secret (DOCKET_NATS_KEYS_SECRET) \"y_z\"", "small letters"),
        ("(DOCKET_NATS_CREDENTIALS_SECRET) are both set", "leave one out"),
        ("--metrics-secret (DOCKET_METRICS_SECRET) \"z_a\"", "small letters"),
        ("needs --metrics-token-file", "name the file"),
        ("--pod-monitor-labels (DOCKET_POD_MONITOR_LABELS) \"team\"", "key=value"),
        ("--api-server-ports (DOCKET_API_SERVER_PORTS) \"0\"", "from 1 to 65535"),
        ("--image-pull-secrets (DOCKET_IMAGE_PULL_SECRETS) \"a_b\"", "small letters"),
    ];
    for (what, help) in expected {
        assert!(told.lines().any(|line| line.contains(what) && line.contains(help)), "{what} is not in:\n{told}");
    }
    assert_eq!(told.lines().count(), expected.len(), "{told}");
    assert!(!told.contains("secret@"), "no password is repeated: {told}");
}

#[test]
fn flags_that_are_missing_or_of_another_kind_are_named() {
    for (arguments, named) in [
        (&["run", "--namespace", "docket"][..], "--agent-image"),
        (&["run", "--agent-image", "docket"], "--namespace"),
        (
            &["run", "--agent-image", "docket", "--namespace", "docket", "--image-pull-policy", "sometimes"],
            "IfNotPresent",
        ),
        (&["run", "--agent-image", "docket", "--namespace", "docket", "--health", "9090"], "--health"),
        (&["run", "--agent-image", "docket", "--namespace", "docket", "--node-reads=perhaps"], "--node-reads"),
        (&["run", "--agent-image", "docket", "--namespace", "docket", "--log", "operator=loud"], "--log"),
        (&["run", "--agent-image", "docket", "--namespace", "docket", "--gateway-replicas", "0"], "--gateway-replicas"),
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(named), "{arguments:?}: {}", told(&output));
    }
}

#[test]
fn the_environment_says_what_flags_do_not() {
    let output = command(&["run"])
        .env("DOCKET_AGENT_IMAGE", "docket:1")
        .env("POD_NAMESPACE", "docket")
        .env("DOCKET_NATS_CREDENTIALS_SECRET", "")
        .env("DOCKET_WATCH_NAMESPACES", "")
        .env("DOCKET_NATS_REPLICAS", "7")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    assert!(told.contains("DOCKET_NATS_REPLICAS") && told.lines().count() == 1, "only that is wrong: {told}");
}

#[test]
fn without_a_cluster_or_with_a_taken_address_it_ends_and_says_so() {
    let run = ["run", "--agent-image", "docket", "--namespace", "docket", "--health"];
    let no_cluster = output(&[&run[..], &["127.0.0.1:0"]].concat());
    assert_eq!(no_cluster.status.code(), Some(3));
    assert!(told(&no_cluster).contains("KUBECONFIG"), "{}", told(&no_cluster));

    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let no_address = output(&[&run[..], &[&address]].concat());
    assert_eq!(no_address.status.code(), Some(3));
    assert!(told(&no_address).contains(&address) && told(&no_address).contains("--health"), "{}", told(&no_address));

    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("kubeconfig");
    fs::write(&config, kubeconfig(taken.local_addr().expect("it is bound"))).expect("it can be written");
    let no_scaler = command(&[&run[..], &["127.0.0.1:0", "--external-scaler", &address]].concat())
        .env("KUBECONFIG", config)
        .output()
        .expect("it starts");
    assert_eq!(no_scaler.status.code(), Some(3));
    let said = told(&no_scaler);
    assert!(said.contains(&address) && said.contains("--external-scaler"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_what_is_missing_names_it_leads_and_hands_over_when_asked_to_stop() {
    let server = ApiServer::start().await;
    let mut operator = Operator::start(server.address, "operator-a", &["--nats-credentials-secret", "nats"]);
    let not_ready = |part: &str, help: &str| {
        until(&format!("{part} is named"), || {
            let page = operator.page("/readyz");
            page.is_some_and(|(code, text)| {
                code == 503 && text.lines().any(|line| line.starts_with(part) && line.contains(help))
            })
        });
    };
    not_ready("definitions:", "agentpools.docket.dev, pipelines.docket.dev are not installed: install the chart");
    assert_eq!(operator.page("/livez").map(|(code, _)| code), Some(200), "waiting is living");
    server.contents().definitions = true;
    not_ready("credentials:", "Secret nats (--nats-credentials-secret) is not there: create it");
    let secret = |data| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nats"}, "data": data});
    server.contents().secret = Some(secret(json!({"user": "b3A="})));
    not_ready("credentials:", "no value for the key password");
    assert_eq!(server.holder(), None, "it does not take part before it can work");
    server.contents().secret = Some(secret(json!({"user": "b3A=", "password": "c2VjcmV0"})));

    until("it is ready", || operator.page("/readyz").is_some_and(|(code, _)| code == 200));
    until("it leads", || operator.leads());
    assert!(server.holder().is_some_and(|holder| holder.starts_with("operator-a_")));
    assert!(operator.metric("process_resident_memory_bytes").is_some());
    assert_eq!(operator.page("/nothing").map(|(code, _)| code), Some(404));

    operator.signal("-TERM");
    assert_eq!(operator.wait(), Some(0), "{}", operator.log());
    assert_eq!(server.holder(), None, "a successor need not wait");
    let writes =
        server.contents().requests.iter().filter(|(method, _)| *method != Method::GET).cloned().collect::<Vec<_>>();
    assert!(writes.iter().all(|(_, path)| path.contains("/leases")), "{writes:?}");
    assert!(!operator.log().contains("secret\""), "no password is logged");
    for line in operator.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_broker_are_made_once_and_never_written_again() {
    let server = ApiServer::start().await;
    server.contents().definitions = true;
    let keys = ["--nats-keys-secret", "docket-nats-keys"];
    let mut operators = ["operator-a", "operator-b"].map(|name| Operator::start(server.address, name, &keys));
    for operator in &mut operators {
        until("it is ready", || operator.page("/readyz").is_some_and(|(code, _)| code == 200));
    }
    let made = server.contents().secret.clone().expect("one was made");
    assert_eq!(made["metadata"]["name"], "docket-nats-keys");
    let names: Vec<&String> = made["data"].as_object().expect("keys").keys().collect();
    assert_eq!(names, ["auth.conf", "operator.nk", "password", "user"]);
    operators.iter_mut().for_each(|operator| {
        operator.signal("-TERM");
        assert_eq!(operator.wait(), Some(0), "{}", operator.log());
    });

    let mut next = Operator::start(server.address, "operator-c", &keys);
    until("it is ready", || next.page("/readyz").is_some_and(|(code, _)| code == 200));
    assert_eq!(server.contents().secret.as_ref(), Some(&made));
    next.signal("-TERM");
    assert_eq!(next.wait(), Some(0));
    // One that somebody has spoiled is named, and not written over.
    let spoiled = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "docket-nats-keys"},
        "data": {"operator.nk": "bm9uc2Vuc2U="}});
    server.contents().secret = Some(spoiled.clone());
    let operator = Operator::start(server.address, "operator-d", &keys);
    let expected = "Secret docket-nats-keys (--nats-keys-secret) has a value for the key operator.nk that is unfit";
    until("it is named", || {
        operator.page("/readyz").is_some_and(|(code, text)| code == 503 && text.contains(expected))
    });
    assert_eq!(server.contents().secret.as_ref(), Some(&spoiled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_whoever_has_the_token_that_is_made_once_and_may_change() {
    let server = ApiServer::start().await;
    server.contents().definitions = true;
    let mount = tempfile::tempdir().expect("a folder");
    let file = mount.path().join("token");
    let flags =
        ["--metrics-secret", "docket-operator-metrics", "--metrics-token-file", file.to_str().expect("a plain path")];
    let operators = ["operator-a", "operator-b"].map(|name| Operator::start(server.address, name, &flags));
    for operator in &operators {
        until("it is ready", || operator.page("/readyz").is_some_and(|(code, _)| code == 200));
    }
    let made = server.contents().secret.clone().expect("one was made");
    assert_eq!(made["metadata"]["name"], "docket-operator-metrics");
    assert_eq!(made["data"].as_object().expect("keys").keys().collect::<Vec<_>>(), ["token"]);

    let asked = |operator: &Operator, header: &str| operator.page_with("/metrics", header).expect("it answers");
    let (code, said) = asked(&operators[0], "authorization: Bearer first\r\n");
    assert!(code == 503 && said.contains("--metrics-token-file"), "before the kubelet has brought it: {code} {said}");
    fs::write(&file, "\n").expect("written");
    assert_eq!(asked(&operators[0], "authorization: Bearer \r\n").0, 503, "nothing is no token");
    for (token, other) in [("first", "second"), ("second", "first")] {
        fs::write(&file, format!("{token}\n")).expect("written");
        for operator in &operators {
            let (code, text) = asked(operator, &format!("authorization: Bearer {token}\r\n"));
            assert!(code == 200 && text.contains("docket_operator_leading"), "{code} {text}");
            for header in ["".to_owned(), format!("authorization: Bearer {other}\r\n"), format!("x-token: {token}\r\n")]
            {
                let (code, said) = asked(operator, &header);
                assert!(code == 401 && said.contains("Authorization: Bearer TOKEN"), "{header}: {code} {said}");
            }
            assert_eq!(operator.page("/livez").map(|(code, _)| code), Some(200));
            assert_eq!(operator.page("/readyz").map(|(code, _)| code), Some(200));
        }
    }
    assert_eq!(server.contents().secret.as_ref(), Some(&made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_is_named_and_waited_for_and_stopping_works_meanwhile() {
    let mut operator = Operator::start(nowhere(), "operator-a", &[]);
    until("it says what it waits for", || {
        let page = operator.page("/readyz");
        page.is_some_and(|(code, text)| code == 503 && text.contains("failed to ask the API server"))
    });
    operator.signal("-TERM");
    assert_eq!(operator.wait(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_one_leads_and_another_takes_over_from_one_that_is_killed_and_one_that_is_paused() {
    let server = ApiServer::start().await;
    server.contents().definitions = true;
    let mut operators: Vec<Operator> =
        ["operator-a", "operator-b", "operator-c"].map(|name| Operator::start(server.address, name, &[])).into();
    let leader = |operators: &[Operator]| operators.iter().position(Operator::leads);
    let epoch = || server.contents().lease.as_ref().and_then(|lease| lease["spec"]["leaseTransitions"].as_i64());

    // One may stop leading between two looks, where the machine stands still.
    let leads = |what: &str, operators: &[Operator]| {
        let mut found = None;
        until(what, || {
            found = leader(operators);
            found.is_some()
        });
        found.expect("it was found")
    };
    leads("somebody leads", &operators);
    until("all are ready", || {
        operators.iter().all(|operator| operator.page("/readyz").is_some_and(|(code, _)| code == 200))
    });
    until("one leads, and no other", || operators.iter().filter(|operator| operator.leads()).count() == 1);
    let first = epoch();

    let mut killed = operators.remove(leads("one leads", &operators));
    killed.signal("-KILL");
    assert_eq!(killed.wait(), None, "it is gone");
    leads("another leads", &operators);
    let second = epoch();
    assert!(first < second, "{first:?} {second:?}");

    // The last one may lose the Lease by itself, where the machine stands still for longer than it holds; not each time.
    for _ in 0..5 {
        let before = epoch();
        let paused = operators.remove(leads("one leads", &operators));
        paused.signal("-STOP");
        leads("the last one leads", &operators);
        let after = epoch();
        assert!(before < after, "{before:?} {after:?}");
        paused.signal("-CONT");
        until("the paused one answers again", || paused.page("/livez").is_some());
        until("the paused one knows that it does not lead", || !paused.leads());
        if operators[0].leads() && epoch() == after {
            return;
        }
        operators.push(paused);
    }
    panic!("whoever goes on again disturbs the one who leads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_an_operator_misses_and_ends_well_once_it_is_ready() {
    let nobody = format!("http://{}/readyz", nowhere());
    let answer = output(&["check", "--url", &nobody, "--timeout", "1"]);
    assert_eq!((answer.status.code(), told(&answer).contains("was not ready within 1 s")), (Some(3), true));
    let server = ApiServer::start().await;
    server.contents().definitions = true;
    let operator = Operator::start(server.address, "one", &[]);
    let url = format!("http://{}/readyz", operator.health.expect("it listens"));
    let answer = output(&["check", "--url", &url, "--timeout", "60"]);
    assert_eq!(answer.status.code(), Some(0), "{}", told(&answer));
}
