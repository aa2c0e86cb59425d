//! TLS and mTLS: who is trusted, and certificates that change while the gateway runs.

use std::{net::TcpStream, path::Path};

use queue::jetstream::{self, Authorities, Settings};
use reqwest::{
    Certificate, Identity, Version,
    blocking::{Client, Response},
};
use tonic::transport::{Certificate as Trusted, Channel, ClientTlsConfig};

use super::{documents, gateway, read_to_end, suspended};
use crate::{
    proto::{PipelinesRequest, gateway_client::GatewayClient},
    support::{
        PLAIN, Place,
        authority::Authority,
        processes::{self, GatewayProcess, Nats, PATIENCE, Process, host, sum, wait_for},
    },
};

fn trusting(ca: &Path) -> reqwest::blocking::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = Certificate::from_pem(&std::fs::read(ca).expect("a file")).expect("a certificate");
    Client::builder().timeout(PATIENCE).tls_certs_only([trusted])
}

fn secret(gateway: &GatewayProcess) -> String {
    format!("https://{}", host(&gateway.http))
}

fn ask(client: &Client, gateway: &GatewayProcess) -> reqwest::Result<Response> {
    client.get(format!("{}/v1/pipelines", secret(gateway))).send()
}

/// A gateway that works what it takes, with a certificate.
fn with_tls(place: &Place, tls: &str) -> GatewayProcess {
    place.write("pipeline.yaml", PLAIN);
    GatewayProcess::start(place, &format!("resources: [pipeline.yaml]\nstate: state\n{tls}"))
}

#[test]
fn documents_go_over_tls_to_who_trusts_the_certificate() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place, "one") else { return };
    let (certificate, key) = authority.issue("server");
    let gateway = with_tls(&place, &format!("tls: {{certificate: {certificate}, key: {key}}}\n"));
    let client = trusting(&authority.path()).build().expect("a client");
    let answer = ask(&client, &gateway).expect("it answers");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2), "by ALPN");
    let old = trusting(&authority.path()).http1_only().build().expect("a client");
    assert_eq!(ask(&old, &gateway).expect("it answers").version(), Version::HTTP_11);
    processes::client().get(format!("{}/v1/pipelines", gateway.http)).send().expect_err("not secret");

    let trusted = Trusted::from_pem(std::fs::read(authority.path()).expect("a file"));
    let grpc = format!("https://{}", host(&gateway.grpc));
    let call = async move {
        let tls = ClientTlsConfig::new().ca_certificate(trusted);
        let channel = Channel::from_shared(grpc).expect("an address").tls_config(tls).expect("a setting");
        let mut client = GatewayClient::new(channel.connect().await.expect("it is trusted"));
        client.pipelines(PipelinesRequest {}).await.expect("an answer").into_inner().pipelines_json.len()
    };
    assert_eq!(tokio::runtime::Runtime::new().expect("a runtime").block_on(call), 1);

    place.write("in/a.txt", "Alpha is the first of the letters.");
    let address = secret(&gateway);
    let submit = ["submit", "--gateway", &address, "--input", "in", "--format", "jsonl"];
    let lines = place.docket(&[&submit[..], &["--ca", "one/ca.pem"]].concat()).code(0).lines();
    assert_eq!(lines[0]["outcome"], "succeeded");
    place.docket(&submit).code(3).says("agree with the gateway");
    place.docket(&[&submit[..], &["--ca", "one/server.key"]].concat()).code(2).says("holds no certificate");
    place.docket(&["get", "a.txt", "--gateway", &address, "--ca", "one/ca.pem"]).code(0);
}

#[test]
fn clients_without_a_certificate_that_is_vouched_for_are_refused() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place, "one") else { return };
    let Some(stranger) = Authority::new(&place, "two") else { return };
    let (certificate, key) = authority.issue("server");
    let tls = format!("tls: {{certificate: {certificate}, key: {key}, clientCa: one/ca.pem}}\n");
    let gateway = with_tls(&place, &tls);
    let with = |identity: Option<(String, String)>| {
        let mut client = trusting(&authority.path());
        if let Some((certificate, key)) = identity {
            let both = [certificate, key].map(|name| std::fs::read(place.path(&name)).expect("a file")).concat();
            client = client.identity(Identity::from_pem(&both).expect("an identity"));
        }
        ask(&client.build().expect("a client"), &gateway)
    };
    assert_eq!(with(Some(authority.issue("client"))).expect("it is let in").status(), 200);
    with(None).expect_err("it has none");
    with(Some(stranger.issue("client"))).expect_err("nobody vouches for it");

    let address = secret(&gateway);
    let list = ["list", "--gateway", &address, "--ca", "one/ca.pem"];
    place.docket(&[&list[..], &["--cert", "one/client.pem", "--key", "one/client.key"]].concat()).code(0);
    place.docket(&list).code(3).says("give --cert and --key");
    place.docket(&[&list[..], &["--cert", "one/client.pem"]].concat()).code(2).says("--key");
}

#[test]
fn only_known_clients_are_served_on_addresses_that_others_reach() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place, "one") else { return };
    let (certificate, key) = authority.issue("server");
    place.write("pipeline.yaml", suspended());
    let config = |tls: &str| {
        let file = format!("http: 0.0.0.0:0\nresources: [pipeline.yaml]\nstate: state\n{tls}");
        place.write("gateway.yaml", file);
    };
    config(&format!("tls: {{certificate: {certificate}, key: {key}}}\n"));
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(2).says("tls.clientCa");
    config(&format!("tls: {{certificate: {certificate}, key: one/ca.key, clientCa: one/ca.pem}}\n"));
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(2).says("failed to use the certificate");
    config("tls: {certificate: nothing.pem, key: nothing.key}\ntokens: tokens.yaml\n");
    place.write("tokens.yaml", "tokens: [{name: a, token: token-of-a-000001}]");
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(2).says("nothing.pem");
    config(&format!("tls: {{certificate: {certificate}, key: {key}, clientCa: one/ca.pem}}\n"));
    let mut gateway = Process::start(&place, &["gateway", "--config", "gateway.yaml"]);
    gateway.says("http listens on 0.0.0.0:");
}

/// A mounted Secret: a link to a folder, replaced as a whole.
fn mount(place: &Place, version: &str, files: [&[u8]; 2]) {
    place.write(&format!("mounted/{version}/tls.crt"), files[0]);
    place.write(&format!("mounted/{version}/tls.key"), files[1]);
    let (next, data) = (place.path("mounted/next"), place.path("mounted/data"));
    std::os::unix::fs::symlink(version, &next).expect("a link");
    std::fs::rename(next, data).expect("replaced at once");
}

#[test]
fn a_certificate_that_changes_is_used_for_new_connections_and_a_broken_one_is_not() {
    let place = Place::new();
    let Some(first) = Authority::new(&place, "one") else { return };
    let Some(second) = Authority::new(&place, "two") else { return };
    let mount_of = |version: &str, authority: &Authority<'_>| {
        let (certificate, key) = authority.issue("server");
        let [certificate, key] = [certificate, key].map(|name| std::fs::read(place.path(&name)).expect("a file"));
        mount(&place, version, [&certificate, &key]);
    };
    mount_of("v1", &first);
    let files = "tls: {certificate: mounted/data/tls.crt, key: mounted/data/tls.key}\n";
    let mut gateway = with_tls(&place, files);
    let running = trusting(&first.path()).http1_only().build().expect("a client");
    assert_eq!(ask(&running, &gateway).expect("it answers").status(), 200);

    let reloads = gateway.metrics();
    for result in ["loaded", "failed"] {
        assert!(reloads.contains(&format!("docket_tls_reloads_total{{result=\"{result}\"}} 0\n")), "{reloads}");
    }

    mount_of("v2", &second);
    let ask_anew = |authority: &Authority<'_>, gateway: &GatewayProcess| {
        ask(&trusting(&authority.path()).build().expect("a client"), gateway).map(|answer| answer.status().as_u16())
    };
    wait_for("the new certificate", || ask_anew(&second, &gateway).ok());
    ask_anew(&first, &gateway).expect_err("the old certificate is gone");
    assert_eq!(ask(&running, &gateway).expect("the old connection goes on").status(), 200);

    mount(&place, "v3", [b"no certificate", b"no key"]);
    wait_for("the broken files to be counted", || {
        let failed = sum(&gateway.metrics(), "docket_tls_reloads_total{result=\"failed\"}");
        (failed >= 1.0).then_some(())
    });
    assert_eq!(ask_anew(&second, &gateway).expect("the one before still counts"), 200);
    let complaint = "the new certificate cannot be used";
    wait_for("the complaint to be heard", || gateway.process.said().contains(complaint).then_some(()));
    mount_of("v4", &first);
    wait_for("the certificate after it", || ask_anew(&first, &gateway).ok());
    let loaded = sum(&gateway.metrics(), "docket_tls_reloads_total{result=\"loaded\"}");
    assert_eq!(loaded, 2.0);
}

#[test]
fn handshakes_that_do_not_come_hold_no_place_for_long() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place, "one") else { return };
    let (certificate, key) = authority.issue("server");
    let tls = format!("tls: {{certificate: {certificate}, key: {key}}}\nlimits: {{connections: 2}}\n");
    let gateway = gateway(&place, &tls);
    let silent = [(), ()].map(|()| TcpStream::connect(host(&gateway.http)).expect("it listens"));
    let client = trusting(&authority.path()).build().expect("a client");
    assert_eq!(ask(&client, &gateway).expect("there is a place in the end").status(), 200);
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        read_to_end(&mut stream);
    }
}

#[test]
fn the_broker_is_reached_over_tls_by_who_trusts_it() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place, "one") else { return };
    let (certificate, key) = authority.issue("server");
    let [certificate, key] = [certificate, key].map(|name| place.path(&name).display().to_string());
    let Some(nats) = Nats::start_with(&format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}")) else {
        return;
    };
    let servers = nats.url.replace("nats://", "tls://");
    place.write("pipeline.yaml", suspended());
    let config = |ca: &str| format!("resources: [pipeline.yaml]\nnats: {{servers: ['{servers}'], timeout: 5s{ca}}}\n");
    let gateway = GatewayProcess::start(&place, &config(", ca: one/ca.pem"));
    let address = format!("{}?id=a", documents(&gateway));
    let taken = processes::client().post(address).body("text").send().expect("it answers");
    assert_eq!(taken.status(), 202);
    let text = std::fs::read_to_string(authority.path()).expect("certificates");
    let settings = |text: String| Settings { ca: Some(Authorities::Text(text)), ..Settings::new(servers.as_str()) };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let opens = |text: String| runtime.block_on(async { jetstream::open(settings(text)).await.is_ok() });
    assert!(opens(text), "the operator has no file of them");
    let other = Authority::new(&place, "two").map(|other| std::fs::read_to_string(other.path()).expect("certificates"));
    assert!(!opens(other.unwrap_or_default()), "nobody else is trusted");
    place.write("gateway.yaml", config(""));
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(3);
    place.write("gateway.yaml", config(", ca: one/server.key"));
    place.docket(&["gateway", "--config", "gateway.yaml"]).code(2).says("nats.ca");
}
