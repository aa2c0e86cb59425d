//! What ships the definitions beside config/crd: it holds the same ones.

use std::{collections::BTreeMap, fs, path::Path};

/// The definitions in a folder, by file name.
fn definitions(folder: &str) -> BTreeMap<String, String> {
    fs::read_dir(Path::new("..").join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".docket.dev.yaml"))
        .map(|path| {
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("it is text"))
        })
        .collect()
}

#[test]
fn the_chart_holds_the_definitions() {
    let (made, shipped) = (definitions("config/crd"), definitions("charts/docket-crds/files"));
    assert!(!made.is_empty());
    assert!(made == shipped, "charts/docket-crds/files is stale; run `make crds`");
}

#[test]
fn kustomize_lists_the_definitions() {
    let listed = fs::read_to_string("../config/crd/kustomization.yaml").expect("it is there");
    for name in definitions("config/crd").keys() {
        assert!(listed.contains(name.as_str()), "config/crd/kustomization.yaml does not list {name}");
    }
}
