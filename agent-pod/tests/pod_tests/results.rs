//! Results in their sinks before documents end: whatever is sent twice, killed or away, each is there once.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    PLAIN, Place, Ran, changed,
    postgres_server::PostgresServer,
    processes::{GatewayProcess, Process, client, sum, wait_for},
};

/// [`PLAIN`] with results in PostgreSQL, uncached.
fn with_postgres(server: &PostgresServer, further: &str) -> String {
    let postgres = format!("{{url: '{}', passwordFile: '{}'}}", server.url(), server.password_file().display());
    let results = format!("spec:\n  cache: {{levels: []}}\n  results: {{postgres: {postgres}{further}}}\n  stages:");
    PLAIN.replace("spec:\n  stages:", &results)
}

fn documents(place: &Place, count: usize) {
    for n in 0..count {
        place.write(&format!("in/{n:03}.txt"), format!("document number {n}"));
    }
}

const RUN: [&str; 7] = ["run", "-f", "pipeline.yaml", "--input", "in", "--format", "jsonl"];

#[test]
fn the_same_documents_twice_are_the_same_rows_with_the_newer_execution() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_postgres(&server, ""));
    documents(&place, 20);
    let lines = place.docket(&RUN).code(0).lines();
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["stages"]["results"]["outcome"] == "succeeded"), "{lines:#?}");
    assert_eq!(server.query("SELECT count(*), count(DISTINCT key) FROM docket_results"), "20|20");
    let row = "SELECT pipeline, tenant, source, outcome, output, citations, degraded, plan <> '', seconds >= 0, epoch,
        nul_replaced, audit FROM docket_results WHERE document = '007.txt'";
    let output = r#"{"head": "document number 7", "bytes": 17}"#;
    assert_eq!(server.query(row), format!("plain|local|in/007.txt|succeeded|{output}|[]|[]|t|t|0|f|"));
    let first = server.query("SELECT max(submitted_at) FROM docket_results");
    place.write("in/007.txt", "another text");
    place.docket(&RUN).code(0);
    assert_eq!(server.query("SELECT count(*) FROM docket_results"), "20");
    assert_eq!(server.query("SELECT output->>'head' FROM docket_results WHERE document = '007.txt'"), "another text");
    assert_eq!(server.query(&format!("SELECT count(*) FROM docket_results WHERE submitted_at > '{first}'")), "20");
    let log = "SELECT event, count(*), count(DISTINCT key) FROM docket_audit_log GROUP BY event";
    assert_eq!(server.query(log), "ended|40|40", "two executions of each");
    place.docket(&[&RUN[..], &["--resume"]].concat()).code(0);
    assert_eq!(server.query(log), "ended|40|40", "a resumed run writes nothing twice");
}

#[test]
fn the_password_of_a_database_can_come_from_a_variable() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    let postgres = format!("{{url: '{}', passwordEnv: RESULTS_PASSWORD}}", server.url());
    let results = format!("spec:\n  results: {{postgres: {postgres}}}\n  stages:");
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", &results));
    documents(&place, 3);
    let password = std::fs::read_to_string(server.password_file()).expect("a password");
    let ran = place.command(&RUN).env("RESULTS_PASSWORD", password.trim_end()).output().expect("docket starts");
    assert_eq!(Ran::from(ran).code(0).lines().len(), 3);
    assert_eq!(server.query("SELECT count(*) FROM docket_results"), "3");
}

#[test]
fn a_process_that_is_killed_while_the_database_commits_writes_nothing_twice() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_postgres(&server, ""));
    place.write("before/first.txt", "makes the tables");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "before", "--state", "other"]).code(0);
    // The commit takes so long that the process dies before it hears of it.
    server.query(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(15); RETURN NULL; END'",
    );
    server.query(
        "CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON docket_results DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION linger()",
    );
    place.write("in/a.txt", "document a");
    let mut running = Process::start(&place, &[&RUN[..], &["--resume"]].concat());
    let lingers = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'docket' AND wait_event = 'PgSleep'";
    wait_for("the commit", || (server.query(lingers) == "1").then_some(()));
    running.kill();
    let committed = "SELECT count(*) FROM docket_results WHERE document = 'a.txt'";
    wait_for("the row of a process that is gone", || (server.query(committed) == "1").then_some(()));
    server.query("DROP TRIGGER linger ON docket_results");
    let explained = place.docket(&["explain", "document", "a.txt"]).code(0);
    assert!(explained.stdout.contains("outcome   unfinished"), "{}", explained.stdout);
    let lines = place.docket(&[&RUN[..], &["--resume"]].concat()).code(0).lines();
    assert_eq!(lines[0]["outcome"], "succeeded", "{lines:#?}");
    assert_eq!(server.query(committed), "1");
    let ended = "SELECT count(*) FROM docket_audit_log WHERE document = 'a.txt' AND event = 'ended'";
    assert_eq!(server.query(ended), "1");
}

#[test]
fn a_run_that_is_killed_again_and_again_has_each_row_once() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_postgres(&server, ", table: {}"));
    documents(&place, 80);
    let run = [&RUN[..], &["--resume"]].concat();
    for kill in 0..5_u64 {
        let mut child = place.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docket starts");
        thread::sleep(Duration::from_millis(150 + kill * 170));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("it has ended");
    }
    let lines = place.docket(&run).code(0).lines();
    assert_eq!(lines.len(), 80);
    assert_eq!(server.query("SELECT count(*), count(DISTINCT document) FROM docket_results"), "80|80");
    assert_eq!(server.query("SELECT count(*) FROM docket_audit_log WHERE event = 'ended'"), "80");
    assert!(place.path(".docket/results/results.lance").is_dir(), "the table beside it");
}

#[test]
fn while_the_database_is_away_its_documents_wait_and_others_go_on() {
    let Some(mut server) = PostgresServer::start() else { return };
    let place = Place::new();
    let other = PLAIN.replace("metadata: {name: plain}", "metadata: {name: other}");
    let (_, other) = other.split_once("---\n").expect("two documents");
    place.write("pipeline.yaml", format!("{}---\n{other}", with_postgres(&server, "")));
    server.stop();
    let mut gateway = GatewayProcess::start(&place, "resources: [pipeline.yaml]\nstate: state\n");
    let counted = gateway.metrics();
    assert!(counted.contains("docket_results_total{outcome=\"refused\",sink=\"postgres\"} 0\n"), "{counted}");
    let submit = |pipeline: &str, id: &str| {
        let address = format!("{}/v1/pipelines/{pipeline}/documents?id={id}", gateway.http);
        assert_eq!(client().post(address).body("text").send().expect("it answers").status(), 202);
    };
    let get = |pipeline: &str, id: &str, wait: u8| {
        let address = format!("{}/v1/pipelines/{pipeline}/documents/{id}?wait={wait}", gateway.http);
        client().get(address).send().expect("it answers").json::<serde_json::Value>().expect("JSON")
    };
    (0..10).for_each(|n| submit("plain", &format!("p{n}")));
    submit("other", "o");
    assert_eq!(get("other", "o", 60)["outcome"], "succeeded");
    let waiting = wait_for("a failed attempt", || {
        let document = get("plain", "p0", 0);
        (document["stages"]["results"]["error"]["reason"] == "ResultsUnavailable").then_some(document)
    });
    assert_eq!(waiting["outcome"], "unfinished");
    assert_eq!(waiting["stages"]["both"]["outcome"], "succeeded");
    server.start_again(&[]);
    for n in 0..10 {
        assert_eq!(get("plain", &format!("p{n}"), 60)["outcome"], "succeeded");
    }
    assert_eq!(server.query("SELECT count(*) FROM docket_results"), "10");
    let metrics = gateway.metrics();
    assert_eq!(sum(&metrics, "docket_results_total"), 10.0, "{metrics}");
    assert!(sum(&metrics, "docket_result_batches_total") >= 1.0, "{metrics}");
    let depth = "docket_queue_waiting{pool=\"_results\"";
    wait_for("the depth of what waits to be written", || gateway.metrics().contains(depth).then_some(()));
}

#[test]
fn a_row_that_the_database_refuses_is_its_documents_fault_alone() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    place.write("pipeline.yaml", with_postgres(&server, ""));
    place.write("before/first.txt", "makes the tables");
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "before", "--state", "other"]).code(0);
    server.query("ALTER TABLE docket_results ADD CONSTRAINT decency CHECK (document <> '013.txt')");
    documents(&place, 40);
    let lines = place.docket(&RUN).code(1).lines();
    let (bad, good): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["document"] == "013.txt");
    assert!(good.iter().all(|line| line["outcome"] == "succeeded"), "{good:#?}");
    assert_eq!(bad[0]["deadLetter"]["stage"], "results");
    assert_eq!(bad[0]["deadLetter"]["reason"], "ResultRefused");
    assert!(bad[0]["deadLetter"]["message"].as_str().expect("text").contains("decency"), "{bad:#?}");
    assert_eq!(server.query("SELECT count(*) FROM docket_results WHERE document <> 'first.txt'"), "39");
    server.query("ALTER TABLE docket_results DROP CONSTRAINT decency");
    place.docket(&["dlq", "replay", "--all"]).code(0);
    assert_eq!(server.query("SELECT epoch FROM docket_results WHERE document = '013.txt'"), "1");
}

#[test]
fn a_nul_in_a_text_is_kept_as_a_mark() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    let noted =
        changed(&with_postgres(&server, ""), &[("{{ document.text | head(20) }}", "{{ document.metadata.note }}")]);
    place.write("pipeline.yaml", noted);
    let line = |id: &str, note: &str| {
        format!("{{\"id\": \"{id}\", \"text\": \"a text\", \"metadata\": {{\"note\": \"{note}\"}}}}\n")
    };
    place.write("in/a.jsonl", line("n\\u0000l", "a\\u0000b") + &line("plain", "ab"));
    let run = ["run", "-f", "pipeline.yaml", "--input", "in/a.jsonl", "--format", "jsonl"];
    let lines = place.docket(&run).code(0).lines();
    let nul = lines.iter().find(|line| line["document"] == "n\0l").expect("a line");
    assert_eq!(nul["output"]["head"], "a\0b", "it comes as far as the sink");
    let rows = server.query("SELECT document, output->>'head', nul_replaced FROM docket_results ORDER BY document");
    assert_eq!(rows, "n\u{2400}l|a\u{2400}b|t\nplain|ab|f");
}

#[test]
fn what_is_more_unusual_than_the_threshold_is_a_pending_audit_until_somebody_settles_it() {
    let Some(server) = PostgresServer::start() else { return };
    let place = Place::new();
    let anomaly = ", anomaly: 'stages.size.bytes / 100'";
    place.write("pipeline.yaml", with_postgres(&server, anomaly));
    place.write(
        "tokens.yaml",
        "tokens:\n- {name: ann, token: token-of-ann-00001}\n- {name: other, token: token-of-other-001, tenant: other}\n",
    );
    let config = "resources: [pipeline.yaml]\nstate: state\ntokens: tokens.yaml\n";
    let gateway = GatewayProcess::start(&place, config);
    let http = gateway.http.clone();
    for (name, bytes) in [("usual.txt", 70), ("odd.txt", 71), ("odder.txt", 99)] {
        place.write(&format!("in/{name}"), "x".repeat(bytes));
    }
    let ann = ["--gateway", &http, "--token", "token-of-ann-00001"];
    place.docket(&[&["submit", "--input", "in", "--format", "jsonl"], &ann[..]].concat()).code(0);
    assert_eq!(
        server.query("SELECT document, anomaly FROM docket_pending_audits ORDER BY 1"),
        "odd.txt|0.71\nodder.txt|0.99"
    );
    let list = || place.docket(&[&["approve", "--list", "--format", "jsonl"], &ann[..]].concat()).code(0).lines();
    let listed = list();
    assert_eq!(listed.len(), 2, "{listed:#?}");
    assert!(listed.iter().all(|item| item["kind"] == "audit" && item["anomaly"].as_f64() > Some(0.7)));
    let answer = |document: &str, further: &[&str]| place.docket(&[&["approve", document], further, &ann[..]].concat());
    answer("odd.txt", &["--comment", "looks fine"]).code(0);
    answer("odder.txt", &["--reject"]).code(0);
    answer("usual.txt", &[]).code(2).says("no pending audit");
    answer("odd.txt", &[]).code(2).says("no pending audit");
    assert_eq!(list(), Vec::<serde_json::Value>::new());
    let settled =
        "SELECT document, audit, audited_by, audit_comment FROM docket_results WHERE audit IS NOT NULL ORDER BY 1";
    assert_eq!(server.query(settled), "odd.txt|approved|ann|looks fine\nodder.txt|rejected|ann|");
    let log = "SELECT event, document, who FROM docket_audit_log WHERE event <> 'ended' ORDER BY number";
    assert_eq!(server.query(log), "approved|odd.txt|ann\nrejected|odder.txt|ann");
    let hidden = client().get(format!("{http}/v1/pipelines/plain/audits")).bearer_auth("token-of-other-001");
    let hidden = hidden.send().expect("it answers").json::<serde_json::Value>().expect("JSON");
    assert_eq!(hidden, json!({"audits": []}), "another tenant's are not shown");
}

#[test]
fn a_database_that_cannot_be_reached_by_what_is_written_is_said_at_once() {
    let place = Place::new();
    let pipeline = |postgres: &str| {
        let results = format!("spec:\n  results: {{postgres: {{{postgres}}}}}\n  stages:");
        place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", &results));
        place.docket(&["validate", "-f", "pipeline.yaml"]).code(2)
    };
    pipeline("url: 'postgres://docket:secret@db/results'")
        .says("pipeline.yaml:11:29: spec.results.postgres.url: holds a password");
    pipeline("url: 'postgres://docket@db/results?sslmode=require'").says("needs caFile");
    pipeline("url: nonsense").says("spec.results.postgres.url");
    pipeline("url: 'postgres://docket@db/results', passwordEnv: DB, passwordFile: /run/db").says("set at most one of");
}

#[test]
fn a_table_of_results_has_a_row_a_document() {
    let place = Place::new();
    let results = "spec:\n  results: {table: {uri: kept}}\n  stages:";
    place.write("pipeline.yaml", PLAIN.replace("spec:\n  stages:", results));
    documents(&place, 30);
    let begun = Instant::now();
    for _ in 0..2 {
        let lines = place.docket(&RUN).code(0).lines();
        assert!(
            lines.iter().all(|line| line["stages"]["results"]["output"] == json!({"written": ["table"]})),
            "{lines:#?}"
        );
    }
    assert!(place.path("kept/results.lance").is_dir());
    eprintln!("two runs over 30 documents with a table took {:?}", begun.elapsed());
}
