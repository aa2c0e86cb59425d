//! Output that nobody reads, or that has no room.

use std::{fs::File, process::Stdio};

use crate::support::{PLAIN, Place, Ran, processes::Process};

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

/// A pipeline, a document and the arguments of a run that prints one line.
fn one_document() -> (Place, [&'static str; 7]) {
    let place = Place::new();
    place.write("pipeline.yaml", PLAIN);
    place.write("a.txt", "text");
    (place, ["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "jsonl"])
}

#[test]
fn results_that_find_no_room_are_a_failure() {
    let (place, run) = one_document();
    let full = File::options().write(true).open("/dev/full").expect("a device");
    let ran = Ran::from(place.command(&run).stdout(full).output().expect("docket starts"));
    ran.code(3).says("failed to write to standard output: No space left on device");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (place, run) = one_document();
    let mut running = place.command(&run).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("docket starts");
    drop(running.stdout.take());
    assert_eq!(running.wait().expect("it has ended").code(), Some(0));
}
