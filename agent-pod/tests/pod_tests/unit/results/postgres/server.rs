//! On a real server, where there is one.

use std::{path::Path, sync::Arc};

use agent_pod::results::{
    Sink as _, Whose,
    postgres::{
        Postgres,
        asking::Happened,
        connection::{self, check},
    },
    row::{Row, key},
};
use crds::PostgresSink;

use crate::support::postgres_server::PostgresServer;

fn spec(server: &PostgresServer) -> PostgresSink {
    let password_file = Some(server.password_file().display().to_string());
    PostgresSink { url: server.url(), password_env: None, password_file, ca_file: None }
}

fn row(tenant: &str, document: &str, submitted_at: u64) -> Arc<Row> {
    Arc::new(Row {
        key: key(&["p", tenant, document]),
        ended_key: key(&["ended", tenant, document, &submitted_at.to_string()]),
        pipeline: "p".to_owned(),
        tenant: tenant.to_owned(),
        document: document.to_owned(),
        outcome: "succeeded",
        output: format!("{{\"at\": {submitted_at}}}"),
        citations: "[]".to_owned(),
        degraded: "[]".to_owned(),
        answers: "[{\"key\": \"k\", \"event\": \"approved\", \"stage\": \"sign\", \"who\": \"ann\", \"comment\": null, \"at\": null}]"
            .replace("\"k\"", &format!("\"{tenant}{document}\"")),
        submitted_at,
        ended_at: submitted_at + 1_000,
        ..Row::default()
    })
}

#[tokio::test]
async fn tables_are_made_once_by_processes_that_start_together() {
    let Some(server) = PostgresServer::start() else { return };
    let sinks: Vec<Postgres> = (0..8).map(|_| Postgres::new(&spec(&server)).expect("it is right")).collect();
    let rows: Vec<_> = (0..8).map(|n| [row("acme", &n.to_string(), 1_000)]).collect();
    let written = futures::future::join_all(sinks.iter().zip(&rows).map(|(sink, rows)| sink.write(rows))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    assert_eq!(server.query("SELECT version FROM docket_migrations"), "1");
    assert_eq!(server.query("SELECT count(*) FROM docket_results"), "8");
    // A process that starts later finds them.
    let later = Postgres::new(&spec(&server)).expect("it is right");
    assert!(later.write(&rows[0]).await.is_ok());
    assert_eq!(server.query("SELECT count(*) FROM docket_migrations"), "1");
    server.query("INSERT INTO docket_migrations (version) VALUES (99)");
    let old = Postgres::new(&spec(&server)).expect("it is right");
    let refused = old.write(&rows[0]).await.expect_err("the database is newer");
    assert!(refused.0.contains("version 99"), "{refused}");
}

#[tokio::test]
async fn of_two_executions_the_later_stays_whatever_comes_first_and_twice_in_a_batch() {
    let Some(server) = PostgresServer::start() else { return };
    let sink = Postgres::new(&spec(&server)).expect("it is right");
    let shown = || server.query("SELECT document, output->>'at' FROM docket_results ORDER BY document");
    let write = async |rows: &[Arc<Row>]| sink.write(rows).await.expect("it is there").iter().all(Result::is_ok);
    assert!(write(&[row("acme", "a", 1_000), row("acme", "a", 2_000), row("acme", "b", 1_000)]).await);
    assert_eq!(shown(), "a|2000\nb|1000");
    assert!(write(&[row("acme", "a", 1_500), row("acme", "b", 3_000)]).await);
    assert_eq!(shown(), "a|2000\nb|3000");
    assert_eq!(server.query("SELECT count(*) FROM docket_audit_log WHERE event = 'ended'"), "5");
    assert_eq!(
        server.query("SELECT document, stage, who FROM docket_audit_log WHERE event = 'approved' ORDER BY 1"),
        "a|sign|ann\nb|sign|ann"
    );
}

#[tokio::test]
async fn what_people_do_is_noted_once_and_erased_with_its_tenant_or_document() {
    let Some(server) = PostgresServer::start() else { return };
    let sink = Postgres::new(&spec(&server)).expect("it is right");
    let rows = [row("acme", "a", 1_000), row("acme", "b", 1_000), row("other", "c", 1_000)];
    sink.write(&rows).await.expect("it is there");
    let happened = Happened {
        key: "once".to_owned(),
        at: 5_000,
        event: "feedback",
        pipeline: "p".to_owned(),
        tenant: "acme".to_owned(),
        document: "a".to_owned(),
        stage: None,
        who: "ann".to_owned(),
        comment: Some("a\u{0}b".to_owned()),
        detail: serde_json::json!({"label": "x\u{0}y"}),
    };
    for _ in 0..2 {
        sink.note(&happened).await.expect("it is there");
    }
    let noted = "SELECT comment, detail->>'label' FROM docket_audit_log WHERE event = 'feedback'";
    assert_eq!(server.query(noted), "a\u{2400}b|x\u{2400}y");
    let rows = "SELECT document FROM docket_results ORDER BY 1";
    let one = Whose::Document { pipeline: "p", tenant: "acme", document: "a" };
    assert_eq!(sink.erase(one).await.expect("it is there"), 4, "a row, its end, an answer, feedback");
    assert_eq!(server.query(rows), "b\nc");
    assert_eq!(sink.erase(Whose::Tenant("acme")).await.expect("it is there"), 3);
    assert_eq!(server.query(rows), "c");
    assert_eq!(server.query("SELECT DISTINCT tenant FROM docket_audit_log"), "other");
    assert_eq!(sink.erase(Whose::Tenant("acme")).await.expect("it is there"), 0);
}

#[tokio::test]
async fn tables_that_are_gone_are_made_again_and_a_wrong_password_is_waited_for() {
    let Some(server) = PostgresServer::start() else { return };
    let wrong = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(wrong.path(), "canary-of-the-database").expect("written");
    let password_file = Some(wrong.path().display().to_string());
    let sink = Postgres::new(&PostgresSink { password_file, ..spec(&server) }).expect("it is right");
    let rows = [row("acme", "a", 1_000)];
    let refused = sink.write(&rows).await.expect_err("the password is wrong");
    assert!(refused.0.contains("password") && !refused.0.contains("canary"), "{refused}");
    std::fs::copy(server.password_file(), wrong.path()).expect("the right one");
    sink.write(&rows).await.expect("the file is read again");
    server.query("DROP TABLE docket_results, docket_audit_log, docket_migrations CASCADE");
    sink.write(&rows).await.expect_err("the tables are gone");
    let written = sink.write(&rows).await.expect("they are made again");
    assert_eq!(written, [Ok(())]);
}

#[tokio::test]
async fn a_password_from_a_variable_is_asked_for_by_its_name() {
    let Some(server) = PostgresServer::start() else { return };
    let by_variable = PostgresSink { password_env: Some("DB".to_owned()), password_file: None, ..spec(&server) };
    let password = std::fs::read_to_string(server.password_file()).expect("a password").trim_end().to_owned();
    let pool =
        connection::pool(&by_variable, &[], |name| (name == "DB").then(|| password.clone())).expect("it is right");
    drop(pool.get().await.expect("the password is right"));
    let wrong = connection::pool(&by_variable, &[], |_| Some("wrong".to_owned())).expect("it can be tried");
    assert!(wrong.get().await.is_err());
    for nothing in [None, Some(String::new())] {
        let problem = connection::pool(&by_variable, &[], |_| nothing.clone()).expect_err("there is no password");
        assert_eq!(problem, "passwordEnv: the variable DB is not set");
    }
}

#[tokio::test]
async fn with_tls_the_server_must_be_who_the_certificate_says() {
    let Some(mut server) = PostgresServer::start() else { return };
    // Another test of this process may have done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let Some((certificate, private_key)) = certificate(folder.path(), "localhost") else { return };
    let Some((other, _)) = certificate_of_another(folder.path()) else { return };
    for (from, to) in [(&certificate, "server.crt"), (&private_key, "server.key")] {
        let to = server.data().join(to);
        std::fs::copy(from, &to).expect("copied");
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        server.give(&to);
    }
    server.stop();
    server.start_again(&["ssl=on"]);
    let at = |url: String, ca: &Path| {
        let spec = PostgresSink { url, ca_file: Some(ca.display().to_string()), ..spec(&server) };
        Postgres::new(&spec).expect("it is right")
    };
    let rows = [row("acme", "a", 1_000)];
    let trusted = at(format!("{}?sslmode=require", server.url_by_name()), &certificate);
    trusted.write(&rows).await.expect("the certificate is trusted");
    assert_eq!(
        server.query("SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'docket'"),
        "1"
    );
    at(server.url_by_name(), &other).write(&rows).await.expect_err("another signed it");
    at(server.url(), &certificate).write(&rows).await.expect_err("it is not for this name");
    assert!(check(&PostgresSink { url: format!("{}?sslmode=require", server.url()), ..spec(&server) }).is_err());
}

fn certificate_of_another(folder: &Path) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let folder = folder.join("other");
    std::fs::create_dir(&folder).expect("a folder");
    certificate(&folder, "localhost")
}

/// A certificate that signs itself, and its key.
fn certificate(folder: &Path, name: &str) -> Option<(std::path::PathBuf, std::path::PathBuf)> {
    let (certificate, private_key) = (folder.join("server.crt"), folder.join("server.key"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        // Of itself openssl makes an authority's, which no server may show.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&private_key)
        .stderr(std::process::Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no openssl that makes a certificate");
        return None;
    }
    Some((certificate, private_key))
}
