//! What the files of a namespace's gateway have room for: no pipeline keeps the others from what is written of them.

use std::collections::BTreeMap;

use crate::{
    namespace::{files, namespace, spec_of, stage},
    support::{config, pipeline},
};
use crds::{PipelineSpec, file};
use k8s_openapi::jiff::Timestamp;
use operator::{
    condition::State,
    namespace::{
        Gathered,
        room::{Candidate, Fitting, ROOM, fitting},
    },
    pipeline::{
        dereference::{Found, Gateway, plan, with_room},
        status::after,
    },
};
use serde_json::json;

/// As long as a prompt may be.
const LONGEST: usize = 64 * 1024;

/// A pipeline with a prompt of so many bytes.
fn prompting(bytes: usize) -> PipelineSpec {
    spec_of(&stage("readers", &"x".repeat(bytes)))
}

/// What there is room for of pipelines: as they are written, and as they are served.
fn chosen(pipelines: &[(&str, Option<PipelineSpec>, Option<PipelineSpec>)]) -> Fitting {
    let candidate = |(name, written, now): &(&str, Option<PipelineSpec>, Option<PipelineSpec>)| {
        let candidate = Candidate { written: written.clone(), now: now.clone(), ..Candidate::default() };
        ((*name).to_owned(), candidate)
    };
    fitting(&pipelines.iter().map(candidate).collect(), &namespace(&[]).pools)
}

#[test]
fn of_pipelines_that_do_not_all_fit_those_behind_by_name_are_left_out_and_told_why() {
    let names: Vec<String> = (0..20).map(|number| format!("prompts-{number:02}")).collect();
    let new: Vec<_> = names.iter().map(|name| (name.as_str(), Some(prompting(LONGEST)), None)).collect();
    let Fitting { pipelines, left_out, .. } = chosen(&new);
    assert!(pipelines.keys().eq(&names[..15]), "{:?}", pipelines.keys());
    assert!(left_out.keys().eq(&names[15..]), "{:?}", left_out.keys());
    let (why, room) = (&left_out["prompts-15"], ROOM.to_string());
    assert!(why.contains("it has 66") && why.contains(&room) && why.contains("another namespace"), "{why}");

    let files = files(&Gathered { pipelines, ..namespace(&[]) }, &config());
    assert!(files.values().map(String::len).sum::<usize>() < 1 << 20);
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["pool-readers.yaml", "pipeline-prompts-00.yaml"].map(|name| {
        let path = folder.path().join(name);
        std::fs::write(&path, &files[name]).expect("written");
        path
    });
    let read = file::read(&paths).unwrap_or_else(|errors| panic!("{errors:#?}"));
    assert_eq!(read.pipelines[0].resource.spec, prompting(LONGEST), "a gateway reads it on one line too");
}

#[test]
fn what_is_served_stays_and_changes_as_far_as_there_is_room() {
    let most = ROOM - 2 * LONGEST;
    let served = ("z", Some(prompting(most)), Some(prompting(most)));
    let fits = chosen(&[("a", Some(prompting(LONGEST)), None), served.clone()]);
    assert_eq!((fits.pipelines.len(), fits.left_out), (2, BTreeMap::new()));

    let new = chosen(&[("a", Some(prompting(2 * LONGEST)), None), served.clone()]);
    assert!(new.pipelines.keys().eq(["z"]) && new.left_out.keys().eq(["a"]), "{:?}", new.left_out);
    let edited = chosen(&[("a", Some(prompting(2 * LONGEST)), Some(prompting(1))), served]);
    assert_eq!(edited.pipelines["a"], prompting(1), "it is served as it was");
    assert!(edited.left_out.keys().eq(["a"]));

    let (large, small) = (Some(prompting(most)), Some(prompting(1)));
    let shrinks = chosen(&[("a", large.clone(), small.clone()), ("z", small, large)]);
    assert_eq!(shrinks.left_out, BTreeMap::new(), "one makes room for the other");
    // As where pools came that take its room.
    let beyond = chosen(&[("a", Some(prompting(2 * ROOM)), Some(prompting(2 * ROOM)))]);
    assert_eq!((beyond.pipelines.len(), beyond.left_out), (1, BTreeMap::new()), "it is not taken away");
}

#[test]
fn pools_as_they_were_are_kept_as_far_as_there_is_room_for_them_beside_the_others() {
    let pools = namespace(&[]).pools;
    let beside = |others: usize, written: Option<PipelineSpec>| {
        let going_on = Candidate { written, now: Some(prompting(1)), former: pools.clone() };
        let other = Candidate { now: Some(prompting(others)), ..Candidate::default() };
        let candidates = BTreeMap::from([("a".to_owned(), going_on), ("z".to_owned(), other)]);
        fitting(&candidates, &pools)
    };
    let served = |fitting: &Fitting| (fitting.pipelines.get("a").cloned(), fitting.former.get("a").cloned());
    assert_eq!(served(&beside(ROOM - LONGEST, None)), (Some(prompting(1)), Some(pools.clone())));
    let full = beside(ROOM, None);
    assert_eq!(served(&full), (None, None));
    assert!(full.pipelines.contains_key("z"), "it keeps no other one from being served");

    let grown = beside(ROOM - LONGEST, Some(prompting(2 * LONGEST)));
    assert_eq!(served(&grown), (Some(prompting(1)), Some(pools.clone())));
    assert!(grown.left_out.keys().eq(["a"]), "{:?}", grown.left_out);
    assert_eq!(served(&beside(1, Some(prompting(2)))), (Some(prompting(2)), None), "it works by what is there");
}

#[test]
fn a_pipeline_that_is_left_out_is_not_accepted_until_it_is_served() {
    let pipeline = pipeline(stage("readers", "1"));
    let accepted = |gateway: Gateway, left_out: Option<&str>| {
        let written = plan("review", 3, &pipeline.spec, &namespace(&[]).pools);
        let found = Found {
            plan: with_room(written, gateway, left_out.map(str::to_owned)),
            pools: BTreeMap::from([("readers".to_owned(), (State::True, "2 of 2 agents take work".to_owned()))]),
            gateway,
            gateway_trouble: None,
            refused: None,
            broker: Ok(()),
            unkept: Vec::new(),
        };
        let status = after(&pipeline, &Ok(found), Timestamp::UNIX_EPOCH);
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "Accepted");
        let condition = condition.expect("always there");
        json!([condition.status, condition.reason, condition.message])
    };
    let refused = json!(["False", "TooLarge", "spec: it has 7 bytes"]);
    assert_eq!(accepted(Gateway::RollingOut, Some("it has 7 bytes")), refused);
    assert_eq!(accepted(Gateway::Away, Some("it has 7 bytes")), refused);
    assert_eq!(accepted(Gateway::Serving, Some("it has 7 bytes"))[0], "True");
    assert_eq!(accepted(Gateway::RollingOut, None)[0], "True");
}
