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

/// A folder of files that a test writes; it goes with the value.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("docket-simulate-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let file = self.0.join(name);
        std::fs::write(&file, text).expect("a file");
        file.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

const SHORT: &str = "arrival_s,service_s\n0,5\n60,5\n";

fn refused(arguments: &[&str], expect: &[&str]) {
    let output = simulate(arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    for expect in expect {
        assert!(error.contains(expect), "{arguments:?}: no \"{expect}\" in: {error}");
    }
}

fn answer(arguments: &[&str]) -> String {
    let output = simulate(&[&["--generate", "on-off:3", "--format", "json"][..], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn tasks_that_never_start_are_late_and_every_figure_is_a_number_all_the_same() {
    let folder = Folder::new("never");
    let file = folder.file("crowd.csv", &format!("arrival_s,service_s\n{}", "0,10\n".repeat(5_000)));
    let few = ["--max-replicas", "1", "--concurrency", "1"];
    let output = simulate(&[&["--trace", &file, "--format", "json"][..], &few].concat());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = answer["crowd"]["docket"].as_object().expect("figures");
    assert!(of.len() == 10 && of.values().all(serde_json::Value::is_number), "{of:?}");
    // Six or seven start within the minute, and the run is cut off after four hours.
    let figure = |name: &str| of[name].as_f64().expect("a number");
    assert!(figure("slo_attainment") < 0.002 && figure("wait_p99") > 14_400.0, "{of:?}");
}

#[test]
fn what_settings_do_not_say_is_as_the_flags_say() {
    let folder = Folder::new("silent");
    let with = |settings: &str| {
        let file = folder.file("settings.json", settings);
        answer(&["--settings", &file, "--slo", "60", "--max-replicas", "7"])
    };
    let all = with(r#"{"maxReplicas": 7, "preWarm": true, "target": {"wait": 60}}"#);
    assert_eq!(with(r#"{"preWarm": true}"#), all);
    assert_eq!(with(r#"{"maxReplicas": 7}"#), all);
}

#[test]
fn what_settings_say_holds_for_the_pool_as_well() {
    let folder = Folder::new("said");
    let file = folder.file("settings.json", r#"{"maxReplicas": 3, "target": {"wait": 15}}"#);
    // Late tasks are counted, and rivals bounded, by what ours aims at.
    let by_settings = answer(&["--settings", &file, "--policies", "docket,keda"]);
    assert_eq!(by_settings, answer(&["--slo", "15", "--max-replicas", "3", "--policies", "docket,keda"]));
    assert_eq!(by_settings, answer(&["--settings", &file, "--slo", "15", "--policies", "docket,keda"]));
    assert_ne!(by_settings, answer(&["--policies", "docket,keda"]));
}

#[test]
fn settings_are_read_as_a_pool_has_them() {
    let folder = Folder::new("pool");
    let numbers = r#"{"maxReplicas": 7, "cooldownToZero": 90, "target": {"wait": 15}, "stabilization": {"down": 0.25},
        "schedule": [{"fromMinute": 450, "toMinute": 1080, "minReplicas": 1, "maxReplicas": 9}]}"#;
    let scaling = "{maxReplicas: 7, cooldownToZero: 1m30s, target: {wait: 15s}, stabilization: {down: 250ms}, \
        mode: External, schedule: [{days: [Mon], from: \"07:30\", to: \"18:00\", minReplicas: 1, maxReplicas: 9}]}";
    let pool = format!(
        "kind: Pipeline\n---\nkind: AgentPool\nmetadata: {{name: a}}\nspec:\n  concurrency: 2\n  scaling: {scaling}\n"
    );
    let with = |name: &str, text: &str| answer(&["--settings", &folder.file(name, text)]);
    let expected = with("numbers.json", numbers);
    assert_eq!(with("scaling.yaml", scaling), expected);
    assert_eq!(with("pool.yaml", &pool), expected);
    assert_ne!(with("other.yaml", &scaling.replace("15s", "1m")), expected);
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_field() {
    let folder = Folder::new("settings");
    let check = |settings: &str, flags: &[&str], expect: &[&str]| {
        let file = folder.file("settings.yaml", settings);
        refused(
            &[&["--generate", "sparse:1", "--settings", &file][..], flags].concat(),
            &[&[file.as_str()][..], expect].concat(),
        );
    };
    let check_alone = |settings: &str, expect: &str| check(settings, &[], &[expect]);
    check_alone("{target: {wait: 5 s}}", "\"target.wait\" is \"5 s\"");
    check_alone("{target: {latencyP95: \"\"}}", "\"target.latencyP95\" is \"\"");
    check_alone("{cooldownToZero: 5x}", "\"cooldownToZero\" is \"5x\"");
    check_alone("{queue: {wait: {upper: 5s}}}", "\"queue.wait.upper\"");
    check_alone("{queue: {wait: {up: 5s}, waitUp: 5}}", "\"queue.waitUp\"");
    check_alone("{queue: {cpu: 5}}", "\"queue.cpu\" is 5");
    check_alone("{schedule: [{days: [Monday], from: \"07:30\", to: \"18:00\"}]}", "schedule[0]");
    let hours = |from: &str, to: &str| {
        format!("{{schedule: [{{days: [Mon], from: \"{from}\", to: \"{to}\", minReplicas: 1, maxReplicas: 2}}]}}")
    };
    check_alone(&hours("7:30", "18:00"), "\"schedule[0].from\" is \"7:30\"");
    check_alone(&hours("24:00", "18:00"), "\"schedule[0].from\"");
    check_alone(&hours("07:30", "18:60"), "\"schedule[0].to\" is \"18:60\"");
    check_alone(&hours("07:30", "07:30"), "\"schedule[0].to\" is \"07:30\"");
    check_alone("{threshold: 5}", "unknown field `threshold`");
    check_alone("{minReplicas: -1}", "minReplicas: invalid value: integer `-1`");
    check_alone("{maxReplicas: 1.5}", "maxReplicas: invalid type");
    check_alone("{target: {attainment: 99%}}", "target.attainment: invalid type");
    check_alone("{queue: {upAt: -5}}", "queue.upAt: invalid value");
    check_alone(&hours("07:30", "18:00").replace("minReplicas: 1", "minReplicas: -1"), "minReplicas: invalid value");
    check_alone("kind: AgentPool\nspec: {replicas: 1}\n", "no \"spec.scaling\"");
    check_alone("kind: AgentPool\n---\nkind: AgentPool\n", "not 2");
    check_alone("{target: [", "it is not YAML");
}

#[test]
fn what_is_wrong_with_the_schedule_is_said_of_the_entry_that_is_written() {
    let folder = Folder::new("entries");
    let check = |second: &str, expect: &str| {
        let first = "{days: [Mon, Tue, Wed], from: \"08:00\", to: \"12:00\", minReplicas: 1, maxReplicas: 2}";
        let file = folder.file("settings.yaml", &format!("{{schedule: [{first}, {second}]}}"));
        refused(&["--generate", "sparse:1", "--settings", &file], &[expect]);
    };
    let entry = |from: &str, least: u32| {
        format!("{{days: [Wed], from: \"{from}\", to: \"18:00\", minReplicas: {least}, maxReplicas: 2}}")
    };
    check(&entry("11:00", 1), "\"schedule[0]\" and \"schedule[1]\" overlap");
    check(&entry("12:00", 3), "\"schedule[1].minReplicas\" (3)");
}

#[test]
fn flags_and_settings_that_contradict_each_other_are_refused_with_both() {
    let folder = Folder::new("both");
    let check = |settings: &str, flags: [&str; 2], field: &str, values: [&str; 2]| {
        let file = folder.file("settings.yaml", settings);
        let said = format!("{} is {}, and \"{field}\" of --settings is {}", flags[0], values[0], values[1]);
        refused(&[&["--generate", "sparse:1", "--settings", &file][..], &flags].concat(), &[&said]);
    };
    check("{target: {wait: 5s}}", ["--slo", "60"], "target.wait", ["60", "5"]);
    check("{maxReplicas: 100}", ["--max-replicas", "40"], "maxReplicas", ["40", "100"]);
    let window = "{schedule: [{fromMinute: 0, toMinute: 5, minReplicas: 0, maxReplicas: 50}]}";
    check(window, ["--max-replicas", "40"], "schedule[0].maxReplicas", ["40", "50"]);
}

#[test]
fn a_comparison_takes_no_flags_that_its_grid_answers() {
    let flags = [
        ["--trace", "t.csv"],
        ["--generate", "poisson:1"],
        ["--service", "1"],
        ["--cold-start", "c.csv"],
        ["--pipeline", "p.yaml"],
        ["--policies", "docket"],
        ["--settings", "s.yaml"],
        ["--max-replicas", "4"],
        ["--concurrency", "4"],
        ["--slo", "60"],
        ["--seeds", "2"],
        ["--attainment", "0.99"],
        ["--faults", "stale"],
        ["--format", "json"],
    ];
    for [flag, value] in flags {
        refused(&["--grid", "nowhere.json", flag, value], &["cannot be used with", "--grid", flag]);
    }
}

#[test]
fn what_cannot_be_is_refused_with_code_2_and_its_name() {
    refused(&[], &["no trace"]);
    refused(&["--trace", "nowhere.csv"], &["nowhere.csv"]);
    refused(&["--grid", "nowhere.json"], &["nowhere.json"]);
    let flags = [
        ["--generate", "square:1", "\"square:1\" is not one of"],
        ["--policies", "dockets", "\"dockets\" is not one of"],
        ["--policies", "docket,", "\"\" is not one of"],
        ["--faults", "flood", "\"flood\" is not one of"],
        ["--slo", "0", "above 0"],
        ["--slo", "0.0001", "above 0"],
        ["--slo", "NaN", "above 0"],
        ["--slo", "100000", "up to a day"],
        ["--concurrency", "0", "--concurrency"],
        ["--max-replicas", "0", "--max-replicas"],
        ["--seeds", "0", "--seeds"],
        ["--attainment", "1", "from 0.5 to 0.99999"],
        ["--attainment", "1.5", "--attainment"],
        ["--attainment", "NaN", "--attainment"],
        ["--service", "1*words", "1*words"],
        ["--service", "0", "0 seconds for every task"],
        ["--service", "0*input+0*output", "0 seconds for every task"],
        ["--service", "2+-1*input", "\"-1*input\""],
        ["--service", "1e300", "\"1e300\""],
        ["--service", "inf*output", "\"inf*output\""],
    ];
    for [flag, value, expect] in flags {
        refused(&["--generate", "poisson:1", flag, value], &[expect]);
    }
    for flag in ["--slo", "--concurrency", "--max-replicas", "--seeds", "--attainment"] {
        refused(&["--generate", "poisson:1", flag, "-5"], &[flag, "-5"]);
    }
    refused(&["--generate", "poisson:1", "--markdown", "page.md"], &["--markdown takes the tables of --grid"]);
}

#[test]
fn a_grid_that_cannot_be_is_refused_with_its_field() {
    let folder = Folder::new("grid");
    let sound = r#"{"traces": [], "generated": [["sparse", 1]], "service": "1", "coldStart": "none", "slo": [60], "concurrency": [2],
        "maxReplicas": 4, "seeds": 1, "trials": 1, "attainments": [0.99]}"#;
    for (old, new, field) in [
        ("[60]", "[-1]", "slo"),
        ("[60]", "[1e99]", "slo"),
        ("[60]", "[]", "slo"),
        ("[60]", "[15, 15]", "slo"),
        ("[2]", "[0]", "concurrency"),
        ("[0.99]", "[1]", "attainments"),
        (r#""maxReplicas": 4"#, r#""maxReplicas": 0"#, "maxReplicas"),
        (r#""seeds": 1"#, r#""seeds": 0"#, "seeds"),
        (r#""trials": 1"#, r#""trials": 0"#, "trials"),
        (r#"["sparse", 1]"#, r#"["sparse", 1], ["sparse", 1]"#, "generated"),
    ] {
        let file = folder.file("grid.json", &sound.replace(old, new));
        refused(&["--grid", &file], &[&format!("\"{field}\"")]);
    }
    // Before an hour of work, not after it.
    let (grid, page) = (folder.file("grid.json", sound), folder.file("page.md", "no marks"));
    refused(&["--grid", &grid, "--markdown", &page], &[&page, "it holds no line"]);
}

#[test]
fn waits_of_a_day_are_waited_for() {
    let folder = Folder::new("day");
    let trace = folder.file("day.csv", SHORT);
    let output = simulate(&["--trace", &trace, "--slo", "80000", "--policies", "docket", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["day"]["docket"]["slo_attainment"], 1.0, "{answer}");
}

#[test]
fn what_would_go_by_one_name_is_refused() {
    let folder = Folder::new("twice");
    let (one, other) = (folder.file("days.csv", SHORT), folder.file("days.txt", SHORT));
    refused(&["--trace", &one, "--trace", &other], &["two traces are called \"days\""]);
    refused(&["--generate", "sparse:1", "--generate", "sparse"], &["two traces are called \"sparse-1\""]);
    refused(&["--trace", &one, "--policies", "hpa,docket,hpa"], &["--policies names \"hpa\" twice"]);
    refused(&["--trace", &one, "--faults", "stale,stale"], &["--faults names \"stale\" twice"]);
}

#[test]
fn what_editors_and_people_add_changes_nothing() {
    let folder = Folder::new("added");
    let with = |name: &str, around: [&str; 2], policies: &str, faults: &str| {
        let file = |name: &str, text: &str| folder.file(name, &format!("{}{text}{}", around[0], around[1]));
        let (trace, cold) = (file(name, SHORT), file("cold.csv", "quantile,load_s\n0,5\n1,9\n"));
        let flags = ["--policies", policies, "--faults", faults, "--format", "json"];
        let output = simulate(&[&["--trace", &trace, "--cold-start", &cold][..], &flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let plain = with("plain.csv", ["", ""], "docket,hpa", "stale,capacity").replace("\"plain\"", "\"added\"");
    assert_eq!(with("added.csv", ["\u{feff}", "\n \r\n\n"], "docket, hpa", "stale , capacity"), plain);
}

#[test]
fn cold_starts_that_cannot_be_are_refused_with_their_line() {
    let folder = Folder::new("cold");
    let check = |lines: &str, expect: &str| {
        let file = folder.file("cold.csv", &format!("quantile,load_s\n{lines}"));
        refused(&["--generate", "sparse:1", "--cold-start", &file], &[&file, expect]);
    };
    check("0,NaN\n1,5\n", "line 2: load_s is NaN");
    check("NaN,1\n1,5\n", "line 2: quantile is NaN");
    check("0,1\n1,-5\n", "line 3: load_s is -5");
    check("0,1\n1,inf\n", "line 3: load_s is inf");
    check("0,5\n1,4\n", "line 3: quantiles must rise, and times must not fall");
    check("0,5\n0,6\n", "line 3: quantiles must rise, and times must not fall");
    check("0,5\n1,1e9\n", "line 3: load_s 1000000000");
    check("0,5\n0.1,6\n1,7\n", "line 3: quantiles must be evenly spaced");
    check("0.5,5\n", "line 2: one quantile");
    check("0,5\n1\n", "line 3: not two columns");
    check("", "holds no lines");
}
