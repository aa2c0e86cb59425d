//! How much of its CPU limit this process's group uses, by the kernel's files (cgroup v2, or v1).
//!
//! The limit is the nearest one: of the group itself or of one around it that can be seen. Without a limit there is no share.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where the kernel shows groups.
const ROOT: &str = "/sys/fs/cgroup";
/// The groups of this process.
const OWN: &str = "/proc/self/cgroup";
/// The share is of this time: shorter is noise, longer is late for who scales by it.
const WINDOW: Duration = Duration::from_secs(5);
/// Readings that are kept at most, should somebody ask more often than once a second.
const READINGS: usize = 64;

/// Measures the share between one question and those a few seconds before.
pub struct CpuMeter {
    groups: Vec<Group>,
    readings: Mutex<VecDeque<(Instant, f64)>>,
}

/// The files of a group.
#[derive(Debug, PartialEq)]
pub enum Group {
    /// Version 2: `cpu.max`, `cpu.stat`.
    Two(PathBuf),
    /// Version 1: the folders of the controllers cpu and cpuacct.
    One { cpu: PathBuf, cpuacct: PathBuf },
}

impl CpuMeter {
    /// Of this process.
    pub fn of_this_process() -> Self {
        let own = std::fs::read_to_string(OWN).unwrap_or_default();
        Self::of(groups(Path::new(ROOT), &own))
    }

    /// Of groups, the nearest first.
    pub fn of(groups: Vec<Group>) -> Self {
        Self { groups, readings: Mutex::default() }
    }

    /// Share of the limit that was used over the last seconds, 0 to 1; `None` without a limit, and at first.
    pub fn share(&self) -> Option<f64> {
        // The limit may change while the process runs.
        let (group, limit) = self.groups.iter().find_map(|group| Some((group, group.limit()?)))?;
        self.share_at(Instant::now(), group.used()?, limit)
    }

    /// `used`: CPU seconds since the group began; `limit`: CPUs.
    pub fn share_at(&self, now: Instant, used: f64, limit: f64) -> Option<f64> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is older stays, so that the time measured is never much shorter.
        while readings.len() > READINGS || readings.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            readings.pop_front();
        }
        let share = readings.front().and_then(|(at, before)| {
            let seconds = now.duration_since(*at).as_secs_f64();
            (seconds > 0.0).then(|| ((used - before) / seconds / limit).clamp(0.0, 1.0))
        });
        readings.push_back((now, used));
        share
    }
}

impl Group {
    /// CPUs.
    pub fn limit(&self) -> Option<f64> {
        let (quota, period) = match self {
            Self::Two(folder) => {
                let max = std::fs::read_to_string(folder.join("cpu.max")).ok()?;
                let (quota, period) = max.trim().split_once(' ')?;
                (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?)
            }
            Self::One { cpu, .. } => (number(&cpu.join("cpu.cfs_quota_us"))?, number(&cpu.join("cpu.cfs_period_us"))?),
        };
        // -1 is no limit, as the word "max" is.
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    }

    /// CPU seconds.
    pub fn used(&self) -> Option<f64> {
        match self {
            Self::Two(folder) => {
                let stat = std::fs::read_to_string(folder.join("cpu.stat")).ok()?;
                let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
                Some(used.trim().parse::<f64>().ok()? / 1e6)
            }
            Self::One { cpuacct, .. } => Some(number(&cpuacct.join("cpuacct.usage"))? / 1e9),
        }
    }
}

fn number(file: &Path) -> Option<f64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The groups whose limits concern a process, the nearest first.
pub fn groups(root: &Path, own: &str) -> Vec<Group> {
    // NUMBER:CONTROLLERS:PATH
    let lines = || own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let path_of = |controller: &str| {
        lines().find_map(|(names, path)| names.split(',').any(|name| name == controller).then_some(path))
    };
    let two = lines().find_map(|(names, path)| names.is_empty().then_some(path));
    let two = two.into_iter().flat_map(around).map(|path| Group::Two(below(root, path)));
    // Of one hierarchy alone: otherwise the use would be of another group than the limit.
    let one = path_of("cpu").filter(|path| path_of("cpuacct") == Some(*path));
    let one = one
        .into_iter()
        .flat_map(around)
        .map(|path| Group::One { cpu: below(&root.join("cpu"), path), cpuacct: below(&root.join("cpuacct"), path) });
    two.chain(one).collect()
}

/// A group and those around it. In a container the outer ones are not shown, and its own is shown as the root.
fn around(path: &str) -> impl Iterator<Item = &Path> {
    Path::new(path).ancestors()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}
