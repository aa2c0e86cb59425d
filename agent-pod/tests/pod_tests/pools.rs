//! What a pool may do at once, by its profile and by its own fields, and what it runs on.

use std::{
    collections::BTreeSet,
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::support::{Place, changed};

const READERS: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: readers}
spec: {}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: pages}
spec:
  stages:
  - {name: read, pool: readers, parse: {}}
"#;

#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_that_is_not_there_is_an_error() {
    let place = Place::new();
    place.write("a.txt", "text");
    for (pool, code) in [("{device: {kind: Gpu}}", 2), ("{device: {kind: Cpu}}", 0), ("{device: {}}", 0)] {
        place.write("pipeline.yaml", changed(READERS, &[("spec: {}", &format!("spec: {pool}"))]));
        let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]).code(code);
        assert_eq!(ran.stderr.contains("device.kind Gpu"), code == 2, "{}", ran.stderr);
    }
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_run_goes_on_without_a_gpu_where_its_pools_say_so_and_says_it_once() {
    let place = Place::new();
    place.write("a.txt", "text");
    let pool = "{device: {kind: Gpu, fallback: Cpu}}";
    place.write("pipeline.yaml", changed(READERS, &[("spec: {}", &format!("spec: {pool}"))]));
    let ran = place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt", "--format", "json"]).code(0);
    assert_eq!(ran.stderr.matches("the models run on the CPU, as device.fallback says").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("cargo feature cuda"), "and why: {}", ran.stderr);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a summary");
    assert_eq!((&summary["engine"]["device"], &summary["documents"]["succeeded"]), (&"Cpu".into(), &1.into()));
    // The pool of another pipeline of the process that does not say so decides.
    let both = format!(
        "{}---\napiVersion: docket.dev/v1alpha1\nkind: AgentPool\nmetadata: {{name: strict}}\nspec: {{device: {{kind: Gpu}}}}\n",
        changed(
            READERS,
            &[
                ("spec: {}", &format!("spec: {pool}")),
                (
                    "pool: readers, parse: {}}",
                    "pool: readers, parse: {}}\n  - {name: again, pool: strict, after: [read], transform: {template: x}}"
                )
            ]
        )
    );
    place.write("pipeline.yaml", both);
    place.docket(&["run", "-f", "pipeline.yaml", "--input", "a.txt"]).code(2);
}

/// A run over pages, each parsed in a process of its own: those processes show how many are in work.
struct Pages {
    _place: Place,
    docket: Child,
}

impl Pages {
    fn start(pool: &str, documents: u32) -> Self {
        let place = Place::new();
        let pool = format!("spec: {pool}");
        place.write("pipeline.yaml", changed(READERS, &[("spec: {}", &pool)]));
        for n in 0..documents {
            let page =
                format!("<html><body><p>{}</p></body></html>", format!("Some <b>words</b> for {n}. ").repeat(20_000));
            place.write(&format!("in/{n:02}.html"), page);
        }
        let mut command = place.command(&["run", "-f", "pipeline.yaml", "--input", "in"]);
        let docket = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("docket starts");
        Self { _place: place, docket }
    }

    /// The parsers that are running or stopped now. A process that has not become one yet has its parent's command line.
    fn parsers(&self) -> BTreeSet<u32> {
        let processes =
            fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        processes.filter(|&process| self.is_parser(process).unwrap_or(false)).collect()
    }

    fn is_parser(&self, process: u32) -> Option<bool> {
        // After the name in brackets: state, then the parent.
        let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = status.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?);
        let is_child = parent == self.docket.id().to_string() && state != "Z";
        Some(is_child && fs::read_to_string(format!("/proc/{process}/cmdline")).ok()?.contains("parse-child"))
    }

    /// Stops every parser until `count` stand still together, lets one go and waits for the next; the most that there were.
    /// `None` where all pages were parsed before that was seen: a busy machine may hold up who stops them.
    fn most_at_once(mut self, count: usize) -> Option<usize> {
        let begun = Instant::now();
        let mut most = 0;
        let mut at_count: Option<BTreeSet<u32>> = None;
        loop {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "there were never {count} parsers at once, at most {most}"
            );
            if let Some(ended) = self.docket.try_wait().expect("its state") {
                assert_eq!(ended.code(), Some(0));
                assert!(most <= count, "{most} parsers at once, not {count}");
                return None;
            }
            let parsers = self.parsers();
            most = most.max(parsers.len());
            match &at_count {
                None => {
                    parsers.iter().for_each(|&parser| signal("STOP", parser));
                    if parsers.len() >= count {
                        parsers.first().into_iter().for_each(|&first| signal("CONT", first));
                        at_count = Some(parsers);
                    }
                }
                Some(before) if !parsers.is_subset(before) => break,
                Some(_) => {}
            }
            thread::sleep(Duration::from_millis(1));
        }
        while self.docket.try_wait().expect("its state").is_none() {
            let parsers = self.parsers();
            most = most.max(parsers.len());
            parsers.iter().for_each(|&parser| signal("CONT", parser));
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.docket.wait().expect("it ended").code(), Some(0));
        Some(most)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // It may have ended; its parsers end when it closes their pipes, once they run again.
        let _ = self.docket.kill();
        self.parsers().iter().for_each(|&parser| signal("KILL", parser));
        let _ = self.docket.wait();
    }
}

/// The process may have ended.
fn signal(name: &str, process: u32) {
    let mut kill = Command::new("kill");
    let _ = kill.args([format!("-{name}"), process.to_string()]).stderr(Stdio::null()).status();
}

/// So many documents are worked at once, and no more, of some more than that.
#[track_caller]
fn assert_at_once(pool: &str, documents: u32, count: usize) {
    let most = (0..5).find_map(|_| Pages::start(pool, documents).most_at_once(count));
    assert_eq!(most, Some(count), "{pool}");
}

#[test]
fn a_pool_works_as_many_documents_at_once_as_its_profile_says() {
    for (profile, at_once) in [("{}", 8), ("{profile: LowMemory}", 2), ("{profile: HighThroughput}", 16)] {
        assert_at_once(profile, at_once + 6, at_once as usize);
    }
}

#[test]
fn concurrency_overrides_the_profile() {
    assert_at_once("{profile: LowMemory, concurrency: 4}", 10, 4);
    assert_at_once("{concurrency: 1}", 5, 1);
}
