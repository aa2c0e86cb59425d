//! What people are asked and say: stages that wait for approval, and feedback that heads learn from.

use reqwest::blocking::Response;
use serde_json::{Value, json};

use crate::support::{
    Place, Ran, changed, models,
    processes::{GatewayProcess, Nats, client, wait_for, worker},
};

/// Long texts wait for a person.
const ASKING: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {concurrency: 2}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: asking}
spec:
  retry: {maxAttempts: 1}
  stages:
  - {name: size, pool: readers, transform: {format: Json, template: '{"bytes": {{ document.text | length }}}'}}
  - name: sign
    pool: readers
    after: [size]
    when: stages.size.bytes > 10
    approve: {reason: "{{ document.id }} has {{ stages.size.bytes }} bytes"}
  - {name: report, pool: readers, after: [size, sign], transform: {format: Json, template: '{{ stages.sign | default(none) | tojson }}'}}
"#;

const RUN: [&str; 7] = ["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"];

/// One short document and `long` long ones, more than are in flight at once.
fn place(pipeline: &str, long: usize) -> Place {
    let place = Place::new();
    place.write("pipeline.yaml", pipeline);
    place.write("in/short.txt", "short");
    for n in 0..long {
        place.write(&format!("in/long{n:02}.txt"), "a text of some length");
    }
    place
}

fn named<'a>(lines: &'a [Value], document: &str) -> &'a Value {
    lines.iter().find(|line| line["document"] == document).unwrap_or_else(|| panic!("{document} is not in {lines:#?}"))
}

/// What a command says that is told the rest by variables.
fn with_variables(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<Value> {
    let mut command = place.command(arguments);
    command.envs(variables.iter().copied()).env("DOCKET_FORMAT", "jsonl");
    Ran::from(command.output().expect("docket starts")).code(0).lines()
}

#[test]
fn what_is_answered_can_be_said_by_variables() {
    let place = place(ASKING, 2);
    place.docket(&RUN).code(4);
    assert_eq!(with_variables(&place, &["approve"], &[("DOCKET_LIST", "1")]).len(), 2);
    let answer = [("DOCKET_REJECT", "1"), ("DOCKET_STAGE", "sign"), ("DOCKET_COMMENT", "not ours")];
    with_variables(&place, &["approve", "long00.txt"], &answer);
    assert_eq!(with_variables(&place, &["approve"], &[("DOCKET_LIST", "1")]).len(), 1);
    let lines = place.docket(&[&RUN[..], &["--resume"]].concat()).code(4).lines();
    let rejected = named(&lines, "long00.txt");
    assert_eq!(rejected["deadLetter"]["reason"], "Rejected", "{rejected}");
    assert!(rejected["deadLetter"]["message"].as_str().expect("text").contains("not ours"), "{rejected}");
}

#[test]
fn a_run_ends_when_only_people_can_go_on_and_is_resumed_after_their_answers() {
    let place = place(ASKING, 20);
    let ran = place.docket(&RUN).code(4).says("20 documents wait for a person: docket approve");
    let lines = ran.lines();
    assert_eq!((lines.len(), &lines[0]["document"]), (1, &json!("short.txt")), "the others are not over");
    assert_eq!(lines[0]["stages"]["sign"]["outcome"], "skipped");
    let pending = place.docket(&["approve", "--list", "--format", "jsonl"]).code(0).lines();
    assert_eq!(pending.len(), 20);
    assert_eq!(named(&pending, "long07.txt")["reason"], "long07.txt has 21 bytes");
    let ann = ["--by", "ann", "--format", "jsonl"];
    let approve = |further: &[&str]| place.docket(&[&["approve"], further, &ann[..]].concat());
    approve(&["long00.txt", "long01.txt", "--comment", "seen"]).code(0);
    let rejected = approve(&["long02.txt", "--reject", "--comment", "too long"]).code(0).lines();
    assert_eq!(rejected[0]["deadLetter"]["reason"], "Rejected");
    assert_eq!(rejected[0]["deadLetter"]["message"], "rejected by ann: too long");
    approve(&["long00.txt", "--comment", "seen"]).code(0);
    approve(&["long00.txt", "--reject"]).code(2).says("is approved by ann at stage \"sign\" already");
    approve(&["short.txt"]).code(2).says("does not wait for an answer");
    approve(&["nothing.txt"]).code(2).says("there is no document \"nothing.txt\"");
    let ran = place.docket(&[&RUN[..], &["--resume"]].concat()).code(4).says("17 documents wait for a person");
    let lines = ran.lines();
    assert_eq!(lines.len(), 4);
    let output = &named(&lines, "long00.txt")["output"];
    assert_eq!((&output["approved"], &output["by"], &output["comment"]), (&json!(true), &json!("ann"), &json!("seen")));
    let explained = place.docket(&["explain", "document", "long09.txt"]).code(0);
    assert!(
        explained.stdout.contains("awaiting") && explained.stdout.contains("waits for a person"),
        "{}",
        explained.stdout
    );
    let rest: Vec<String> = (3..20).map(|n| format!("long{n:02}.txt")).collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    approve(&rest).code(0);
    let lines = place.docket(&[&RUN[..], &["--resume"]].concat()).code(1).lines();
    assert_eq!(lines.len(), 21);
    assert_eq!(lines.iter().filter(|line| line["outcome"] == "succeeded").count(), 20);
    place.docket(&["dlq", "replay", "--all"]).code(4).says("1 documents wait for a person");
    approve(&["long02.txt"]).code(0);
    place.docket(&[&RUN[..], &["--resume"]].concat()).code(0);
}

#[test]
fn without_an_answer_a_time_out_decides_and_a_short_one_is_waited_for() {
    let timed = |policy: &str, further: &str| {
        let with = format!("approve: {{timeout: 300ms, onTimeout: {policy}, reason: ");
        let place = place(
            &changed(ASKING, &[("approve: {reason: ", &with), ("name: sign\n", &format!("name: sign\n{further}"))]),
            1,
        );
        let ran = place.docket(&RUN);
        named(&ran.lines(), "long00.txt").clone()
    };
    let approved = timed("Approve", "");
    assert_eq!(approved["outcome"], "succeeded", "{approved}");
    assert_eq!(approved["output"]["by"], Value::Null);
    assert_eq!(approved["output"]["comment"], "nobody answered within 300ms");
    assert_eq!(timed("Reject", "")["deadLetter"]["reason"], "Rejected");
    let left_out = timed("Reject", "    optional: true\n");
    assert_eq!((&left_out["outcome"], &left_out["output"]), (&json!("partial"), &Value::Null), "{left_out}");
    assert_eq!(timed("DeadLetter", "    optional: true\n")["deadLetter"]["reason"], "ApprovalTimeout");
}

#[track_caller]
fn answer(response: Response, status: u16) -> Value {
    let (found, text) = (response.status().as_u16(), response.text().expect("a body"));
    assert_eq!(found, status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const TOKENS: &str = "tokens:
- {name: ann, token: token-of-ann-00001}
- {name: acme, token: token-of-acme-0001, tenant: acme}
";

#[test]
fn a_gateway_lists_what_is_asked_and_takes_the_first_answer() {
    let place = place(ASKING, 0);
    place.write("tokens.yaml", TOKENS);
    let config = "resources: [pipeline.yaml]\nstate: state\ntokens: tokens.yaml\n";
    let mut gateway = GatewayProcess::start(&place, config);
    let documents = |gateway: &GatewayProcess| format!("{}/v1/pipelines/asking/documents", gateway.http);
    let ann = |request: reqwest::blocking::RequestBuilder| {
        request.bearer_auth("token-of-ann-00001").send().expect("it answers")
    };
    for id in ["a", "b", "c"] {
        let submit = client().post(format!("{}?id={id}", documents(&gateway))).body("a text of some length");
        answer(ann(submit), 202);
    }
    let listed = |gateway: &GatewayProcess, token: &str| {
        let list = client().get(format!("{}/v1/pipelines/asking/approvals", gateway.http)).bearer_auth(token);
        answer(list.send().expect("it answers"), 200)["approvals"].as_array().cloned().expect("a list")
    };
    wait_for("the questions", || (listed(&gateway, "token-of-ann-00001").len() == 3).then_some(()));
    assert_eq!(listed(&gateway, "token-of-acme-0001").len(), 0, "another tenant's are not shown");
    let say = |gateway: &GatewayProcess, id: &str, said: Value| {
        ann(client().post(format!("{}/{id}/approval", documents(gateway))).body(said.to_string()))
    };
    assert_eq!(answer(say(&gateway, "a", json!({"aprove": true})), 400)["error"]["reason"], "Invalid");
    let long = "x".repeat(5_000);
    assert_eq!(
        answer(say(&gateway, "a", json!({"approve": true, "comment": long})), 400)["error"]["reason"],
        "Invalid"
    );
    assert_eq!(
        answer(say(&gateway, "a", json!({"approve": true, "stage": "size"})), 409)["error"]["reason"],
        "Conflict"
    );
    answer(say(&gateway, "a", json!({"approve": true, "comment": "seen"})), 200);
    answer(say(&gateway, "a", json!({"approve": true, "comment": "seen"})), 200);
    assert_eq!(answer(say(&gateway, "a", json!({"approve": false})), 409)["error"]["reason"], "Conflict");
    // Who waits, waits through a crash.
    gateway.process.kill();
    let gateway = GatewayProcess::start(&place, config);
    assert_eq!(listed(&gateway, "token-of-ann-00001").len(), 2);
    let http = gateway.http.clone();
    let remote = ["--gateway", &http, "--token", "token-of-ann-00001", "--format", "jsonl"];
    place.docket(&[&["approve", "b"], &remote[..]].concat()).code(0);
    let rejected = place.docket(&[&["approve", "c", "--reject"], &remote[..]].concat()).code(0).lines();
    assert_eq!(rejected[0]["deadLetter"]["message"], "rejected by ann");
    for (id, by) in [("a", json!("ann")), ("b", json!("ann"))] {
        let ended = answer(ann(client().get(format!("{}/{id}?wait=60", documents(&gateway)))), 200);
        assert_eq!((&ended["outcome"], &ended["output"]["by"]), (&json!("succeeded"), &by), "{ended}");
    }
    assert_eq!(listed(&gateway, "token-of-ann-00001").len(), 0);
}

#[test]
fn a_replay_that_is_asked_for_again_is_the_same_replay() {
    let place = place(ASKING, 0);
    place.write("tokens.yaml", TOKENS);
    let gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\ntokens: tokens.yaml\n");
    let pipeline = format!("{}/v1/pipelines/asking", gateway.http);
    let ann = |request: reqwest::blocking::RequestBuilder| {
        answer(request.bearer_auth("token-of-ann-00001").send().expect("it answers"), 200)
    };
    let say = |approve: bool| {
        wait_for("the question", || {
            let listed = ann(client().get(format!("{pipeline}/approvals")));
            (listed["approvals"].as_array().map(Vec::len) == Some(1)).then_some(())
        });
        let said = json!({"approve": approve}).to_string();
        ann(client().post(format!("{pipeline}/documents/a/approval")).body(said))
    };
    let replay = || ann(client().post(format!("{pipeline}/documents/a/replay")));
    let submit = client().post(format!("{pipeline}/documents?id=a")).bearer_auth("token-of-ann-00001");
    answer(submit.body("a text of some length").send().expect("it answers"), 202);
    assert_eq!(say(false)["outcome"], "dead-lettered");
    assert_eq!(replay()["outcome"], "unfinished");
    assert_eq!(replay()["outcome"], "unfinished", "the first answer may have been lost");
    say(true);
    let ended = ann(client().get(format!("{pipeline}/documents/a?wait=60")));
    assert_eq!(ended["outcome"], "succeeded", "{ended}");
    assert_eq!(replay()["outcome"], "succeeded", "so late the first answer may have been lost too");
}

#[test]
fn many_processes_wait_for_one_answer() {
    let Some(nats) = Nats::start() else { return };
    let place = place(ASKING, 6);
    let common = format!("resources: [pipeline.yaml]\nnats: {{servers: ['{}']}}\n", nats.url);
    let gateway = GatewayProcess::start(&place, &common);
    let http = gateway.http.clone();
    let with = format!("pool: readers\n{common}");
    let mut first = worker(&place, "one", &with);
    place.docket(&["submit", "--gateway", &http, "--input", "in", "--detach"]).code(0);
    let pending = || place.docket(&["approve", "--list", "--gateway", &http, "--format", "jsonl"]).code(0).lines();
    wait_for("the questions", || (pending().len() == 6).then_some(()));
    first.kill();
    let _second = worker(&place, "two", &with);
    let asked: Vec<String> =
        pending().iter().map(|item| item["document"].as_str().expect("an id").to_owned()).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    place.docket(&[&["approve"], &asked[..], &["--gateway", &http]].concat()).code(0);
    let lines = place.docket(&["submit", "--gateway", &http, "--input", "in", "--format", "jsonl"]).code(0).lines();
    assert_eq!(lines.len(), 7);
    assert!(lines.iter().all(|line| line["outcome"] == "succeeded"), "{lines:#?}");
}

/// Documents are sorted by a head that nobody has trained yet.
const SORTING: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec:
  models:
  - {name: minilm, task: Embed, source: {catalog: minilm}}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: sorting}
spec:
  heads:
  - {name: kind, kind: Classifier, embedder: minilm}
  - {name: odd, kind: Anomaly, embedder: minilm}
  - {name: good, kind: Quality, embedder: minilm}
  stages:
  - {name: sort, pool: readers, classify: {head: kind}}
  - {name: mark, pool: readers, optional: true, retry: {maxAttempts: 1}, score: {head: good}}
"#;

#[test]
fn a_head_learns_from_feedback_while_documents_flow() {
    if models(&["minilm"]).is_none() {
        return;
    }
    let place = Place::new();
    place.write("pipeline.yaml", SORTING);
    let gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let documents = format!("{}/v1/pipelines/sorting/documents", gateway.http);
    let submit = |id: &str, text: &str| {
        let sent = client().post(format!("{documents}?id={id}")).body(text.to_owned()).send().expect("it answers");
        answer(sent, 202);
        answer(client().get(format!("{documents}/{id}?wait=60")).send().expect("it answers"), 200)
    };
    let taught = [
        ("i1", "invoice", "Invoice number 17: please pay 200 euros within 30 days."),
        ("i2", "invoice", "The amount due is 90 dollars, payable to our bank account."),
        ("l1", "lease", "The landlord lets the flat to the tenant for two years."),
        ("l2", "lease", "The tenant may end the lease of the premises with notice."),
    ];
    for (id, _, text) in taught {
        let untrained = submit(id, text);
        assert_eq!(untrained["deadLetter"]["reason"], "HeadUntrained", "{untrained}");
    }
    let say = |id: &str, said: Value| {
        client().post(format!("{documents}/{id}/feedback")).body(said.to_string()).send().expect("it answers")
    };
    for wrong in [
        json!({"head": "knd", "label": "lease"}),
        json!({"head": "kind", "score": 0.5}),
        json!({"head": "kind", "label": ""}),
        json!({"head": "odd", "label": "strange"}),
        json!({"head": "good", "score": 1.5}),
    ] {
        assert_eq!(answer(say("l1", wrong), 400)["error"]["reason"], "Invalid");
    }
    let http = gateway.http.clone();
    for (id, label, _) in taught {
        let feedback = ["feedback", id, "--gateway", &http, "--head", "kind", "--label", label, "--format", "jsonl"];
        assert_eq!(place.docket(&feedback).code(0).lines()[0]["changed"], true);
        let by_variables = [("DOCKET_GATEWAY", http.as_str()), ("DOCKET_HEAD", "kind"), ("DOCKET_LABEL", label)];
        let again = with_variables(&place, &["feedback", id], &by_variables);
        assert_eq!(again[0]["changed"], false, "the same again is no news");
    }
    say_from_a_file(&place, &http, &taught);
    let listed = with_variables(&place, &["feedback"], &[("DOCKET_GATEWAY", &http), ("DOCKET_LIST", "true")]);
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().all(|item| item["by"] == "anyone"), "{listed:#?}");
    let replay = |id: &str| {
        let sent = client().post(format!("{documents}/{id}/replay")).send().expect("it answers");
        answer(sent, 200);
        answer(client().get(format!("{documents}/{id}?wait=60")).send().expect("it answers"), 200)
    };
    let sorted = wait_for("a head that has learned", || {
        let replayed = replay("l1");
        (replayed["stages"]["sort"]["outcome"] == "succeeded").then_some(replayed)
    });
    assert_eq!(sorted["stages"]["sort"]["output"]["label"], "lease");
    let invoice = submit("new", "Please transfer the amount of this invoice to our account.");
    assert_eq!(invoice["stages"]["sort"]["output"]["label"], "invoice", "{invoice}");
    let learned = json!([{"pipeline": "sorting", "head": "kind", "examples": 4}]);
    wait_for("a worker that says so", || {
        let stats = place.docket(&["stats", "--gateway", &http, "--format", "json"]).code(0);
        let stats: Value = serde_json::from_str(&stats.stdout).expect("JSON");
        (stats["pools"][0]["workers"][0]["heads"] == learned).then_some(())
    });
}

/// What is known already, two lines about one document, one that is held out, and one about a document that is not there.
fn say_from_a_file(place: &Place, http: &str, taught: &[(&str, &str, &str)]) {
    let mut lines = vec![json!({"document": "i1", "head": "kind", "label": "lease"})];
    lines.extend(taught.iter().map(|(id, label, _)| json!({"document": id, "head": "kind", "label": label})));
    lines.push(json!({"document": "i2", "head": "kind", "label": "lease", "split": "test"}));
    lines.push(json!({"document": "missing", "head": "kind", "label": "lease"}));
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    place.write("labels.jsonl", lines.join("\n"));
    let from = |format: &str| {
        place.docket(&["feedback", "--gateway", http, "--from", "labels.jsonl", "--format", format]).code(1)
    };
    let answers = from("jsonl").lines();
    assert_eq!(answers.len(), 5, "{answers:#?}");
    assert_eq!(answers.iter().filter(|answer| answer["changed"] == false).count(), 4, "{answers:#?}");
    let refused = named(&answers, "missing");
    assert_eq!(refused["line"], "labels.jsonl:7", "{refused}");
    assert!(refused["error"].as_str().is_some_and(|said| said.starts_with("NotFound")), "{refused}");
    let told = from("table").stdout;
    assert!(told.starts_with("4 labels and scores are kept, 0 of them new or changed\n1 were refused:"), "{told}");
    place.write("labels.jsonl", "{\"document\": \"i1\", \"head\": \"kind\"}\n");
    let wrong = place.docket(&["feedback", "--gateway", http, "--from", "labels.jsonl"]).code(2);
    wrong.says("labels.jsonl:1: set exactly one of");
}
