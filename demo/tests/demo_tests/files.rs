//! The corpus written from folders that look like crates, and the check of a run's results.

use std::fs;

use anyhow::Result;
use docket_demo_corpus::{
    check::{Report, Share},
    collect::licence_files,
    corpus::{Corpus, Document},
};
use serde_json::{Value, json};

fn package(name: &str, license: &str) -> docket_demo_corpus::collect::Package {
    let described = json!({
        "name": name, "version": "1.0.0", "license": license, "manifest_path": "Cargo.toml", "source": "registry",
    });
    serde_json::from_value(described).expect("the fields are those of cargo metadata")
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

#[test]
fn only_licence_texts_of_a_folder_are_taken() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, bytes) in [
        ("LICENSE-MIT", b"text".to_vec()),
        ("notice.txt", b"text".to_vec()),
        ("license.rs", b"code".to_vec()),
        ("README.md", b"text".to_vec()),
        ("LICENSE-BINARY", vec![0, 1, 2]),
        ("LICENSE-HUGE", vec![b'a'; 1024 * 1024 + 1]),
    ] {
        fs::write(folder.path().join(name), bytes)?;
    }
    fs::create_dir(folder.path().join("LICENSES"))?;
    let names: Vec<_> = licence_files(folder.path())?.into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["LICENSE-MIT", "notice.txt"]);
    Ok(())
}

/// Three crates with the same MIT text, two with another wording, one whose text contradicts the first.
fn corpus(folder: &std::path::Path) -> Result<Corpus> {
    let mut documents = Vec::new();
    let grant =
        "Permission is hereby granted to use this, provided that this notice stays in all copies of it. ".repeat(4);
    let other = grant.replace("Permission is hereby granted", "You may").replace("all copies", "each copy");
    for (name, license, text) in [
        ("one", "MIT", format!("Copyright 2001 One\n{grant}")),
        ("two", "MIT", format!("Copyright 2002 Two\n{grant}")),
        ("three", "MIT", format!("(c) Three\n{grant}")),
        ("four", "MIT", other.clone()),
        ("five", "ISC", "Quite another text about using, copying and changing, of some length. ".repeat(4)),
        ("six", "Zlib", "A text that two crates call by two names, which cannot both be right. ".repeat(4)),
        ("seven", "CC0-1.0", "A text that two crates call by two names, which cannot both be right. ".repeat(4)),
    ] {
        let home = folder.join(name);
        fs::create_dir(&home)?;
        fs::write(home.join("LICENSE"), text)?;
        for file in licence_files(&home)? {
            documents.push(Document::new(&package(name, license), file));
        }
    }
    Ok(Corpus::of(documents))
}

#[test]
fn copies_of_a_text_stand_on_one_side() -> Result<()> {
    let folder = tempfile::tempdir()?;
    corpus(folder.path())?.write(&folder.path().join("demo"))?;
    let feedback = lines(&fs::read_to_string(folder.path().join("demo/feedback.jsonl"))?);
    let side = |id: &str| feedback.iter().find(|line| line["document"] == id).map(|line| line["split"].clone());
    for id in ["one-1.0.0/LICENSE", "two-1.0.0/LICENSE", "three-1.0.0/LICENSE", "five-1.0.0/LICENSE"] {
        assert_eq!(side(id), Some(json!("train")), "{id}");
    }
    assert_eq!(side("four-1.0.0/LICENSE"), Some(json!("test")));
    Ok(())
}

#[test]
fn a_text_under_two_labels_has_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let corpus = corpus(folder.path())?;
    let labelled: Vec<_> =
        corpus.documents.iter().filter(|document| document.label.is_some()).map(|d| &d.package).collect();
    assert!(!labelled.iter().any(|name| *name == "six" || *name == "seven"), "{labelled:?}");
    Ok(())
}

#[test]
fn documents_are_written_as_docket_reads_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    corpus(folder.path())?.write(&folder.path().join("demo"))?;
    let documents = lines(&fs::read_to_string(folder.path().join("demo/documents.jsonl"))?);
    let one = documents.iter().find(|line| line["id"] == "one-1.0.0/LICENSE").expect("it was collected");
    assert_eq!(one["path"], json!(folder.path().join("one/LICENSE")));
    assert_eq!(one["metadata"], json!({"crate": "one", "version": "1.0.0", "file": "LICENSE", "review": true}));
    Ok(())
}

#[test]
fn the_check_finds_a_citation_that_is_not_there_and_a_wrong_label() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let demo = folder.path().join("demo");
    corpus(folder.path())?.write(&demo)?;
    let result = |cited: &str| {
        json!({
            "document": "four-1.0.0/LICENSE", "outcome": "succeeded",
            "stages": {"classify": {"output": {"label": "ISC"}}},
            "citations": [{"source": "four-1.0.0/LICENSE", "start": 0, "end": 7, "text": cited}],
        })
    };
    let results = folder.path().join("results");
    fs::create_dir(&results)?;
    fs::write(results.join("results.jsonl"), result("You may").to_string())?;
    let report = Report::read(&demo, &results)?;
    assert_eq!(report.citations, Share { right: 1, all: 1 });
    assert_eq!(report.held_out, Share { right: 0, all: 1 });
    assert_eq!(report.wrong, [("four-1.0.0/LICENSE".to_owned(), "MIT".to_owned(), "ISC".to_owned())]);
    fs::write(results.join("results.jsonl"), result("You can").to_string())?;
    let report = Report::read(&demo, &results)?;
    assert_eq!((report.citations, report.broken.len()), (Share { right: 0, all: 1 }, 1));
    Ok(())
}
