//! What a pool's `scaling` says reaches the decision: each field has an effect, its removal undoes it, and what contradicts
//! itself is refused with the field.

use crate::{
    schema::{another, fields, of_specification},
    support::{config, pool},
};
use operator::{
    agent_pool::{dereference::Dereferenced, validate},
    scaling::settings,
};
use scaler::{Mode, Settings, Thresholds, simulate::given};
use serde_json::{Value, json};

fn settings(scaling: Value) -> Settings {
    let pool = pool(json!({"scaling": scaling}));
    settings::of(&pool.spec.scaling.expect("it is written")).expect("it is consistent")
}

/// The settings of a pool that writes its largest number alone, and one field more.
fn with(field: &str, value: Value) -> Settings {
    let mut scaling = json!({"maxReplicas": 20});
    scaling[field] = value;
    settings(scaling)
}

#[test]
fn what_is_not_written_is_what_the_decision_has_as_default() {
    assert_eq!(settings(json!({"maxReplicas": 20})), Settings::between(0, 20));
    assert_eq!(with("queue", json!({})).queue, Some(Thresholds::default()));
}

#[test]
fn each_field_changes_its_setting_alone() {
    let usual = Settings::between(0, 20);
    assert_eq!(with("minReplicas", json!(2)), Settings { min_replicas: 2, ..usual.clone() });
    assert_eq!(with("cooldownToZero", json!("5m")), Settings { cooldown_to_zero: Some(300.0), ..usual.clone() });
    assert_eq!(with("preWarm", json!(false)), Settings { pre_warm: false, ..usual.clone() });
    assert_eq!(with("mode", json!("Advise")), Settings { mode: Mode::Advise, ..usual.clone() });
    assert_eq!(with("mode", json!("External")), Settings { mode: Mode::External, ..usual.clone() });

    let target = |written: Value| with("target", written).target;
    assert_eq!(target(json!({"wait": "1500ms"})).wait, 1.5);
    assert_eq!(target(json!({"attainment": 0.999})).attainment, 0.999);
    assert_eq!(target(json!({"latencyP95": "30s"})).latency_p95, Some(30.0));
    assert_eq!(target(json!({"utilization": 0.85})).utilization, Some(0.85));

    let stabilization = |written: Value| with("stabilization", written).stabilization;
    assert_eq!(stabilization(json!({"up": "3s"})).up, 3.0);
    assert_eq!(stabilization(json!({"down": "1m"})).down, 60.0);
    assert_eq!(stabilization(json!({"costShare": 0.2})).cost_share, 0.2);

    let queue = |written: Value| with("queue", written).queue.expect("thresholds");
    let plain = Thresholds::default();
    assert_eq!(queue(json!({"upAt": 50})), Thresholds { up_at: 50, ..plain.clone() });
    assert_eq!(queue(json!({"downAt": 5})), Thresholds { down_at: 5, ..plain.clone() });
    assert_eq!(queue(json!({"wait": {"up": "9s"}})), Thresholds { wait_up: 9.0, ..plain.clone() });
    assert_eq!(queue(json!({"wait": {"down": "2s"}})), Thresholds { wait_down: 2.0, ..plain.clone() });
    assert_eq!(queue(json!({"cpu": {"up": 0.9}})), Thresholds { cpu_up: 0.9, ..plain.clone() });
    assert_eq!(queue(json!({"cpu": {"down": 0.1}})), Thresholds { cpu_down: 0.1, ..plain.clone() });
    assert_eq!(queue(json!({"steps": {"up": 5}})), Thresholds { step_up: 5, ..plain.clone() });
    assert_eq!(queue(json!({"steps": {"down": 4}})), Thresholds { step_down: 4, ..plain });
}

/// A pool's `scaling` with every field that there is.
fn whole() -> Value {
    json!({
        "minReplicas": 2,
        "maxReplicas": 20,
        "target": {"wait": "5s", "attainment": 0.9, "latencyP95": "30s", "utilization": 0.5},
        "queue": {
            "upAt": 100,
            "downAt": 10,
            "wait": {"up": "5s", "down": "1s"},
            "cpu": {"up": 0.8, "down": 0.3},
            "steps": {"up": 2, "down": 1},
        },
        "stabilization": {"up": "3s", "down": "10s", "costShare": 0.2},
        "cooldownToZero": "5m",
        "preWarm": true,
        "schedule": [
            {"days": ["Mon"], "from": "07:30", "to": "18:00", "timeZone": "UTC", "minReplicas": 1, "maxReplicas": 4},
        ],
        "mode": "Apply",
    })
}

#[test]
fn each_field_of_the_schema_changes_what_is_decided_by() {
    let definition = json!(crds::definitions()[0]);
    let schema = &of_specification(&definition)["properties"]["scaling"];
    let usual = settings(whole());
    let mut silent = Vec::new();
    for field in fields(schema, &whole()) {
        let pointer =
            field.pointer.unwrap_or_else(|| panic!("a new field, {}: give it a value in `whole`", field.path));
        let mut scaling = whole();
        let place = scaling.pointer_mut(&pointer).expect("it is there");
        *place = match field.path.as_str() {
            // Below `up`, and times of a day.
            "queue.wait.down" => json!("2s"),
            "schedule[].from" => json!("08:00"),
            "schedule[].to" => json!("19:00"),
            // Only one is known, so no other can be written.
            "schedule[].timeZone" => {
                assert_eq!(field.schema["enum"], json!(["UTC"]));
                continue;
            }
            _ => another(place, &field.schema).unwrap_or_else(|error| panic!("{}: {error:#}", field.path)),
        };
        if settings(scaling) == usual {
            silent.push(field.path);
        }
    }
    assert_eq!(silent, Vec::<String>::new(), "fields that change nothing");
}

/// Seconds since 1970 of a minute of the week that began on Monday, 5 January 1970.
fn at(day: u32, hour: u32, minute: u32) -> f64 {
    f64::from((4 + day) * 86_400 + hour * 3_600 + minute * 60)
}

#[test]
fn a_schedule_holds_on_its_days_and_over_midnight() {
    let day = json!({"days": ["Mon", "Tue"], "from": "07:30", "to": "18:00", "minReplicas": 2, "maxReplicas": 40});
    let night = json!({"days": ["Sun"], "from": "22:00", "to": "06:00", "minReplicas": 0, "maxReplicas": 1});
    let settings = with("schedule", json!([day, night]));
    for (moment, expected) in [
        (at(0, 7, 29), (0, 20, false)),
        (at(0, 7, 30), (2, 40, true)),
        (at(1, 17, 59), (2, 40, true)),
        (at(1, 18, 0), (0, 20, false)),
        (at(2, 12, 0), (0, 20, false)),
        (at(6, 21, 59), (0, 20, false)),
        (at(6, 22, 0), (0, 1, true)),
        (at(7, 5, 59), (0, 1, true)),
        (at(7, 6, 0), (0, 20, false)),
    ] {
        assert_eq!(settings.bounds_at(moment), expected, "{moment}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_with_the_field() {
    let refused = |mut scaling: Value| {
        scaling["maxReplicas"] = json!(20);
        let pool = pool(json!({"scaling": scaling}));
        let error = validate::pool(&pool, &Dereferenced::default(), &config()).err().expect("it is refused");
        assert_eq!(error.reason(), "ScalingInvalid");
        error.to_string()
    };
    for (scaling, words) in [
        (json!({"target": {"wait": "0s"}}), "\"target.wait\" is 0"),
        (json!({"target": {"latencyP95": "2d"}}), "\"target.latencyP95\" is 172800"),
        (json!({"cooldownToZero": "2d"}), "\"cooldownToZero\""),
        (json!({"stabilization": {"down": "2h"}}), "\"stabilization.down\""),
        (json!({"queue": {"wait": {"up": "1s", "down": "1s"}}}), "\"queue.wait.down\" (1) must not be above"),
        (json!({"minReplicas": 21}), "\"minReplicas\" (21) must not be above \"maxReplicas\" (20)"),
    ] {
        let message = refused(scaling);
        assert!(message.starts_with("scaling: ") && message.contains(words), "{message} does not say {words}");
    }
    let bounds = |days: Value, from: &str, to: &str| json!({"days": days, "from": from, "to": to, "minReplicas": 1, "maxReplicas": 2});
    let message = refused(json!({"schedule": [
        bounds(json!(["Mon", "Wed"]), "08:00", "12:00"),
        bounds(json!(["Fri"]), "08:00", "12:00"),
        bounds(json!(["Tue"]), "20:00", "09:00"),
    ]}));
    assert!(message.contains("\"schedule[0]\" and \"schedule[2]\" overlap"), "{message}");
}

#[test]
fn scaling_is_no_part_of_what_agents_are_told() {
    let (fixed, scaled) = (pool(json!({})), pool(json!({"scaling": {"maxReplicas": 20}, "replicas": 4})));
    assert_eq!(fixed.spec.as_worked(), scaled.spec.as_worked());
}

#[test]
fn the_simulator_reads_what_a_pool_has_as_the_operator_does() {
    let check = |scaling: Value| {
        let given = given::read("scaling.json", &scaling.to_string()).expect("the simulator reads it");
        let read: Settings = serde_json::from_value(given.fields).expect("it is of the known form");
        assert_eq!(read, settings(scaling));
    };
    check(json!({
        "minReplicas": 1,
        "maxReplicas": 20,
        "target": {"wait": "1m30s", "attainment": 0.999, "latencyP95": "1.5m", "utilization": 0.8},
        "queue": {
            "upAt": 50,
            "downAt": 5,
            "wait": {"up": "9s", "down": "300ms"},
            "cpu": {"up": 0.9, "down": 0.1},
            "steps": {"up": 3, "down": 2},
        },
        "stabilization": {"up": "3s", "down": "0.25h", "costShare": 0.2},
        "cooldownToZero": "1h1s",
        "preWarm": false,
        "mode": "External",
    }));
    let hours = |days: Value, from: &str, to: &str| json!({"days": days, "from": from, "to": to, "timeZone": "UTC", "minReplicas": 2, "maxReplicas": 30});
    check(json!({"maxReplicas": 20, "schedule": [
        hours(json!(["Mon", "Wed"]), "07:30", "18:00"),
        hours(json!(["Fri", "Sun"]), "22:00", "06:00"),
        hours(json!(["Sat"]), "09:00", "24:00"),
    ]}));
}
