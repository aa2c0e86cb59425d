//! Writes outcomes down: tables for people, JSON for machines, Markdown for the documentation. Knows not how they came about.

use std::{collections::BTreeSet, fmt::Write};

use super::{
    bench::{Comparison, Row},
    outcome::Outcome,
    variations::{self, Elsewhere},
};

/// Outcomes of policies on one trace.
#[derive(Clone, Debug)]
pub struct Results {
    /// The trace.
    pub trace: String,
    /// Policies by name, in the order in which they were asked for.
    pub policies: Vec<(String, Outcome)>,
}

/// A table for each trace.
pub fn table(results: &[Results]) -> String {
    let mut text = String::new();
    for result in results {
        let _ = writeln!(
            text,
            "{}\n{:<14} {:>9} {:>8} {:>8} {:>8} {:>12} {:>7} {:>8} {:>8} {:>7} {:>9}",
            result.trace,
            "policy",
            "attained",
            "p50 s",
            "p95 s",
            "p99 s",
            "pod-seconds",
            "starts",
            "changes",
            "turns/h",
            "broken",
            "at zero s"
        );
        for (name, of) in &result.policies {
            let _ = writeln!(
                text,
                "{:<14} {:>8.3}% {:>8.1} {:>8.1} {:>8.1} {:>12.0} {:>7.0} {:>8.0} {:>8.2} {:>7.1} {:>9.0}",
                name,
                of.slo_attainment * 100.0,
                of.wait_p50,
                of.wait_p95,
                of.wait_p99,
                of.pod_seconds,
                of.cold_starts,
                of.changes,
                of.reversals_per_hour,
                of.interrupted,
                of.time_at_zero
            );
        }
        text.push('\n');
    }
    text
}

/// `{trace: {policy: {slo_attainment, …}}}`.
pub fn json(results: &[Results]) -> String {
    let by_trace: serde_json::Map<String, serde_json::Value> = results
        .iter()
        .map(|result| {
            let policies = result.policies.iter().map(|(name, outcome)| (name.clone(), serde_json::json!(outcome)));
            (result.trace.clone(), serde_json::Value::Object(policies.collect()))
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Object(by_trace))
}

/// The comparison as Markdown: the goal row by row, every rival, what each part is worth, and faults.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.missing.is_empty() {
        let _ = writeln!(text, "Traces that were not there and are left out: {}.\n", comparison.missing.join(", "));
    }
    summary(&mut text, &comparison.rows);
    goals(&mut text, &comparison.rows);
    parts(&mut text, &comparison.rows);
    constants(&mut text, &comparison.rows);
    faults(&mut text, &comparison.rows);
    everything(&mut text, &comparison.rows);
    text
}

fn summary(text: &mut String, rows: &[Row]) {
    let met = rows.iter().filter(|row| row.met() == Some(true)).count();
    let cheaper = rows.iter().filter(|row| cheaper(row)).count();
    let judged = rows.iter().filter(|row| row.met().is_some()).count();
    let our = || rows.iter().filter_map(|row| Some((row.slo, &row.our()?.outcome)));
    let calm = our().filter(|(_, outcome)| outcome.reversals_per_hour <= 4.0).count();
    let median = |slo: Option<f64>, of: fn(&Outcome) -> f64| {
        let mut values: Vec<f64> =
            our().filter(|(other, _)| slo.is_none_or(|slo| slo == *other)).map(|(_, outcome)| of(outcome)).collect();
        values.sort_by(f64::total_cmp);
        super::outcome::quantile(&values, 0.5)
    };
    let mut slos: Vec<f64> = rows.iter().map(|row| row.slo).collect();
    slos.dedup();
    let by_slo: Vec<String> = slos
        .iter()
        .map(|&slo| format!("{:.1} at {slo} s", median(Some(slo), |outcome| outcome.reversals_per_hour)))
        .collect();
    let interrupted: f64 = our().map(|(_, outcome)| outcome.interrupted).sum();
    let _ = writeln!(
        text,
        "Goal met in {met} of {judged} rows; cheaper than the cheapest rival at no lower attainment in {cheaper} of {judged}. \
         Documents interrupted by ours: {interrupted}. Changes of direction an hour of ours: {:.1} in the median row ({}), and \
         {:.1} in the median hour of the median row; at most 4 in {calm} rows. Of the clairvoyant plan {:.1} in the median row.\n",
        median(None, |outcome| outcome.reversals_per_hour),
        by_slo.join(", "),
        median(None, |outcome| outcome.reversals_median_hour),
        clairvoyant_turns(rows)
    );
}

/// Changes of direction an hour of the clairvoyant plan in the median row.
fn clairvoyant_turns(rows: &[Row]) -> f64 {
    let mut turns: Vec<f64> = rows.iter().map(|row| row.clairvoyant_turns).collect();
    turns.sort_by(f64::total_cmp);
    super::outcome::quantile(&turns, 0.5)
}

fn cheaper(row: &Row) -> bool {
    row.rival().zip(row.our()).is_some_and(|(rival, our)| {
        our.outcome.slo_attainment >= rival.outcome.slo_attainment
            && our.outcome.pod_seconds < rival.outcome.pod_seconds
    })
}

fn goals(text: &mut String, rows: &[Row]) {
    text.push_str(
        "### Against the cheapest rival\n\n\
         | SLO s | slots | trace | C | its turns/h | rival | its attainment | R | goal | ours | our attainment | ours against R | turns/h | hasty | met |\n\
         | ---: | ---: | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for row in rows {
        let Some(our) = row.our() else { continue };
        let (name, attained, cost, goal, against) = match (row.rival(), row.goal()) {
            (Some(rival), Some(goal)) => {
                let share = our.outcome.pod_seconds / rival.outcome.pod_seconds - 1.0;
                let name = format!("{} ({})", rival.name, how(&rival.settings));
                let against = format!("{:+.1} %", share * 100.0);
                (name, percent(rival.outcome.slo_attainment), whole(rival.outcome.pod_seconds), whole(goal), against)
            }
            _ => ("none attains 99 %".to_owned(), String::new(), String::new(), String::new(), String::new()),
        };
        let met = match row.met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {name} | {attained} | {cost} | {goal} | {} | {} | {against} | {:.1} | {:.1} | {met} |",
            row.slo,
            row.slots,
            row.trace,
            whole(row.clairvoyant),
            row.clairvoyant_turns,
            whole(our.outcome.pod_seconds),
            percent(our.outcome.slo_attainment),
            our.outcome.reversals_per_hour,
            our.outcome.hasty_reversals
        );
    }
}

fn parts(text: &mut String, rows: &[Row]) {
    text.push_str(
        "\n### What each part is worth\n\nPod-seconds without the part over those with all parts, and the change of late tasks in \
         points, seed 1: mean over rows, the least and the most.\n\n\
         | without | pod-seconds | least | most | late, points |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    let names: Vec<&str> =
        rows.first().map_or(Vec::new(), |row| row.without.iter().map(|entry| entry.name.as_str()).collect());
    for (index, name) in names.iter().enumerate().skip(1) {
        let pairs =
            || rows.iter().filter_map(|row| Some((&row.without.first()?.outcome, &row.without.get(index)?.outcome)));
        let mut costs: Vec<f64> = pairs().map(|(all, without)| without.pod_seconds / all.pod_seconds - 1.0).collect();
        let late: Vec<f64> = pairs().map(|(all, without)| all.slo_attainment - without.slo_attainment).collect();
        costs.sort_by(f64::total_cmp);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64 * 100.0;
        let end = |value: Option<&f64>| value.copied().unwrap_or(0.0) * 100.0;
        let _ = writeln!(
            text,
            "| {name} | {:+.1} % | {:+.1} % | {:+.1} % | {:+.2} |",
            mean(&costs),
            end(costs.first()),
            end(costs.last()),
            mean(&late)
        );
    }
}

fn constants(text: &mut String, rows: &[Row]) {
    text.push_str(
        "\n### Constants chosen on the other traces\n\nOf fourteen sets of constants, those that are best on all other traces of the \
         column, as rivals' settings are chosen, and what they change here: pod-seconds, and late tasks in points; promise 0.99, \
         seed 1. Traces on which no set attains 99 % have no say.\n\n",
    );
    let mut columns: Vec<(f64, u32)> = rows.iter().map(|row| (row.slo, row.slots)).collect();
    columns.dedup();
    let heads: Vec<String> = columns.iter().map(|(slo, slots)| format!(" {slo} s, {slots} slots |")).collect();
    let _ = writeln!(text, "| trace |{}\n| --- |{}", heads.concat(), " --- |".repeat(columns.len()));
    let mut told = BTreeSet::new();
    for trace in rows.iter().map(|row| &row.trace).filter(|trace| told.insert(*trace)) {
        let cell = |(slo, slots): &(f64, u32)| {
            let row = rows.iter().find(|row| row.trace == *trace && row.slo == *slo && row.slots == *slots);
            match row.and_then(|row| row.elsewhere.as_ref()) {
                None => " |".to_owned(),
                Some(Elsewhere { name, .. }) if *name == variations::ALL[0].0 => format!(" {name} |"),
                Some(Elsewhere { name, cost, late }) => {
                    format!(" {name}: {:+.1} %, {:+.2} points |", (cost - 1.0) * 100.0, late * 100.0)
                }
            }
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        let _ = writeln!(text, "| {trace} |{}", cells.concat());
    }
}

fn faults(text: &mut String, rows: &[Row]) {
    text.push_str(
        "\n### Faults\n\nLate tasks of ours, in per cent: without the fault and with it (seed 1); rows in which they are more than \
         twice as many and more than one in a thousand, and further rows in which they are more than twice as many; and rows \
         that attain 99 % without the fault and not with it.\n\n\
         | fault | without | with | rows above twice | few, above twice | below 99 % |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let names: Vec<&str> =
        rows.first().map_or(Vec::new(), |row| row.faults.iter().map(|fault| fault.0.as_str()).collect());
    for (index, name) in names.iter().enumerate() {
        let of = || rows.iter().filter_map(|row| row.faults.get(index));
        let count = of().count().max(1) as f64;
        let mean = |value: fn(&(String, f64, f64, f64)) -> f64| of().map(value).sum::<f64>() / count * 100.0;
        let above = of().filter(|fault| above_twice(fault)).count();
        let few = of().filter(|fault| fault.1 > 2.0 * fault.2 && !above_twice(fault)).count();
        let below = of().filter(|fault| fault.2 <= 0.01 && fault.1 > 0.01).count();
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {above} of {count} | {few} | {below} |",
            mean(|fault| fault.2),
            mean(|fault| fault.1)
        );
    }
    text.push_str(
        "\nThe rows above twice, in tasks:\n\n| fault | SLO s | slots | trace | tasks | late without | late with |\n\
         | --- | ---: | ---: | --- | ---: | ---: | ---: |\n",
    );
    for name in names {
        for row in rows {
            let Some(fault) = row.faults.iter().find(|fault| fault.0 == name && above_twice(fault)) else { continue };
            let late = |share: f64| whole(share * row.tasks as f64);
            let (without, with) = (late(fault.2), late(fault.1));
            let (slo, slots, tasks) = (row.slo, row.slots, whole(row.tasks as f64));
            let _ = writeln!(text, "| {name} | {slo} | {slots} | {} | {tasks} | {without} | {with} |", row.trace);
        }
    }
}

/// Whether a fault makes more than twice as many tasks late, and more than one in a thousand.
fn above_twice(fault: &(String, f64, f64, f64)) -> bool {
    fault.1 > 2.0 * fault.2 && fault.1 > 0.001
}

fn everything(text: &mut String, rows: &[Row]) {
    text.push_str(
        "\n### Every run\n\n\
         | SLO s | slots | trace | policy | settings | attainment | p99 wait s | pod-seconds | starts | turns/h | interrupted |\n\
         | ---: | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        for entry in row.ours.iter().chain(&row.rivals) {
            let of = &entry.outcome;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {:.1} | {} | {:.0} | {:.1} | {:.1} |",
                row.slo,
                row.slots,
                row.trace,
                entry.name,
                entry.settings,
                percent(of.slo_attainment),
                of.wait_p99,
                whole(of.pod_seconds),
                of.cold_starts,
                of.reversals_per_hour,
                of.interrupted
            );
        }
    }
}

fn how(settings: &str) -> &str {
    settings.split(':').next().unwrap_or(settings)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Whole numbers with commas between thousands.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
