//! A short campaign against the built command, and the control that must fail. The long one: `make faults`.

use std::{path::PathBuf, time::Duration};

use docket_faults::{
    campaign::{self, Report, Settings},
    tools::{self, Tools},
};

/// The command beside the tests: `target/release/docket` for `target/release/deps/faults_short-…`.
fn docket() -> Option<PathBuf> {
    let deps = std::env::current_exe().ok()?;
    let docket = deps.parent()?.parent()?.join("docket");
    if !docket.is_file() {
        println!("skipped: there is no {} (build the workspace's binaries)", docket.display());
    }
    Some(docket).filter(|docket| docket.is_file())
}

fn run(settings: impl FnOnce(Tools) -> Settings) -> Option<Report> {
    let nats = tools::nats_server();
    if nats.is_none() {
        println!("skipped: there is no nats-server (scripts/nats-server.sh fetches it)");
    }
    let tools = Tools { docket: docket()?, nats: nats?, s3: None };
    // Processes that die on purpose leave no image of their memory behind.
    rlimit::setrlimit(rlimit::Resource::CORE, 0, 0).expect("core files are limited");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    Some(runtime.block_on(campaign::run(&settings(tools))).expect("the campaign runs"))
}

fn short(tools: Tools) -> Settings {
    Settings {
        tools,
        documents: 300,
        at_once: 16,
        faults: 8,
        workers: 1,
        pause: Duration::from_millis(700),
        passes: 60,
        // A row that holds every kind of fault.
        seed: 35,
        drain: Duration::from_secs(120),
        acknowledge_first: false,
        keep: None,
    }
}

#[test]
fn nothing_is_lost_stuck_wrong_or_repeated() {
    let Some(report) = run(short) else { return };
    println!("{}", serde_json::to_string_pretty(&report).expect("JSON"));
    assert!(report.verdict.holds(), "{:#?}", report.verdict);
    assert_eq!(report.verdict.accepted + report.verdict.unknown, 300);
    assert!(report.verdict.followed >= report.verdict.accepted, "every end was seen as it was written");
    assert!(report.kills > 0, "something was killed");
    assert_eq!(report.overdue_drains, 0);
}

#[test]
fn the_checker_finds_what_is_acknowledged_too_early() {
    let control = |tools| Settings {
        documents: 200,
        faults: 6,
        pause: Duration::from_millis(500),
        passes: 0,
        // Begins with kills of workers.
        seed: 2,
        drain: Duration::from_secs(6),
        acknowledge_first: true,
        ..short(tools)
    };
    let Some(report) = run(control) else { return };
    assert!(!report.verdict.holds(), "a system that loses documents passed: {report:#?}");
}
