//! Whom the built gateway calls of those that pools name, where its administrator says that they are guarded.

use std::{
    net::Ipv4Addr,
    process::{Command, Stdio},
};

use crate::support::{Place, Ran, door::Door, processes::GatewayProcess};

const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// What the configuration excepts.
const EXCEPTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const GUARDED: &str = "state: state\ncalls: {guarded: true, except: [127.0.0.2]}\n";
/// What a fetched file must have: no model at all, so that nothing is ever loaded.
const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn place(source: &str) -> Place {
    let place = Place::new();
    place.write(
        "pipeline.yaml",
        format!(
            r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {{name: agents}}
spec: {{models: [{{name: m, task: Generate, source: {source}}}]}}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {{name: one}}
spec:
  stages: [{{name: only, pool: agents, generate: {{prompt: 'Name an animal.', maxTokens: 4}}}}]
"#
        ),
    );
    place
}

fn provider(url: &str) -> String {
    format!("{{openai: {{baseUrl: '{url}', model: m}}}}")
}

fn file(url: &str) -> String {
    format!("{{http: {{url: '{url}', sha256: '{DIGEST}'}}}}")
}

fn gateway(source: &str, config: &str) -> (Place, Command) {
    let place = place(source);
    place.write("gateway.yaml", format!("resources: [pipeline.yaml]\nhttp: 127.0.0.1:0\n{config}"));
    let command = place.command(&["gateway", "--config", "gateway.yaml"]);
    (place, command)
}

/// A gateway that must not start.
fn refused(source: &str, variables: &[(&str, &str)]) -> Ran {
    let (_place, mut command) = gateway(source, GUARDED);
    let command = command.envs(variables.iter().copied()).stdin(Stdio::null());
    Ran::from(command.output().expect("docket starts")).code(2)
}

#[test]
fn a_model_at_a_refused_address_is_told_with_its_field_when_the_process_starts() {
    let door = Door::closed(LOCALHOST);
    for host in ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{}/v1", door.address.port());
        let ran = refused(&provider(&url), &[]);
        ran.says("model \"m\" of pool \"agents\": source.openai.baseUrl: ").says("agents in a cluster do not call");
        let ran = refused(&file(&url), &[]);
        ran.says("model \"m\" of pool \"agents\": source.http.url: failed to fetch")
            .says("do not call; name a Service");
    }
    refused(&provider("http://localhost:9/v1"), &[]).says("localhost resolves to ").says(", a loopback address, which");
    refused(&file("http://169.254.169.254/latest"), &[]).says("169.254.169.254 is a link-local address");
    let api_server = [("KUBERNETES_SERVICE_HOST", "10.96.0.1")];
    refused(&provider("https://10.96.0.1/v1"), &api_server).says("10.96.0.1 is the API server's address");
    assert_eq!(door.knocks(), 0);
}

#[test]
fn a_redirect_to_a_refused_address_is_not_followed() {
    let door = Door::closed(LOCALHOST);
    let answer =
        |to: &str| format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    for host in ["127.0.0.1", "localhost"] {
        let to = answer(&format!("http://{host}:{}/", door.address.port()));
        let mirror = Door::answering(EXCEPTED, &to);
        let ran = refused(&file(&format!("http://{}/m.gguf", mirror.address)), &[]);
        ran.says("it redirects to a server that is not called").says("a loopback address");
        assert_eq!((mirror.knocks(), door.knocks()), (1, 0), "{host}");
    }
}

#[test]
fn nobody_is_called_by_a_proxy_that_variables_name() {
    let (door, mirror) =
        (Door::closed(LOCALHOST), Door::answering(EXCEPTED, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"));
    let proxy = format!("http://{}", door.address);
    let proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, proxy.as_str()));
    let source = file(&format!("http://{}/m.gguf", mirror.address));
    refused(&source, &proxies).says("the server answered 404");
    assert_eq!((mirror.knocks(), door.knocks()), (1, 0));
    // Whoever is not guarded goes by it.
    let (_place, mut command) = gateway(&source, "state: state\n");
    let command = command.envs(proxies).env_remove("NO_PROXY").env_remove("no_proxy");
    Ran::from(command.output().expect("docket starts")).code(2).says("failed to fetch");
    assert!(mirror.knocks() == 1 && door.knocks() > 0);
}

#[test]
fn what_is_excepted_is_called_and_without_rules_anybody_is() {
    let source = provider("http://127.0.0.2:9/v1");
    for (source, config) in [(source, GUARDED), (provider("http://127.0.0.1:9/v1"), "state: state\n")] {
        let place = place(&source);
        let mut gateway = GatewayProcess::start(&place, &format!("resources: [pipeline.yaml]\n{config}"));
        assert!(gateway.process.is_alive());
    }
    let (_place, mut command) = gateway(&provider("http://127.0.0.1:9/v1"), "calls: {except: [nowhere]}\n");
    Ran::from(command.output().expect("docket starts")).code(2).says("\"nowhere\" is no IP address");
}
