//! `docket explain pool`: how many agents a pool is to have, what decided it, what bounds it, and when it may change.

use std::process::ExitCode;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;

use super::connection::Connection;
use crate::{
    Error, Result,
    args::{Format, StatsArguments},
    commands::{print, run::summary::one_line, table},
};

/// What the operator tells of a pool. What a version leaves out is not told.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Decided {
    pool: String,
    mode: String,
    desired: u64,
    replicas: u64,
    at: String,
    /// What was decided then.
    current: Option<Decision>,
    decisions: Vec<Decision>,
    recommendation: Option<Recommendation>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Decision {
    at: String,
    from: u64,
    to: u64,
    pulling: u64,
    reason: String,
    message: String,
    terms: Vec<Term>,
    clamp: Option<String>,
    next_change_at: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Term {
    term: String,
    replicas: u64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Recommendation {
    field: String,
    value: f64,
    share: f64,
}

/// Prints what was decided for a pool.
pub(in crate::commands) async fn explain_pool(pool: &str, arguments: StatsArguments) -> Result<ExitCode> {
    let connection = Connection::to(&arguments.gateway, arguments.token.as_deref(), &arguments.tls)?;
    let path = ["v1", "pools", pool, "explain"];
    let told = connection.ask(|| connection.request(Method::GET, &path, &[])).await??;
    match arguments.format {
        Format::Json | Format::Jsonl => print(&told.to_string()),
        Format::Table => {
            let decided = serde_json::from_value(told);
            print(&text(&decided.map_err(Error::system("read what the gateway says of the pool"))?));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was decided of a pool, in sentences.
pub fn text(decided: &Decided) -> String {
    let mut lines = vec![format!("pool     {}", decided.pool), format!("wanted   {}", wanted(decided))];
    // An operator of before says no more than what it has told last.
    if let Some(current) = decided.current.as_ref().or(decided.decisions.first()) {
        lines.push(format!("why      {} ({})", one_line(&current.message), current.reason));
        let terms: Vec<String> = current.terms.iter().map(|term| format!("{} {}", term.term, term.replicas)).collect();
        if !terms.is_empty() {
            lines.push(format!("asked    {}", terms.join(", ")));
        }
        if let Some(clamp) = &current.clamp {
            lines.push(format!("bounded  by {}", bound(clamp)));
        }
        let pulling = match current.pulling {
            pulling if pulling >= current.to => "all agents take tasks".to_owned(),
            pulling => format!("{pulling} of {} take tasks, the others rest", agents(current.to)),
        };
        lines.push(format!("working  {pulling}"));
        match &current.next_change_at {
            Some(time) if is_after(time, &decided.at) => {
                lines.push(format!("changes  at {time}, though nothing else does until then"));
            }
            Some(_) => {}
            None => lines.push("changes  only when the work does".to_owned()),
        }
    }
    if let Some(Recommendation { field, value, share }) = &decided.recommendation {
        let percent = share * 100.0;
        lines.push(format!(
            "advice   {field} {value} s would save {percent:.0} % of what idle agents and cold starts cost"
        ));
    }
    lines.push(format!("as of    {}", decided.at));
    lines.push(String::new());
    if decided.decisions.is_empty() {
        lines.push("No decision has changed anything yet.".to_owned());
        return lines.join("\n");
    }
    let row = |decision: &Decision| {
        let numbers = [decision.from, decision.to, decision.pulling].map(|number| number.to_string());
        [vec![decision.at.clone()], numbers.to_vec(), vec![decision.reason.clone(), one_line(&decision.message)]]
            .concat()
    };
    let rows: Vec<Vec<String>> = decided.decisions.iter().map(row).collect();
    lines.push(table(&["DECIDED", "FROM", "TO", "PULLING", "REASON", "WHY"], &rows));
    lines.join("\n")
}

/// Whether a time is after another one; what is no time is not.
fn is_after(time: &str, at: &str) -> bool {
    let times = (time.parse::<Timestamp>(), at.parse::<Timestamp>());
    matches!(times, (Ok(time), Ok(at)) if time > at)
}

/// What is wanted, what there is, and whose word counts.
fn wanted(decided: &Decided) -> String {
    let wanted = agents(decided.desired);
    let there = match decided.replicas {
        replicas if replicas == decided.desired => "and so many are asked for".to_owned(),
        replicas => format!("{replicas} are asked for now"),
    };
    let owner = match decided.mode.as_str() {
        "Advise" => "; the autoscaler only says so (mode Advise)",
        "External" => "; somebody else decides the number (mode External)",
        _ => "",
    };
    format!("{wanted}, {there}{owner}")
}

fn agents(number: u64) -> String {
    if number == 1 { "1 agent".to_owned() } else { format!("{number} agents") }
}

/// What holds the number, in the words of the pool's fields.
fn bound(clamp: &str) -> &str {
    match clamp {
        "Minimum" => "minReplicas",
        "Maximum" => "maxReplicas",
        "ScheduledMinimum" => "the least that the schedule says for now",
        "ScheduledMaximum" => "the most that the schedule says for now",
        "BusyPods" => "the agents that work: none of them is taken away",
        "Reversal" => "the last step the other way, which was a short time ago",
        "Stabilization" => "the stabilization time",
        "Cooldown" => "cooldownToZero",
        "Devices" => "the devices that there are, which other pools want as well",
        other => other,
    }
}
