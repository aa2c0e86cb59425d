//! What a user asks of a pool's scaling. Knows nothing of what is observed.

use serde::{Deserialize, Serialize};

use crate::tuning::Tuning;

/// More replicas than this are a slip of the pen: no cluster that we know of runs them for one pool.
pub const MOST_REPLICAS: u32 = 100_000;
/// A day, in seconds: longer targets are deadlines, and belong to the pipeline.
pub const LONGEST_WAIT: f64 = 86_400.0;
const MINUTES_A_WEEK: u32 = 7 * 24 * 60;

/// How a pool is to be scaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Never fewer replicas.
    #[serde(default)]
    pub min_replicas: u32,
    /// Never more replicas.
    pub max_replicas: u32,
    /// Plain thresholds in place of the model of work: set them to have nothing learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Thresholds>,
    /// What users are to see.
    #[serde(default)]
    pub target: Target,
    /// Floors under what is learned about how long to wait before a change.
    #[serde(default)]
    pub stabilization: Stabilization,
    /// Seconds without work after which the last replicas go. Absent: learned from the gaps between bursts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_to_zero: Option<f64>,
    /// Start replicas for work that is still with an earlier stage.
    #[serde(default = "yes")]
    pub pre_warm: bool,
    /// Bounds that hold at certain times of the week; they may not overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Window>,
    /// Who owns the number of replicas.
    #[serde(default)]
    pub mode: Mode,
    /// Parts of the decision that may be turned off, to measure what each is worth.
    #[serde(default)]
    pub terms: Terms,
    /// Constants, which the comparison varies.
    #[serde(skip)]
    pub tuning: Tuning,
}

/// Scaling by thresholds alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Thresholds {
    /// Waiting tasks from which on replicas are added.
    pub up_at: u64,
    /// Waiting tasks up to which replicas are taken away.
    pub down_at: u64,
    /// Seconds that the oldest task has waited from which on replicas are added.
    pub wait_up: f64,
    /// Seconds that the oldest task has waited up to which replicas are taken away.
    pub wait_down: f64,
    /// Share of CPU, 0 to 1, from which on replicas are added.
    pub cpu_up: f64,
    /// Share of CPU, 0 to 1, up to which replicas are taken away.
    pub cpu_down: f64,
    /// Replicas added at once.
    pub step_up: u32,
    /// Replicas taken away at once.
    pub step_down: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            up_at: 100,
            down_at: 10,
            wait_up: 5.0,
            wait_down: 0.5,
            cpu_up: 0.8,
            cpu_down: 0.3,
            step_up: 2,
            step_down: 1,
        }
    }
}

/// What users are to see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Target {
    /// Seconds from a task's arrival to the start of its service.
    pub wait: f64,
    /// Share of tasks that start within `wait`.
    pub attainment: f64,
    /// Seconds within which 95 of 100 tasks are done. Absent: the wait alone counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p95: Option<f64>,
    /// Share of slots in use that is not to be exceeded. Absent: as much as the wait allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
}

impl Default for Target {
    fn default() -> Self {
        Self { wait: 5.0, attainment: 0.99, latency_p95: None, utilization: None }
    }
}

/// How much the number of replicas may go to and fro.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Stabilization {
    /// Seconds for which more replicas must have been wanted before they are added.
    pub up: f64,
    /// Seconds for which fewer replicas must have been wanted before any are taken away; what is learned may be longer.
    pub down: f64,
    /// Share of the pool's pod-seconds, 0 to 1, that may be spent on going down less often than is cheapest: beyond twice an
    /// hour, going down after going up is put off for as long as the share pays for the pods that are not needed.
    pub cost_share: f64,
}

/// Bounds at certain times of the week, in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// First minute of the week, Monday 00:00 being 0.
    pub from_minute: u32,
    /// The minute after the last; at most 10080.
    pub to_minute: u32,
    /// In place of `minReplicas`.
    pub min_replicas: u32,
    /// In place of `maxReplicas`.
    pub max_replicas: u32,
}

/// Who owns the number of replicas. The decision is the same for all; acting on it is the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The operator applies decisions.
    #[default]
    Apply,
    /// Decisions are only told.
    Advise,
    /// An HPA, KEDA or a person does.
    External,
}

/// Parts of the decision that may be turned off, to measure what each is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Terms {
    /// Wait with a start until the target could not be met otherwise.
    pub patience: bool,
    /// Let as few replicas pull as the target allows, so that others become idle.
    pub packing: bool,
    /// Keep idle replicas for as long as the pool's own gaps say it pays.
    pub keeping: bool,
    /// Count work in service, not only work that waits.
    pub in_service: bool,
    /// Expect arrivals that are yet to come.
    pub arrivals: bool,
    /// Keep more replicas than the load fills where one that is started when tasks queue comes too late for them.
    pub headroom: bool,
    /// Tighten and loosen by what has been attained.
    pub feedback: bool,
    /// Avoid changes of direction.
    pub damping: bool,
    /// Use the shape of days and weeks where it has been right.
    pub season: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            patience: true,
            packing: true,
            keeping: true,
            in_service: true,
            arrivals: true,
            headroom: true,
            feedback: true,
            damping: true,
            season: true,
        }
    }
}

/// What is wrong with settings; whoever wrote them can fix it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// A number is not one, or outside of what makes sense.
    #[error("\"{field}\" is {value}, and must be {range}")]
    OutOfRange {
        /// The field.
        field: String,
        /// What it holds.
        value: f64,
        /// What it may hold.
        range: &'static str,
    },
    /// Two fields contradict each other.
    #[error("\"{lower}\" ({lower_value}) must not be above \"{upper}\" ({upper_value})")]
    Crossed {
        /// The field that must be lower.
        lower: String,
        /// What it holds.
        lower_value: f64,
        /// The field that must be higher.
        upper: String,
        /// What it holds.
        upper_value: f64,
    },
    /// Two windows hold at the same time.
    #[error("\"schedule[{first}]\" and \"schedule[{second}]\" overlap")]
    Overlap {
        /// Index of a window.
        first: usize,
        /// Index of another.
        second: usize,
    },
}

impl Settings {
    /// Settings with nothing but bounds.
    pub fn between(min_replicas: u32, max_replicas: u32) -> Self {
        Self {
            min_replicas,
            max_replicas,
            queue: None,
            target: Target::default(),
            stabilization: Stabilization::default(),
            cooldown_to_zero: None,
            pre_warm: true,
            schedule: Vec::new(),
            mode: Mode::Apply,
            terms: Terms::default(),
            tuning: Tuning::default(),
        }
    }

    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// Names the first field that is not a number, is out of range, or contradicts another.
    pub fn check(&self) -> Result<(), Invalid> {
        bounds("", self.min_replicas, self.max_replicas)?;
        let target = &self.target;
        within("target.wait", target.wait, 0.001, LONGEST_WAIT, "seconds above 0 and up to a day")?;
        within("target.attainment", target.attainment, 0.5, 0.99999, "from 0.5 to 0.99999")?;
        if let Some(latency) = target.latency_p95 {
            within("target.latencyP95", latency, 0.001, LONGEST_WAIT, "seconds above 0 and up to a day")?;
        }
        if let Some(utilization) = target.utilization {
            within("target.utilization", utilization, 0.05, 1.0, "from 0.05 to 1")?;
        }
        within("stabilization.up", self.stabilization.up, 0.0, 3_600.0, "seconds from 0 to 3600")?;
        within("stabilization.down", self.stabilization.down, 0.0, 3_600.0, "seconds from 0 to 3600")?;
        within("stabilization.costShare", self.stabilization.cost_share, 0.0, 1.0, "from 0 to 1")?;
        if let Some(cooldown) = self.cooldown_to_zero {
            within("cooldownToZero", cooldown, 0.0, LONGEST_WAIT, "seconds from 0 to a day")?;
        }
        self.queue.as_ref().map_or(Ok(()), Thresholds::check)?;
        self.check_schedule()
    }

    fn check_schedule(&self) -> Result<(), Invalid> {
        for (index, window) in self.schedule.iter().enumerate() {
            let field = format!("schedule[{index}].");
            bounds(&field, window.min_replicas, window.max_replicas)?;
            let to = f64::from(window.to_minute);
            within(&format!("{field}toMinute"), to, 1.0, f64::from(MINUTES_A_WEEK), "from 1 to 10080")?;
            if window.from_minute >= window.to_minute {
                return Err(Invalid::Crossed {
                    lower: format!("{field}fromMinute"),
                    lower_value: f64::from(window.from_minute),
                    upper: format!("{field}toMinute"),
                    upper_value: to,
                });
            }
            let overlaps =
                |other: &Window| other.from_minute < window.to_minute && window.from_minute < other.to_minute;
            if let Some(first) = self.schedule[..index].iter().position(overlaps) {
                return Err(Invalid::Overlap { first, second: index });
            }
        }
        Ok(())
    }

    /// The bounds that hold at `now` (seconds since 1970, UTC), and whether a window of the schedule set them.
    pub fn bounds_at(&self, now: f64) -> (u32, u32, bool) {
        // 1970 began on a Thursday, three days after a Monday.
        let minute = ((now / 60.0) as i64 + 3 * 24 * 60).rem_euclid(i64::from(MINUTES_A_WEEK)) as u32;
        self.schedule
            .iter()
            .find(|window| (window.from_minute..window.to_minute).contains(&minute))
            .map_or((self.min_replicas, self.max_replicas, false), |window| {
                (window.min_replicas, window.max_replicas, true)
            })
    }
}

impl Thresholds {
    fn check(&self) -> Result<(), Invalid> {
        within("queue.wait.up", self.wait_up, 0.0, LONGEST_WAIT, "seconds from 0 to a day")?;
        within("queue.wait.down", self.wait_down, 0.0, LONGEST_WAIT, "seconds from 0 to a day")?;
        within("queue.cpu.up", self.cpu_up, 0.0, 1.0, "from 0 to 1")?;
        within("queue.cpu.down", self.cpu_down, 0.0, 1.0, "from 0 to 1")?;
        within("queue.steps.up", f64::from(self.step_up), 1.0, f64::from(MOST_REPLICAS), "at least 1")?;
        within("queue.steps.down", f64::from(self.step_down), 1.0, f64::from(MOST_REPLICAS), "at least 1")?;
        crossed("queue.downAt", self.down_at as f64, "queue.upAt", self.up_at as f64)?;
        crossed("queue.wait.down", self.wait_down, "queue.wait.up", self.wait_up)?;
        crossed("queue.cpu.down", self.cpu_down, "queue.cpu.up", self.cpu_up)
    }
}

fn yes() -> bool {
    true
}

fn bounds(prefix: &str, min: u32, max: u32) -> Result<(), Invalid> {
    let most = f64::from(MOST_REPLICAS);
    within(&format!("{prefix}maxReplicas"), f64::from(max), 1.0, most, "from 1 to 100000")?;
    if min > max {
        return Err(Invalid::Crossed {
            lower: format!("{prefix}minReplicas"),
            lower_value: f64::from(min),
            upper: format!("{prefix}maxReplicas"),
            upper_value: f64::from(max),
        });
    }
    Ok(())
}

/// The lower of two thresholds must be lower: equal ones would add and take away at once.
fn crossed(lower: &str, lower_value: f64, upper: &str, upper_value: f64) -> Result<(), Invalid> {
    if lower_value < upper_value {
        return Ok(());
    }
    Err(Invalid::Crossed { lower: lower.to_owned(), lower_value, upper: upper.to_owned(), upper_value })
}

fn within(field: &str, value: f64, least: f64, most: f64, range: &'static str) -> Result<(), Invalid> {
    // The comparison is false for NaN, so NaN is refused.
    if value >= least && value <= most {
        return Ok(());
    }
    Err(Invalid::OutOfRange { field: field.to_owned(), value, range })
}
