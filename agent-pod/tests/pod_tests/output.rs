//! Output that nobody reads.

use crate::support::{PLAIN, Place, processes::Process};

#[test]
fn a_gateway_whose_messages_nobody_reads_serves_and_stops_in_order() {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    let file = "http: 127.0.0.1:0\ngrpc: 127.0.0.1:0\nhealth: 127.0.0.1:0\nresources: [pipeline.yaml]\nstate: state\n";
    place.write("gateway.yaml", file);
    // A connection over HTTP/2 logs each of its frames.
    let command = place.command(&["gateway", "--config", "gateway.yaml", "--log", "h2=debug"]);
    let mut gateway = Process::run_unheard_after("gateway ", command);
    let address = gateway.says("http listens on ");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder().http2_prior_knowledge().build().expect("a client");
    let answer = client.get(format!("http://{address}/v1/pipelines")).send().expect("it answers");
    assert_eq!(answer.status(), 200);
    gateway.terminate();
    assert_eq!(gateway.ends().code(), Some(0));
}

#[test]
fn a_command_whose_error_nobody_reads_ends_with_its_exit_code() {
    let place = Place::new();
    let script = format!("exec {} validate -f nowhere.yaml 2>/dev/full", env!("CARGO_BIN_EXE_docket"));
    let ended = std::process::Command::new("bash").args(["-c", &script]).current_dir(place.path("")).status();
    assert_eq!(ended.expect("bash").code(), Some(2));
}
