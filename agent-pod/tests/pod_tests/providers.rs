//! Models of others: what they write, what they cost, and what happens when they are down, wrong or too dear.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Place, Ran,
    authority::Authority,
    changed, models,
    processes::{GatewayProcess, Nats, PATIENCE, Process, client, sum, wait_for, worker},
    provider_server::{Piece, ProviderServer, says, status, streams, vectors},
};

const KEY: &str = "sk-very-secret-0123456789";

/// One stage of a model at `URL`; half a unit for a thousand tokens read, one and a half for those written.
const PIPELINE: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  concurrency: 1
  models:
  - name: large
    task: Generate
    source: {openai: {baseUrl: "URL", model: big, apiKeyEnv: PROVIDER_KEY, timeout: 30s}}
    pricePer1kTokens: {input: 0.5, output: 1.5}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: writing}
spec:
  retry: {maxAttempts: 3, backoff: {initial: 10ms, factor: 1}}
  stages:
  - {name: draft, pool: writers, generate: {prompt: "Write of {{ document.text }}", maxTokens: 50}}
"#;

/// A further pool whose model is at `SPARE`.
const SPARE_POOL: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: spare}
spec:
  models: [{name: large, task: Generate, source: {openai: {baseUrl: "SPARE", model: other}}}]
---
"#;

fn place(pipeline: &str) -> Place {
    let place = Place::new();
    place.write("pipeline.yaml", pipeline);
    place.write("in/cats.txt", "cats");
    place
}

fn at(server: &ProviderServer, changes: &[(&str, &str)]) -> Place {
    let url = server.url();
    place(&changed(PIPELINE, &[&[("URL", url.as_str())][..], changes].concat()))
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    // A proxy of the machine has nothing to do with its own address.
    command.env("PROVIDER_KEY", KEY).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    command
}

fn docket(place: &Place, arguments: &[&str]) -> Ran {
    command(place, arguments).output().expect("docket starts").into()
}

/// What became of the documents in `in`.
fn run(place: &Place) -> Vec<Value> {
    let ran = docket(place, &["run", "-f", "pipeline.yaml", "--input", "in", "--output", "out", "--format", "jsonl"]);
    let lines = ran.lines();
    assert!(!lines.is_empty(), "{}", ran.stderr);
    let dead = lines.iter().any(|line| line["outcome"] == "dead-lettered");
    assert!(!ran.stderr.contains(KEY) && !ran.stdout.contains(KEY), "{}{}", ran.stderr, ran.stdout);
    ran.code(i32::from(dead));
    lines
}

fn one(place: &Place) -> Value {
    let [line] = <[Value; 1]>::try_from(run(place)).expect("one document");
    line
}

fn explained(place: &Place, document: &str) -> Value {
    let json = ["explain", "document", document, "--format", "json"];
    docket(place, &json).code(0).lines().remove(0)
}

#[track_caller]
fn is_cost(value: &Value, expected: f64) {
    let found = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

#[test]
fn a_provider_behind_tls_is_asked_where_the_systems_certificates_vouch_for_it() {
    let place = Place::new();
    let (Some(known), Some(other)) = (Authority::new(&place, "known"), Authority::new(&place, "other")) else { return };
    let (certificate, key) = known.issue("provider");
    let files = (place.path(&certificate), place.path(&key));
    let server = ProviderServer::start_tls(|_, _| says("Cats sleep all day"), (&files.0, &files.1));
    assert!(server.url().starts_with("https://"));
    let once = [("URL", server.url()), ("maxAttempts: 3", "maxAttempts: 1".to_owned())];
    place.write("pipeline.yaml", changed(PIPELINE, &once.each_ref().map(|(from, to)| (*from, to.as_str()))));
    place.write("in/cats.txt", "cats");
    let run = |authority: &Authority, state: &str| {
        let run = ["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl", "--state", state];
        let mut command = place.command(&run);
        command.env("PROVIDER_KEY", KEY).env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        // Where the system keeps the certificates that it trusts.
        command.env("SSL_CERT_FILE", authority.path()).env_remove("SSL_CERT_DIR");
        Ran::from(command.output().expect("docket starts")).lines().remove(0)
    };
    let refused = run(&other, "refused");
    assert_eq!(refused["outcome"], "dead-lettered", "{refused}");
    let message = refused["deadLetter"]["message"].as_str().expect("text");
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    assert_eq!(server.asked().len(), 0, "nobody else gets the key");
    let line = run(&known, "trusted");
    assert_eq!(line["output"]["text"], "Cats sleep all day", "{line}");
    assert_eq!(server.asked()[0].authorization, Some(format!("Bearer {KEY}")));
}

#[test]
fn a_stage_is_written_by_a_model_of_others_and_its_cost_is_reported() {
    let server = ProviderServer::saying("Cats sleep all day");
    let place = at(&server, &[]);
    let line = one(&place);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["output"], json!({"text": "Cats sleep all day", "finish": "stop"}));
    assert_eq!(line["tokens"], json!({"prompt": 10, "completion": 8}));
    is_cost(&line["cost"], 0.017);
    is_cost(&line["stages"]["draft"]["cost"], 0.017);
    assert_eq!(line["stages"]["draft"]["fallback"], Value::Null);
    let asked = server.asked();
    assert_eq!(asked[0].body["max_tokens"], 50);
    assert_eq!(asked[0].body["messages"][1], json!({"role": "user", "content": "Write of cats"}));
    assert_eq!(asked[0].authorization, Some(format!("Bearer {KEY}")));
    let summary: Value =
        serde_json::from_slice(&fs::read(place.path("out/summary.json")).expect("a summary")).expect("JSON");
    is_cost(&summary["cost"], 0.017);
    is_cost(&explained(&place, "cats.txt")["cost"], 0.017);
    // The cache answers for nothing, also where the price has changed.
    place.write("pipeline.yaml", changed(PIPELINE, &[("URL", &server.url()), ("input: 0.5", "input: 9")]));
    let again = one(&place);
    assert_eq!(again["stages"]["draft"]["cached"], true, "{again}");
    is_cost(&again["cost"], 0.0);
    assert_eq!(server.asked().len(), 1);
    assert_no_key_below(&place.path(""));
}

fn assert_no_key_below(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            assert_no_key_below(&path);
        } else {
            let bytes = fs::read(&path).expect("a file");
            let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(!found, "the key is in {}", path.display());
        }
    }
}

#[test]
fn the_same_question_to_another_model_or_place_is_another_one() {
    let server = ProviderServer::saying("Cats sleep");
    let place = at(&server, &[]);
    one(&place);
    for (old, new) in [("model: big", "model: bigger"), ("/v1\", model", "/v2\", model")] {
        place.write("pipeline.yaml", changed(&changed(PIPELINE, &[("URL", &server.url())]), &[(old, new)]));
        assert_eq!(one(&place)["stages"]["draft"]["cached"], false);
    }
    assert_eq!(server.asked()[2].path, "/v2/chat/completions");
}

#[test]
fn a_throttled_request_is_repeated_not_before_the_provider_said() {
    let throttled = |n| if n == 0 { status(429, "retry-after: 1\r\n", &json!({})) } else { says("Cats") };
    let server = ProviderServer::start(move |n, _| throttled(n));
    let line = one(&at(&server, &[]));
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["stages"]["draft"]["attempts"], 2);
    assert!(line["seconds"].as_f64() >= Some(1.0), "{line}");
}

#[test]
fn what_the_provider_refuses_is_not_repeated_and_says_why() {
    let server = ProviderServer::start(|_, _| status(400, "", &json!({"error": {"message": "no model big"}})));
    let line = one(&at(&server, &[]));
    let letter = &line["deadLetter"];
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("ProviderRefused"), &json!(1)), "{letter}");
    assert_eq!(letter["message"], format!("\"{}\" answered 400: no model big", server.host()));
    assert_eq!(letter["model"], format!("big@{}", server.host()));
}

#[test]
fn a_replay_that_is_interrupted_goes_on_when_it_is_run_again() {
    let server = ProviderServer::start(|n, _| match n {
        0 => status(400, "", &json!({"error": {"message": "no model big"}})),
        1 => vec![Piece::Wait(PATIENCE)],
        _ => says("Cats"),
    });
    let place = at(&server, &[]);
    assert_eq!(one(&place)["outcome"], "dead-lettered");
    let replay = ["dlq", "replay", "--all", "--format", "jsonl"];
    let mut interrupted = Process::run(command(&place, &replay));
    wait_for("the model to be asked", || (server.asked().len() == 2).then_some(()));
    interrupted.signal("-INT");
    assert_eq!(interrupted.ends().code(), Some(3));
    wait_for("advice", || {
        interrupted.said().contains("it was interrupted; run it again, and it goes on").then_some(())
    });
    let lines = docket(&place, &replay).code(0).lines();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &json!("succeeded")), "{lines:#?}");
}

const SCHEMA: (&str, &str) =
    ("maxTokens: 50", "maxTokens: 50, output: {schema: {type: object, properties: {pet: {enum: [cat]}}}}");

#[test]
fn an_answer_that_ignores_the_schema_is_asked_for_again_and_paid() {
    let answers = ["A cat!", "{\"pet\": \"bird\"}", "{\"pet\": \"cat\"}"];
    let server = ProviderServer::start(move |n, _| says(answers[n]));
    let line = one(&at(&server, &[SCHEMA]));
    assert_eq!(line["output"], json!({"pet": "cat"}), "{line}");
    assert_eq!(line["stages"]["draft"]["attempts"], 3);
    assert_eq!(line["tokens"], json!({"prompt": 30, "completion": 12}));
    is_cost(&line["cost"], 0.033);
    let format = &server.asked()[0].body["response_format"];
    assert_eq!((&format["type"], &format["json_schema"]["schema"]["type"]), (&json!("json_schema"), &json!("object")));
    let server = ProviderServer::saying("{\"pet\": \"bird\"}");
    let letter = one(&at(&server, &[SCHEMA]))["deadLetter"].clone();
    assert_eq!((&letter["reason"], &letter["attempts"]), (&json!("InvalidOutput"), &json!(3)));
    let message = letter["message"].as_str().expect("a message");
    assert!(message.contains("ignored the output schema: pet is none of the values"), "{message}");
}

#[test]
fn another_model_of_the_pool_stands_in_and_the_result_says_so() {
    let (down, spare) = (ProviderServer::start(|_, _| status(500, "", &json!({}))), ProviderServer::saying("Cats"));
    let url = spare.url();
    let model = format!(
        "  models:\n  - {{name: spare, task: Generate, source: {{openai: {{baseUrl: \"{url}\", model: s}}}}}}\n"
    );
    let fallback = ("maxTokens: 50}", "model: large, maxTokens: 50}, fallback: [{model: spare}]");
    let place = at(&down, &[("  models:\n", &model), fallback]);
    let line = one(&place);
    assert_eq!((&line["outcome"], &line["output"]["text"]), (&json!("succeeded"), &json!("Cats")), "{line}");
    let stage = &line["stages"]["draft"];
    assert_eq!((&stage["fallback"], &stage["attempts"]), (&json!("model:spare"), &json!(4)));
    assert_eq!((down.asked().len(), spare.asked().len()), (3, 1));
    is_cost(&line["cost"], 0.0);
    let explained = explained(&place, "cats.txt");
    let stage = &explained["stages"][0];
    let why = stage["why"].as_str().expect("words");
    assert_eq!(stage["fallback"], "model:spare");
    assert!(why.contains("fallback model:spare") && why.contains("failed before: ProviderUnavailable"), "{why}");
}

#[test]
fn another_pool_stands_in_by_the_pipelines_default_unless_a_stage_turns_it_off() {
    let (down, spare) = (ProviderServer::start(|_, _| status(404, "", &json!({}))), ProviderServer::saying("Cats"));
    let spare_pool = changed(SPARE_POOL, &[("SPARE", &spare.url())]);
    let default = ("spec:\n  retry", "spec:\n  fallback: [{pool: spare}]\n  retry");
    let pipeline = changed(PIPELINE, &[("URL", &down.url()), default]);
    let place = place(&format!("{spare_pool}{pipeline}"));
    let line = one(&place);
    assert_eq!((&line["outcome"], &line["output"]["text"]), (&json!("succeeded"), &json!("Cats")), "{line}");
    assert_eq!(line["stages"]["draft"]["fallback"], "pool:spare");
    assert_eq!(spare.asked()[0].body["model"], "other");
    let off = changed(&pipeline, &[("maxTokens: 50}", "maxTokens: 50}, fallback: []")]);
    place.write("pipeline.yaml", format!("{spare_pool}{off}"));
    assert_eq!(one(&place)["deadLetter"]["reason"], "ProviderRefused");
}

#[test]
fn a_constant_stands_in_and_the_document_ends_as_partial() {
    let down = ProviderServer::start(|_, _| status(404, "", &json!({})));
    let constant = ("maxTokens: 50}", "maxTokens: 50}, fallback: [{constant: {text: nothing known}}]");
    let place = at(&down, &[constant]);
    let line = one(&place);
    assert_eq!((&line["outcome"], &line["output"]), (&json!("partial"), &json!({"text": "nothing known"})), "{line}");
    assert_eq!(line["stages"]["draft"]["fallback"], "constant");
    assert_eq!(line["degraded"], json!(["draft: a constant stands in for its result"]));
}

#[test]
fn an_open_circuit_sends_documents_to_the_fallback_without_asking() {
    let (down, spare) = (ProviderServer::start(|_, _| status(500, "", &json!({}))), ProviderServer::saying("Cats"));
    let spare_pool = changed(SPARE_POOL, &[("SPARE", &spare.url())]);
    let breaker = "spec:\n  circuitBreaker: {failures: 2, open: 1h}\n  fallback: [{pool: spare}]\n  retry";
    let changes =
        [("URL", down.url()), ("spec:\n  retry", breaker.to_owned()), ("maxAttempts: 3", "maxAttempts: 1".to_owned())];
    let changes: Vec<(&str, &str)> = changes.iter().map(|(old, new)| (*old, new.as_str())).collect();
    let place = place(&format!("{spare_pool}{}", changed(PIPELINE, &changes)));
    for n in 0..5 {
        place.write(&format!("in/{n}.txt"), format!("cat {n}"));
    }
    let lines = run(&place);
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["stages"]["draft"]["fallback"] == "pool:spare"), "{lines:?}");
    assert_eq!((down.asked().len(), spare.asked().len()), (2, 6), "two failures open the circuit");
}

#[test]
fn without_a_fallback_an_attempt_waits_until_the_circuit_lets_one_try() {
    let server = ProviderServer::start(|n, _| if n < 2 { status(500, "", &json!({})) } else { says("Cats") });
    let breaker = ("spec:\n  retry", "spec:\n  circuitBreaker: {failures: 2, open: 3s}\n  retry");
    let line = one(&at(&server, &[breaker, ("maxAttempts: 3", "maxAttempts: 4")]));
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(server.asked().len(), 3);
    // Two that failed, one that did not ask, and one that was let through; on a busy machine the third may come so late that it
    // is let through itself.
    let attempts = line["stages"]["draft"]["attempts"].as_u64();
    assert!(matches!(attempts, Some(3 | 4)), "{line}");
    assert!(line["seconds"].as_f64() >= Some(2.0), "{line}");
}

/// A model of the agent's own has a circuit where the pipeline has a breaker.
#[test]
fn the_agents_own_model_is_left_alone_where_the_pipeline_says_so() {
    if models(&["smollm2-135m-instruct"]).is_none() {
        return;
    }
    let file = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: writers}
spec:
  models: [{name: small, task: Generate, source: {catalog: smollm2-135m-instruct}, contextTokens: 2048}]
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: writing}
spec:
  circuitBreaker: {failures: 1, open: 1h}
  retry: {maxAttempts: 20, backoff: {initial: 1ms, factor: 1}}
  stages:
  - name: draft
    pool: writers
    timeout: 100ms
    fallback: [{constant: {text: none}}]
    generate: {prompt: "Write a long story of {{ document.text }}.", maxTokens: 1800}
"#;
    let place = place(file);
    let line = one(&place);
    assert_eq!((&line["outcome"], &line["output"]), (&json!("partial"), &json!({"text": "none"})), "{line}");
    let why = explained(&place, "cats.txt")["stages"][0]["why"].as_str().expect("words").to_owned();
    assert!(why.contains("CircuitOpen: \"writers/small\" failed again and again"), "{why}");
}

#[test]
fn the_agents_own_model_has_a_price_and_a_budget_too() {
    if models(&["smollm2-135m-instruct"]).is_none() {
        return;
    }
    let own = "    source: {catalog: smollm2-135m-instruct}\n    contextTokens: 512\n";
    let hosted = "    source: {openai: {baseUrl: \"URL\", model: big, apiKeyEnv: PROVIDER_KEY, timeout: 30s}}\n";
    let pipeline = changed(PIPELINE, &[(hosted, own), ("maxTokens: 50", "maxTokens: 12")]);
    let place = place(&pipeline);
    let line = one(&place);
    let tokens = |name: &str| line["tokens"][name].as_f64().expect("tokens");
    is_cost(&line["cost"], (tokens("prompt") * 0.5 + tokens("completion") * 1.5) / 1_000.0);
    assert!(tokens("completion") > 6.0, "{line}");
    let without = changed(&pipeline, &[("    pricePer1kTokens: {input: 0.5, output: 1.5}\n", "")]);
    place.write("pipeline.yaml", changed(&without, &[("maxTokens: 12", "maxTokens: 13")]));
    is_cost(&one(&place)["cost"], 0.0);
    let budget = ("spec:\n  retry", "spec:\n  budget: {tokens: 6}\n  retry");
    place.write("pipeline.yaml", changed(&pipeline, &[budget, ("maxTokens: 12", "maxTokens: 14")]));
    let letter = one(&place)["deadLetter"].clone();
    assert_eq!((&letter["stage"], &letter["reason"]), (&json!("draft"), &json!("BudgetExceeded")), "{letter}");
}

/// Two stages that ask one after the other; each answer takes 18 tokens and costs 0.017.
fn with_budget(server: &ProviderServer, budget: &str) -> Place {
    let second =
        "maxTokens: 50}}\n  - {name: again, pool: writers, after: [draft], generate: {prompt: more, maxTokens: 40}}";
    let budget = format!("spec:\n  budget: {budget}\n  retry");
    at(server, &[("maxTokens: 50}}", second), ("spec:\n  retry", &budget)])
}

#[test]
fn a_document_that_needs_more_than_its_budget_is_dead_lettered_with_the_figures() {
    let letter = |budget: &str, finish: &'static str| {
        let server = ProviderServer::start(move |n, _| {
            streams("Cats sleep all day", if n == 0 { "stop" } else { finish }, true)
        });
        let line = one(&with_budget(&server, budget));
        let asked: Vec<Value> = server.asked().iter().map(|asked| asked.body["max_tokens"].clone()).collect();
        (line["deadLetter"].clone(), asked)
    };
    let (enough, asked) = letter("{tokens: 36, cost: 0.034}", "stop");
    assert_eq!((enough, asked), (Value::Null, vec![json!(22), json!(11)]), "the second may cost 0.017");
    let (cut, asked) = letter("{tokens: 25}", "length");
    assert_eq!(asked, [25, 7]);
    assert_eq!(
        (&cut["stage"], &cut["reason"], &cut["attempts"]),
        (&json!("again"), &json!("BudgetExceeded"), &json!(1))
    );
    let message = "the 7 tokens that are left are not enough for the answer: the work before took 18 of 25 tokens";
    assert_eq!(cut["message"], message);
    let (none, asked) = letter("{cost: 0.017}", "stop");
    assert_eq!(asked.len(), 1, "what cannot be paid is not asked for");
    assert_eq!((&none["stage"], &none["reason"]), (&json!("again"), &json!("BudgetExceeded")));
    assert_eq!(none["message"], "nothing is left for this stage: the work before took 0.017 of 0.017 in cost");
    let (over, asked) = letter("{tokens: 15}", "stop");
    assert_eq!(asked, [15]);
    assert_eq!((&over["stage"], &over["reason"]), (&Value::Null, &json!("BudgetExceeded")), "not even the last answer");
    assert_eq!(over["message"], "the work on the document took 18 of 15 tokens");
}

#[test]
fn what_the_cache_has_costs_nothing_and_is_given_without_a_budget() {
    let server = ProviderServer::saying("Cats sleep all day");
    let place = with_budget(&server, "{tokens: 36}");
    assert_eq!(one(&place)["outcome"], "succeeded");
    let pipeline = fs::read_to_string(place.path("pipeline.yaml")).expect("the file");
    place.write("pipeline.yaml", changed(&pipeline, &[("tokens: 36", "tokens: 1")]));
    let line = one(&place);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn vectors_of_others_serve_a_knowledge_base_and_are_paid_once() {
    let server = ProviderServer::start(|_, asked| vectors(asked, 8));
    let file = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models:
  - name: hosted
    task: Embed
    source: {openai: {baseUrl: "URL", model: vectors, dimensions: 8}}
    pricePer1kTokens: {input: 1}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: remembering}
spec:
  cache: {levels: []}
  knowledge: [{name: notes, embedder: hosted}]
  stages:
  - {name: remember, pool: readers, embed: {knowledge: notes}}
  - {name: find, pool: readers, after: [remember], retrieve: {knowledge: notes, query: "{{ document.text }}", topK: 1}}
"#;
    let place = place(&changed(file, &[("URL", &server.url())]));
    let line = one(&place);
    assert_eq!(line["outcome"], "succeeded", "{line}");
    assert_eq!(line["output"]["hits"][0]["text"], "cats");
    assert_eq!(line["tokens"]["prompt"], 7, "the question has the words of the text, whose vector is known");
    is_cost(&line["cost"], 0.007);
    is_cost(&one(&place)["cost"], 0.0);
    assert_eq!(server.asked().len(), 1);
    let wrong = changed(
        file,
        &[
            ("URL", &server.url()),
            ("dimensions: 8", "dimensions: 9"),
            ("name: notes", "name: more"),
            ("knowledge: notes}", "knowledge: more}"),
            ("knowledge: notes,", "knowledge: more,"),
        ],
    );
    place.write("pipeline.yaml", wrong);
    let letter = one(&place)["deadLetter"].clone();
    assert_eq!(
        (&letter["stage"], &letter["reason"]),
        (&json!("remember"), &json!("ProviderAnswerInvalid")),
        "{letter}"
    );
}

#[test]
fn what_is_wrong_with_a_fallback_is_told_with_file_line_and_field() {
    let fallback = |fallback: &str| format!("maxTokens: 50}}, fallback: [{fallback}]");
    for (wrong, field, words) in [
        ("{pool: spre}", "pool", "there is no pool \"spre\""),
        ("{pool: spare, model: huge}", "model", "pool \"spare\" holds no Generate model \"huge\""),
        ("{model: lage}", "model", "did you mean \"large\"?"),
        ("{pool: empty}", "pool", "pool \"empty\" holds no model with task Generate; stage \"draft\" needs it"),
    ] {
        let empty = "apiVersion: docket.dev/v1alpha1\nkind: AgentPool\nmetadata: {name: empty}\nspec: {}\n---\n";
        let pipeline = changed(PIPELINE, &[("URL", "http://127.0.0.1:1/v1"), ("maxTokens: 50}", &fallback(wrong))]);
        let spare = changed(SPARE_POOL, &[("SPARE", "http://127.0.0.1:1/v1")]);
        let file = format!("{empty}{spare}{pipeline}");
        let line = 1 + file.lines().position(|line| line.contains("name: draft")).expect("the stage");
        let place = place(&file);
        let ran = docket(&place, &["validate", "-f", "pipeline.yaml"]).code(2);
        let ran = ran.says(words).says(&format!("pipeline.yaml:{line}:"));
        ran.says(&format!("spec.stages[0].fallback[0].{field}"));
    }
}

#[test]
fn a_key_that_is_not_there_is_named_before_anything_is_worked() {
    let server = ProviderServer::saying("Cats");
    let place = at(&server, &[("PROVIDER_KEY", "NO_SUCH_KEY_HERE")]);
    let ran = docket(&place, &["run", "-f", "pipeline.yaml", "--input", "in"]).code(2);
    ran.says("model \"large\" of pool \"writers\": apiKeyEnv: the variable NO_SUCH_KEY_HERE is not set");
    assert!(server.asked().is_empty());
}

#[test]
fn a_gateway_shows_what_providers_take_and_cost() {
    let server =
        ProviderServer::start(|n, _| if n < 2 { status(500, "", &json!({})) } else { says("Cats sleep all day") });
    let breaker = ("spec:\n  retry", "spec:\n  circuitBreaker: {failures: 3, open: 1h}\n  retry");
    let place = at(&server, &[(", apiKeyEnv: PROVIDER_KEY", ""), breaker]);
    let mut gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let documents = format!("{}/v1/pipelines/writing/documents", gateway.http);
    let sent = client().post(format!("{documents}?id=a")).body("cats").send().expect("it answers");
    assert_eq!(sent.status().as_u16(), 202);
    let ended: Value = client().get(format!("{documents}/a?wait=60")).send().expect("it answers").json().expect("JSON");
    assert_eq!(ended["outcome"], "succeeded", "{ended}");
    is_cost(&ended["cost"], 0.017);
    let metrics = gateway.metrics();
    let of = |name: &str| sum(&metrics, &format!("{name}{{provider=\"{}\"}}", server.host()));
    assert_eq!(of("docket_provider_seconds_count"), 3.0, "{metrics}");
    assert_eq!(of("docket_circuit_state"), 0.0);
    assert!(metrics.contains("docket_circuit_state"), "{metrics}");
    assert!((sum(&metrics, "docket_cost_total{") - 0.017).abs() < 1e-9, "{metrics}");
}

#[test]
fn a_task_is_handed_to_the_worker_of_the_other_pool() {
    let Some(nats) = Nats::start() else { return };
    let (down, spare) = (ProviderServer::start(|_, _| status(404, "", &json!({}))), ProviderServer::saying("Cats"));
    let spare_pool = changed(SPARE_POOL, &[("SPARE", &spare.url())]);
    let default = ("spec:\n  retry", "spec:\n  fallback: [{pool: spare}]\n  retry");
    let pipeline = changed(PIPELINE, &[("URL", &down.url()), (", apiKeyEnv: PROVIDER_KEY", ""), default]);
    let place = place(&format!("{spare_pool}{pipeline}"));
    let broker = format!("resources: [pipeline.yaml]\nnats: {{servers: [\"{}\"]}}\n", nats.url);
    let gateway = GatewayProcess::start(&place, &broker);
    let _first = worker(&place, "first", &format!("pool: writers\n{broker}"));
    let documents = format!("{}/v1/pipelines/writing/documents", gateway.http);
    client().post(format!("{documents}?id=a")).body("cats").send().expect("it answers");
    wait_for("the first pool to have failed", || (!down.asked().is_empty()).then_some(()));
    assert!(spare.asked().is_empty());
    let _second = worker(&place, "second", &format!("pool: spare\n{broker}"));
    let ended = wait_for("the end", || {
        let answer = client().get(format!("{documents}/a?wait=30")).send().ok()?;
        let ended: Value = answer.json().ok()?;
        (ended["outcome"] != "unfinished").then_some(ended)
    });
    assert_eq!(
        (&ended["outcome"], &ended["stages"]["draft"]["fallback"]),
        (&json!("succeeded"), &json!("pool:spare")),
        "{ended}"
    );
    assert_eq!(ended["stages"]["draft"]["attempts"], 2);
}
