//! How much memory the process may take: the smallest of what its cgroups (v2 and v1, parents included) and the machine allow.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why the limit is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// For the operator of the machine: `/proc` is not there, or not as on Linux.
    #[error("failed to read the machine's memory from {path:?}")]
    ReadMachine { path: PathBuf, source: io::Error },
}

/// Bytes that the process may take at most.
pub fn limit() -> Result<u64, Error> {
    limit_below(Path::new("/"))
}

/// The same of a system whose root is elsewhere.
pub fn limit_below(root: &Path) -> Result<u64, Error> {
    let path = root.join("proc/meminfo");
    let failed = |source| Error::ReadMachine { path: path.clone(), source };
    let text = fs::read_to_string(&path).map_err(failed)?;
    let machine = total_of(&text).ok_or_else(|| failed(io::Error::other("it has no line MemTotal")))?;
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| limits_of(root, line));
    Ok(limits.fold(machine, u64::min))
}

/// `MemTotal:       16384 kB`
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The limits that a line of `/proc/self/cgroup` leads to: `0::/pod/container` of v2, `7:memory:/pod/container` of v1.
fn limits_of(root: &Path, line: &str) -> Vec<u64> {
    let mut fields = line.splitn(3, ':');
    let (_, Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else { return Vec::new() };
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let top = root.join(top);
    // In a container the group's own folder may be what is mounted at the top.
    let own = top.join(group.trim_start_matches('/'));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(&top));
    // `max`, and the largest number of v1, are no limits.
    let read = |folder: &Path| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    folders.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders are made");
            fs::write(path, text).expect("files are written");
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       4096 kB\nMemFree: 1 kB\n");

    fn check(files: &[(&str, &str)], expected: u64) {
        let root = system(&[&[MACHINE], files].concat());
        assert_eq!(limit_below(root.path()).expect("the machine has memory"), expected, "{files:?}");
    }

    #[test]
    fn the_smallest_limit_of_a_group_and_those_above_it_counts() {
        let v2 = ("proc/self/cgroup", "0::/pods/one\n");
        check(&[], 4096 * 1024);
        check(&[v2, ("sys/fs/cgroup/pods/one/memory.max", "max\n")], 4096 * 1024);
        check(&[v2, ("sys/fs/cgroup/pods/one/memory.max", "max\n"), ("sys/fs/cgroup/pods/memory.max", "2000\n")], 2000);
        check(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "3000\n")], 3000);
        let v1 = ("proc/self/cgroup", "9:cpu,cpuacct:/x\n7:memory:/pods/one\n0::/\n");
        check(&[v1, ("sys/fs/cgroup/memory/pods/one/memory.limit_in_bytes", "1000\n")], 1000);
        check(&[v1, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")], 4096 * 1024);
    }

    #[test]
    fn a_machine_that_says_nothing_is_an_error() {
        assert!(limit_below(system(&[]).path()).is_err());
        assert!(limit_below(system(&[("proc/meminfo", "MemFree: 1 kB\n")]).path()).is_err());
    }
}
