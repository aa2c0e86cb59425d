//! Draws pods against demand, as one page without anything from elsewhere. Knows not how runs go.

use std::fmt::Write;

use super::outcome::Outcome;

const WIDTH: f64 = 1_100.0;
const HEIGHT: f64 = 160.0;
/// Points beyond this cannot be told apart on the page.
const POINTS: usize = 1_100;

/// The course of one policy on one trace.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The trace.
    pub trace: String,
    /// The policy.
    pub policy: String,
    /// What came of it.
    pub outcome: Outcome,
    /// (seconds, waiting tasks and tasks in work, pods).
    pub course: Vec<(f64, u64, u32)>,
}

/// The page.
pub fn page(drawn: &[Drawn], slots: u32) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Pods against demand</title>\n\
         <style>body{font:14px system-ui,sans-serif;margin:2em;max-width:1120px}svg{background:#fafafa;display:block}\
         .demand{fill:#cfe3f7}.pods{fill:none;stroke:#b3261e;stroke-width:1.5}p{margin:.2em 0 1.5em;color:#444}</style>\n\
         <h1>Pods against demand</h1>\n<p>Blue: waiting tasks and tasks in work, in pods that would hold them. Red: pods, \
         starting ones included.</p>\n",
    );
    for one in drawn {
        let of = &one.outcome;
        let _ =
            writeln!(page, "<h3>{}: {}</h3>\n{}", escaped(&one.trace), escaped(&one.policy), chart(&one.course, slots));
        let _ = writeln!(
            page,
            "<p>{:.2} % started in time, {:.0} pod-seconds, {:.0} starts, {:.2} changes of direction an hour, {:.0} \
             interrupted</p>",
            of.slo_attainment * 100.0,
            of.pod_seconds,
            of.cold_starts,
            of.reversals_per_hour,
            of.interrupted
        );
    }
    page.push_str("</html>\n");
    page
}

fn chart(course: &[(f64, u64, u32)], slots: u32) -> String {
    let end = course.last().map_or(1.0, |last| last.0).max(1.0);
    let (demand, pods) = columns(course, end, slots);
    let top = demand.iter().chain(&pods).copied().fold(1.0, f64::max);
    let x = |index: usize| index as f64 * WIDTH / POINTS as f64;
    let y = |value: f64| HEIGHT - value / top * (HEIGHT - 8.0);
    let mut area = format!("M0 {HEIGHT}");
    let mut line = format!("M0 {HEIGHT}");
    for index in 0..POINTS {
        let _ = write!(area, "L{:.1} {:.1}", x(index), y(demand[index]));
        let _ = write!(line, "L{:.1} {:.1}H{:.1}", x(index), y(pods[index]), x(index + 1));
    }
    let _ = write!(area, "L{WIDTH} {HEIGHT}Z");
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\
         <path class=\"demand\" d=\"{area}\"/><path class=\"pods\" d=\"{line}\"/>\
         <text x=\"4\" y=\"14\">{top:.0} pods</text><text x=\"{:.0}\" y=\"14\" text-anchor=\"end\">{:.1} h</text></svg>",
        WIDTH - 4.0,
        end / 3_600.0
    )
}

/// The most of each column of the picture.
fn columns(course: &[(f64, u64, u32)], end: f64, slots: u32) -> (Vec<f64>, Vec<f64>) {
    let (mut demand, mut pods) = (vec![0.0_f64; POINTS], vec![0.0_f64; POINTS]);
    for (index, &(from, tasks, replicas)) in course.iter().enumerate() {
        let until = course.get(index + 1).map_or(end, |next| next.0);
        let column = |at: f64| ((at / end * POINTS as f64) as usize).min(POINTS - 1);
        for place in column(from)..=column(until) {
            demand[place] = demand[place].max(tasks as f64 / f64::from(slots.max(1)));
            pods[place] = pods[place].max(f64::from(replicas));
        }
    }
    (demand, pods)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
