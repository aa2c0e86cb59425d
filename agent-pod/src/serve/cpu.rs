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
pub(super) struct CpuMeter {
    groups: Vec<Group>,
    readings: Mutex<VecDeque<(Instant, f64)>>,
}

/// The files of a group.
#[derive(Debug, PartialEq)]
enum Group {
    /// Version 2: `cpu.max`, `cpu.stat`.
    Two(PathBuf),
    /// Version 1: the folders of the controllers cpu and cpuacct.
    One { cpu: PathBuf, cpuacct: PathBuf },
}

impl CpuMeter {
    /// Of this process.
    pub(super) fn of_this_process() -> Self {
        let own = std::fs::read_to_string(OWN).unwrap_or_default();
        Self { groups: groups(Path::new(ROOT), &own), readings: Mutex::default() }
    }

    /// Share of the limit that was used over the last seconds, 0 to 1; `None` without a limit, and at first.
    pub(super) fn share(&self) -> Option<f64> {
        // The limit may change while the process runs.
        let (group, limit) = self.groups.iter().find_map(|group| Some((group, group.limit()?)))?;
        self.share_at(Instant::now(), group.used()?, limit)
    }

    /// `used`: CPU seconds since the group began; `limit`: CPUs.
    fn share_at(&self, now: Instant, used: f64, limit: f64) -> Option<f64> {
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
    fn limit(&self) -> Option<f64> {
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
    fn used(&self) -> Option<f64> {
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
fn groups(root: &Path, own: &str) -> Vec<Group> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, content).expect("a file");
        }
    }

    fn read(root: &Path, own: &str) -> Option<(f64, f64)> {
        groups(root, own).iter().find_map(|group| Some((group.limit()?, group.used()?)))
    }

    #[test]
    fn the_nearest_limit_of_version_two_is_read_with_what_its_group_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let stat = "usage_usec 2500000\nuser_usec 1\n";
        let (own, outer) = ("0::/pods/one\n", [("pods/cpu.max", "400000 100000\n"), ("pods/cpu.stat", stat)]);
        write(folder.path(), &outer);
        write(folder.path(), &[("pods/one/cpu.max", "max 100000\n"), ("pods/one/cpu.stat", "usage_usec 7\n")]);
        assert_eq!(read(folder.path(), own), Some((4.0, 2.5)), "its own is without limit");
        write(folder.path(), &[("pods/one/cpu.max", "150000 100000\n"), ("pods/one/cpu.stat", "usage_usec 500000\n")]);
        assert_eq!(read(folder.path(), own), Some((1.5, 0.5)));
    }

    #[test]
    fn in_a_container_the_root_is_its_own_group() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [
            ("cpu/cpu.cfs_quota_us", "50000\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/cpuacct.usage", "3000000000\n"),
        ];
        write(folder.path(), &files);
        let own = "3:memory:/x\n2:cpu,cpuacct:/kubepods/pod/container\n1:name=systemd:/\n0::/\n";
        assert_eq!(read(folder.path(), own), Some((0.5, 3.0)));
        write(folder.path(), &[("cpu/cpu.cfs_quota_us", "-1\n")]);
        assert_eq!(read(folder.path(), own), None, "no limit");
        assert_eq!(read(folder.path(), "2:cpuacct:/\n1:cpu:/bg\n"), None, "not of one group");
        assert_eq!(read(folder.path(), "nonsense"), None);
    }

    #[test]
    fn the_share_is_of_the_last_seconds() {
        let meter = CpuMeter { groups: Vec::new(), readings: Mutex::default() };
        let begin = Instant::now();
        let at = |second: u64, used: f64| meter.share_at(begin + Duration::from_secs(second), used, 2.0);
        assert_eq!(at(0, 100.0), None, "nothing to compare with");
        assert_eq!(at(1, 101.0), Some(0.5));
        (2..10).for_each(|second| assert!(at(second, 101.0).is_some()));
        assert_eq!(at(10, 101.0), Some(0.0), "what was long ago does not count");
        assert_eq!(at(11, 111.0), Some(1.0), "never more than all of it");
        assert_eq!(meter.share(), None, "without a group");
    }

    #[test]
    fn this_machine_is_read_without_trouble() {
        let meter = CpuMeter::of_this_process();
        meter.share();
        std::thread::sleep(Duration::from_millis(20));
        assert!(meter.share().is_none_or(|share| (0.0..=1.0).contains(&share)));
    }
}
