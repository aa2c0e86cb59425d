//! Which document of a backlog is served first.

use serde_json::json;

use crate::support::{Place, changed};

/// One document at a time, so that the order of the results is the order of the work.
const ONE_STAGE: &str = r#"
apiVersion: docket.dev/v1alpha1
kind: AgentPool
metadata: {name: workers}
spec: {concurrency: 1}
---
apiVersion: docket.dev/v1alpha1
kind: Pipeline
metadata: {name: one-stage}
spec:
  suspend: true
  stages:
  - {name: only, pool: workers, transform: {template: "{{ document.id }}"}}
"#;

/// The ids of documents, (id, priority), in the order in which they ended. All wait before the first is worked.
fn order(documents: &[(String, Option<&str>)], change: (&str, &str)) -> Vec<String> {
    let place = Place::new();
    let lines = documents.iter().map(|(id, priority)| match priority {
        Some(priority) => json!({"id": id, "text": id, "priority": priority}).to_string() + "\n",
        None => json!({"id": id, "text": id}).to_string() + "\n",
    });
    place.write("in.jsonl", lines.collect::<String>());
    place.write("pipeline.yaml", changed(ONE_STAGE, &[change]));
    let run = ["run", "-f", "pipeline.yaml", "--input", "in.jsonl", "--format", "jsonl"];
    assert_eq!(place.docket(&run).code(0).lines().len(), 0, "a suspended pipeline works nothing");
    place.write("pipeline.yaml", changed(ONE_STAGE, &[change, ("suspend: true", "suspend: false")]));
    let lines = place.docket(&[&run[..], &["--resume"]].concat()).code(0).lines();
    assert_eq!(lines.len(), documents.len());
    lines.iter().map(|line| line["document"].as_str().expect("an id").to_owned()).collect()
}

fn backlog(count: usize, priority: &'static str) -> impl Iterator<Item = (String, Option<&'static str>)> {
    (0..count).map(move |n| (format!("{priority}-{n:02}"), Some(priority)))
}

const UNCHANGED: (&str, &str) = ("suspend: true", "suspend: true");

#[test]
fn a_critical_document_overtakes_a_backlog_and_no_low_one_starves() {
    let mut documents: Vec<_> = backlog(30, "Low").collect();
    documents.push(("urgent".to_owned(), Some("Critical")));
    assert_eq!(order(&documents, UNCHANGED)[0], "urgent");
    let mut documents: Vec<_> = backlog(60, "Critical").collect();
    documents.push(("patient".to_owned(), Some("Low")));
    let order = order(&documents, UNCHANGED);
    let place = order.iter().position(|id| id == "patient").expect("it ended");
    assert!((1..30).contains(&place), "a Low document was served as number {place}: {order:?}");
}

#[test]
fn each_priority_goes_before_the_next() {
    let classes = ["Low", "Normal", "High", "Critical"];
    let documents: Vec<_> = classes.into_iter().flat_map(|class| backlog(10, class)).collect();
    let order = order(&documents, UNCHANGED);
    let middle = |class: &str| {
        let places = order.iter().enumerate().filter(|(_, id)| id.starts_with(class)).map(|(place, _)| place);
        places.sum::<usize>()
    };
    let sums = classes.map(middle);
    assert!(sums.is_sorted_by(|less_urgent, more_urgent| less_urgent > more_urgent), "{sums:?}: {order:?}");
}

#[test]
fn a_document_without_a_priority_has_the_pipelines() {
    let mut documents: Vec<_> = backlog(10, "High").collect();
    documents.push(("plain".to_owned(), None));
    let critical = ("suspend: true", "suspend: true\n  priorityDefault: Critical");
    assert_eq!(order(&documents, critical)[0], "plain");
    assert_ne!(order(&documents, UNCHANGED)[0], "plain", "Normal comes after High");
}
