//! Where a pool's models come from and in which number format they are held.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    thread,
};

use serde_json::Value;

use crate::support::{Place, Ran, models};

/// Of `model.gguf` of smollm2-135m-instruct in `config/models`.
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

const GENERATE: &str = "generate: {prompt: 'Name an animal.', maxTokens: 4}";
const EMBED: &str = "embed: {model: m}";

/// Runs one stage with the pool's one model; `more` arguments follow.
fn run(place: &Place, model: &str, work: &str, more: &[&str]) -> Ran {
    place.write(
        "pipeline.yaml",
        format!(
            r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {{name: agents}}
spec: {{models: [{{name: m, {model}}}]}}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {{name: one}}
spec:
  cache: {{levels: []}}
  stages: [{{name: only, pool: agents, {work}}}]
"#
        ),
    );
    place.write("a.txt", "A cat is an animal.");
    place.docket(&[&["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "json"], more].concat())
}

fn succeeded(ran: Ran) -> Value {
    let summary = ran.code(0).lines().remove(0);
    assert_eq!(summary["documents"]["succeeded"], 1, "{summary}");
    summary
}

#[test]
fn a_model_may_be_a_file_or_a_folder_of_this_machine() {
    let Some(folder) = models(&["minilm", "smollm2-135m-instruct"]) else { return };
    let place = Place::new();
    let embedder = format!("task: Embed, source: {{file: {}}}", folder.join("minilm").display());
    succeeded(run(&place, &embedder, EMBED, &[]));
    let file = folder.join("smollm2-135m-instruct/model.gguf");
    std::os::unix::fs::symlink(file, place.path("small.gguf")).expect("a link");
    succeeded(run(&place, "task: Generate, source: {file: small.gguf}", GENERATE, &[]));
    run(&place, "task: Generate, source: {file: nowhere.gguf}", GENERATE, &[]).code(2).says("nowhere.gguf");
}

/// Runs a model that is fetched, into a folder of models of the test's own.
fn fetched(place: &Place, url: &str) -> Ran {
    let model = format!("task: Generate, source: {{http: {{url: '{url}', sha256: {SHA256}}}}}");
    run(place, &model, GENERATE, &["--models", "models"])
}

#[test]
fn a_model_is_fetched_by_http_once() {
    let Some(folder) = models(&["smollm2-135m-instruct"]) else { return };
    let place = Place::new();
    let url = served_once(folder.join("smollm2-135m-instruct/model.gguf"));
    succeeded(fetched(&place, &url));
    succeeded(fetched(&place, &url));
}

#[test]
fn a_file_with_another_digest_is_refused() {
    let place = Place::new();
    let url = served_once(place.write("other.gguf", "not the model"));
    fetched(&place, &url).code(2).says("model \"m\" of pool \"agents\"").says(&url);
}

/// Answers one request with the file; its URL. Who comes later finds nobody.
fn served_once(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/model.gguf", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        drop(listener);
        let mut request = BufReader::new(stream.try_clone()?).lines();
        while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let mut content = File::open(&file)?;
        let length = content.metadata()?.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        io::copy(&mut content, &mut stream)
    });
    url
}

#[test]
fn the_number_format_decides_the_memory_that_a_model_takes() {
    if models(&["smollm2-135m-instruct"]).is_none() {
        return;
    }
    let memory = |dtype: &str| {
        let model = format!("task: Generate, source: {{catalog: smollm2-135m-instruct}}, contextTokens: 128{dtype}");
        succeeded(run(&Place::new(), &model, GENERATE, &[]))["peakMemoryBytes"].as_u64().expect("bytes")
    };
    let (f32, usual, named) = (memory(", dtype: F32"), memory(""), memory(", dtype: Q8_0"));
    // 135 million weights of 4 bytes instead of about 1.
    assert!(f32 > usual + (200 << 20), "{f32} bytes with F32, {usual} without dtype");
    assert!(f32 > named + (200 << 20), "{f32} bytes with F32, {named} with Q8_0");
    memory(", dtype: AsStored");
}

#[test]
fn a_number_format_that_does_not_suit_is_a_usage_error() {
    if models(&["minilm", "smollm2-135m-instruct"]).is_none() {
        return;
    }
    let place = Place::new();
    for (dtype, code) in [("F32", 0), ("BF16", 2), ("Q8_0", 2)] {
        let model = format!("task: Embed, source: {{catalog: minilm}}, dtype: {dtype}");
        assert_eq!(run(&place, &model, EMBED, &[]).code, Some(code), "{dtype}");
    }
    let model = "task: Generate, source: {catalog: smollm2-135m-instruct}, dtype: F16";
    run(&place, model, GENERATE, &[]).code(2).says("f16");
}
