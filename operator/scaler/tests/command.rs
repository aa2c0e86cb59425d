//! The command `docket-simulate`: what it prints, and how it refuses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_docket-simulate")).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn json_holds_what_is_promised_for_every_policy() {
    let every = "docket,hpa,keda,knative,ray,wva,kubeai,aibrix,numaflow,seldon,dynamo-load,static-peak,clairvoyant";
    let output = simulate(&["--generate", "on-off:3", "--policies", every, "--seeds", "2", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for policy in every.split(',') {
        let of = answer["on-off-3"][policy].as_object().unwrap_or_else(|| panic!("{policy} is missing"));
        let fields: Vec<&str> = of.keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "slo_attainment",
                "wait_p50",
                "wait_p95",
                "wait_p99",
                "pod_seconds",
                "cold_starts",
                "changes",
                "reversals_per_hour",
                "interrupted",
                "time_at_zero"
            ]
        );
        assert!(of["pod_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{policy}");
    }
    assert_eq!(answer["on-off-3"]["clairvoyant"]["slo_attainment"], 1.0);
    assert_eq!(answer["on-off-3"]["docket"]["interrupted"], 0.0);
}

#[test]
fn the_table_and_the_page_name_the_policies() {
    let table = text(&simulate(&["--generate", "sparse:1", "--policies", "docket,keda"]).stdout);
    assert!(table.contains("sparse-1") && table.contains("docket") && table.contains("keda"), "{table}");
    let page =
        text(&simulate(&["--generate", "sparse:1", "--policies", "docket,clairvoyant", "--format", "html"]).stdout);
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() == 2);
}

#[test]
fn what_settings_do_not_say_is_as_the_flags_say() {
    let folder = std::env::temp_dir().join(format!("docket-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let with = |settings: &str| {
        let file = folder.join("settings.json");
        std::fs::write(&file, settings).expect("a file");
        let file = file.display().to_string();
        let flags = ["--slo", "60", "--max-replicas", "7", "--format", "json"];
        let output = simulate(&[&["--generate", "on-off:3", "--settings", &file][..], &flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let all = with(r#"{"maxReplicas": 7, "preWarm": true, "target": {"wait": 60}}"#);
    assert_eq!(with(r#"{"preWarm": true}"#), all);
    assert_ne!(with(r#"{"target": {"wait": 5}}"#), all);
    std::fs::remove_dir_all(&folder).expect("its end");
}

#[test]
fn what_cannot_be_is_refused_with_code_2_and_its_name() {
    let check = |arguments: &[&str], expect: &str| {
        let output = simulate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expect), "{}", text(&output.stderr));
    };
    check(&[], "no trace");
    check(&["--trace", "nowhere.csv"], "nowhere.csv");
    check(&["--generate", "square:1"], "\"square:1\" is not one of");
    check(&["--generate", "poisson:1", "--policies", "dockets"], "\"dockets\" is not one of");
    check(&["--generate", "poisson:1", "--faults", "flood"], "\"flood\" is not one of");
    check(&["--generate", "poisson:1", "--slo=-5"], "--slo");
    check(&["--generate", "poisson:1", "--slo", "NaN"], "above 0");
    check(&["--generate", "poisson:1", "--concurrency", "0"], "--concurrency");
    check(&["--generate", "poisson:1", "--service", "1*words"], "1*words");
    check(&["--grid", "nowhere.json"], "nowhere.json");
    check(&["--generate", "sparse:1", "--attainment", "1"], "target.attainment");
}
