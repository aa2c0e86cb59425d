//! The share of its CPU limit that a process uses, by files as the kernel writes them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use agent_pod::serve::cpu::{CpuMeter, groups};

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
    let meter = CpuMeter::of(Vec::new());
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
