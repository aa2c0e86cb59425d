//! How `docket explain pool` says what was decided.

use agent_pod::commands::client::scaling::text;
use serde_json::{Value, json};

#[test]
fn what_is_wanted_and_why_is_said_in_sentences() {
    let decided = json!({
        "pool": "readers", "mode": "Apply", "desired": 20, "replicas": 12, "at": "2026-01-02T03:04:06Z",
        "decisions": [
            {
                "at": "2026-01-02T03:04:05Z", "from": 12, "to": 20, "pulling": 15, "reason": "Up:Backlog",
                "message": "from 12 to 20 agents: more replicas: waiting tasks", "clamp": "Maximum",
                "terms": [{"term": "Backlog", "replicas": 31}, {"term": "Arrivals", "replicas": 9}],
                "nextChangeAt": "2026-01-02T03:09:00Z",
            },
            {"at": "2026-01-02T03:00:00Z", "from": 0, "to": 12, "pulling": 12, "reason": "Up:Foreseen", "message": "m"},
        ],
        "recommendation": {"field": "cooldownToZero", "value": 135.0, "gain": 40.0, "share": 0.126},
    });
    let expected = [
        "pool     readers",
        "wanted   20 agents, 12 are asked for now",
        "why      from 12 to 20 agents: more replicas: waiting tasks (Up:Backlog)",
        "asked    Backlog 31, Arrivals 9",
        "bounded  by maxReplicas",
        "working  15 of 20 agents take tasks, the others rest",
        "changes  at 2026-01-02T03:09:00Z, though nothing else does until then",
        "advice   cooldownToZero 135 s would save 13 % of what idle agents and cold starts cost",
        "as of    2026-01-02T03:04:06Z",
        "",
        "DECIDED               FROM  TO  PULLING  REASON       WHY",
        "2026-01-02T03:04:05Z  12    20  15       Up:Backlog   from 12 to 20 agents: more replicas: waiting tasks",
        "2026-01-02T03:00:00Z  0     12  12       Up:Foreseen  m",
    ];
    assert_eq!(text(&serde_json::from_value(decided).expect("decisions")), expected.join("\n"));
}

/// What is said of a pool before the table of its last decisions.
fn said(decided: Value) -> String {
    let text = text(&serde_json::from_value(decided).expect("decisions"));
    let (said, _) = text.split_once("\n\n").expect("a table follows");
    said.to_owned()
}

#[test]
fn what_is_decided_now_is_said_and_not_what_changed_last() {
    let held = json!({
        "at": "2026-01-02T03:04:00Z", "from": 3, "to": 3, "pulling": 3, "reason": "Held:Missing",
        "message": "3 agents: held: work, arrivals or pods could not be read",
    });
    let current = json!({
        "at": "2026-01-02T03:04:05Z", "from": 3, "to": 3, "pulling": 2, "reason": "Steady:Kept", "clamp": "Devices",
        "message": "3 agents: as many as before: idle pods will soon be needed again",
        "nextChangeAt": "2026-01-02T03:04:05.5Z",
    });
    let decided = json!({
        "pool": "readers", "mode": "Apply", "desired": 3, "replicas": 3, "at": "2026-01-02T03:04:05Z",
        "current": current, "decisions": [held],
    });
    let said = said(decided);
    for expected in [
        "why      3 agents: as many as before: idle pods will soon be needed again (Steady:Kept)",
        "bounded  by the devices that there are, which other pools want as well",
        "changes  at 2026-01-02T03:04:05.5Z, though nothing else does until then",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("held"), "{said}");
}

#[test]
fn a_change_that_was_to_come_before_is_not_said_to_come() {
    let decision = json!({
        "at": "2026-01-02T01:00:00Z", "from": 1, "to": 3, "pulling": 3, "reason": "Up:Backlog", "message": "m",
        "nextChangeAt": "2026-01-02T01:05:00Z",
    });
    let decided = json!({
        "pool": "readers", "mode": "Apply", "desired": 3, "replicas": 3, "at": "2026-01-02T03:04:05Z",
        "decisions": [decision],
    });
    let said = said(decided);
    assert!(said.contains("why      m (Up:Backlog)") && !said.contains("changes"), "{said}");
}

#[test]
fn a_pool_that_somebody_else_scales_or_that_was_never_changed_is_told_too() {
    let decided = json!({"pool": "readers", "mode": "External", "desired": 1, "replicas": 1, "at": "now"});
    let told = text(&serde_json::from_value(decided).expect("decisions"));
    let expected = "1 agent, and so many are asked for; somebody else decides the number (mode External)";
    assert!(told.contains(expected), "{told}");
    assert!(told.ends_with("No decision has changed anything yet."), "{told}");
}
