//! A pool's `scaling` as the settings that a decision is made by. Pure.

use crds::{Scaling, ScalingMode, ScheduledBounds, Span};
use scaler::{Invalid, Mode, Settings, Stabilization, Target, Terms, Thresholds, Tuning, Window};

const MINUTES_A_DAY: u32 = 24 * 60;
const MINUTES_A_WEEK: u32 = 7 * MINUTES_A_DAY;

/// What a pool's `scaling` asks for.
///
/// # Errors
/// Names the field below `scaling` that is out of range or contradicts another, where the schema could not.
pub fn of(scaling: &Scaling) -> Result<Settings, Invalid> {
    // Each entry of the schedule is several windows, one a day; what is wrong is said of the entry.
    let mut windows = Vec::new();
    for (entry, bounds) in scaling.schedule.iter().enumerate() {
        windows.extend(of_week(bounds).into_iter().map(|window| (entry, window)));
    }
    let settings = Settings {
        min_replicas: scaling.min_replicas,
        max_replicas: scaling.max_replicas,
        queue: scaling.queue.as_ref().map(|queue| Thresholds {
            up_at: queue.up_at.into(),
            down_at: queue.down_at.into(),
            wait_up: seconds(queue.wait.up),
            wait_down: seconds(queue.wait.down),
            cpu_up: queue.cpu.up,
            cpu_down: queue.cpu.down,
            step_up: queue.steps.up,
            step_down: queue.steps.down,
        }),
        target: Target {
            wait: seconds(scaling.target.wait),
            attainment: scaling.target.attainment,
            latency_p95: scaling.target.latency_p95.map(seconds),
            utilization: scaling.target.utilization,
        },
        stabilization: Stabilization {
            up: seconds(scaling.stabilization.up),
            down: seconds(scaling.stabilization.down),
            cost_share: scaling.stabilization.cost_share,
        },
        cooldown_to_zero: scaling.cooldown_to_zero.map(seconds),
        pre_warm: scaling.pre_warm,
        schedule: windows.iter().map(|(_, window)| window.clone()).collect(),
        mode: match scaling.mode {
            ScalingMode::Apply => Mode::Apply,
            ScalingMode::Advise => Mode::Advise,
            ScalingMode::External => Mode::External,
        },
        terms: Terms::default(),
        tuning: Tuning::default(),
    };
    let entry = |window: usize| windows.get(window).map_or(window, |(entry, _)| *entry);
    match settings.check() {
        Err(Invalid::Overlap { first, second }) => Err(Invalid::Overlap { first: entry(first), second: entry(second) }),
        checked => checked.map(|()| settings),
    }
}

fn seconds(span: Span) -> f64 {
    span.0.as_secs_f64()
}

/// The minutes of the week in which these bounds hold; a night from Sunday to Monday is two parts of it.
fn of_week(bounds: &ScheduledBounds) -> Vec<Window> {
    let (from, to) = (minute(&bounds.from), minute(&bounds.to));
    let length = if to > from { to - from } else { to + MINUTES_A_DAY - from };
    let window = |from_minute: u32, to_minute: u32| Window {
        from_minute,
        to_minute,
        min_replicas: bounds.min_replicas,
        max_replicas: bounds.max_replicas,
    };
    let of_day = |day: &crds::Weekday| {
        let begin = *day as u32 * MINUTES_A_DAY + from;
        let end = begin + length;
        if end <= MINUTES_A_WEEK {
            vec![window(begin, end)]
        } else {
            vec![window(begin, MINUTES_A_WEEK), window(0, end - MINUTES_A_WEEK)]
        }
    };
    bounds.days.iter().flat_map(of_day).collect()
}

/// The minute of the day of a text such as `07:30`; the schema lets no other text through.
fn minute(text: &str) -> u32 {
    let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok()).unwrap_or_default();
    let mut parts = text.split(':');
    (number(parts.next()) * 60 + number(parts.next())).min(MINUTES_A_DAY)
}
