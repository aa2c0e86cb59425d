//! Reading files of resources: malformed, hostile, unreadable or otherwise unusual texts.

use std::{fs, path::PathBuf};

use crate::support::{PIPELINE, POOL, check, only, shown};
use crds::file;

#[test]
fn malformed_yaml_is_an_error_with_its_line_and_the_documents_before_it_are_still_checked() {
    let text = format!("{}---\nspec: [1, 2\nother: }}\n", POOL.replace("Embed", "Embd"));
    let errors = file::parse("broken.yaml", &text).expect_err("it is wrong");
    assert_eq!(errors.len(), 2, "{:#?}", shown(&errors));
    assert_eq!(errors[0].field, "spec.models[0].task");
    assert!(errors[1].line >= 11 && errors[1].message.starts_with("is not YAML: "), "{}", errors[1]);
    for text in ["a: b: c", "x: 'open", "{", "- a\nb: 1", "x: *nowhere", "%YAML 9.9\n---\n\u{0}"] {
        let error = only(text);
        assert!(error.line > 0, "{error}");
    }
}

#[test]
fn json_is_read_as_well() {
    let object = |text: &str| {
        serde_json::to_value(&file::parse("f", text).expect("it is right").pipelines[0].resource).expect("plain data")
    };
    let json = serde_json::to_string_pretty(&object(PIPELINE)).expect("plain data");
    assert_eq!(object(&json), object(PIPELINE));
    let tabs = json.replace("  ", "\t");
    assert_eq!(object(&tabs), object(PIPELINE));
}

#[test]
fn unicode_escapes_and_block_texts_are_kept() {
    let prompt = |yaml: &str| {
        let resources = file::parse("f", &PIPELINE.replace("Write.", yaml)).expect("it is right");
        resources.pipelines[0].spec.stages[1].generate.as_ref().expect("it generates").prompt.clone()
    };
    assert_eq!(prompt("\"\\ud83d\\ude00 \\u00fc\""), "😀 ü");
    assert_eq!(prompt("|\n        one\n        two\n"), "one\ntwo\n");
    assert_eq!(prompt(">-\n        one\n        two\n"), "one two");
    assert_eq!(prompt("'null'"), "null");
    assert_eq!(prompt("!!str 12"), "12");
    assert_eq!(prompt("yes"), "yes");
}

#[test]
fn aliases_stand_for_what_their_anchor_holds() {
    let text =
        PIPELINE.replace("timeout: 30s", "timeout: &wait 30s").replace("    embed:", "    timeout: *wait\n    embed:");
    let resources = file::parse("f", &text).expect("it is right");
    assert_eq!(resources.pipelines[0].spec.stages[3].timeout, resources.pipelines[0].spec.stages[2].timeout);
}

#[test]
fn alias_bombs_depth_and_size_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(only(&bomb).message.contains("holds more than"), "{}", only(&bomb));
    let long = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 50].join(", "));
    assert!(only(&long).message.contains("aliases for more than 1 MiB"), "{}", only(&long));
    let deep = |open: &str, close: &str| format!("{}x{}", open.repeat(70), close.repeat(70));
    for deep in [deep("[", "]"), deep("{a: ", "}"), deep("- ", ""), deep("[{a: ", "}]")] {
        assert!(only(&deep).message.contains("nested deeper than 64 levels"), "{}", only(&deep));
    }
    assert!(only(&"[".repeat(1_000_000)).message.starts_with("is not YAML"));
    let wide = format!("a: [{}]", "x,".repeat(300_000));
    assert!(only(&wide).message.contains("holds more than 200000 values"), "{}", only(&wide));
    let own = only("a: &a [*a]");
    assert!(own.line == 1, "{own}");
    let large = only(&"# comment\n".repeat(500_000));
    assert_eq!(large.to_string(), "file.yaml: is larger than 4 MiB");
}

#[test]
fn endless_errors_are_cut_off() {
    let fields: String = (0..500).map(|index| format!("  unknown{index}: 1\n")).collect();
    let errors = file::parse("f", &PIPELINE.replace("spec:\n", &format!("spec:\n{fields}"))).expect_err("it is wrong");
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100].to_string(), "f: and 400 more errors");
}

#[test]
fn unknown_tags_and_keys_that_are_no_text_are_refused() {
    check(PIPELINE, "Write.", "!env ▲HOME", "spec.stages[1].generate.prompt", "the tag \"!env\" is not known");
    assert!(only("{a: 1}: b").message.contains("must be text"));
}

#[test]
fn a_file_without_resources_is_an_error() {
    for empty in ["", "# nothing\n", "---\n---\n", "null\n"] {
        assert_eq!(only(empty).to_string(), "file.yaml: holds no resources", "{empty:?}");
    }
}

#[test]
fn files_and_folders_are_read_together_and_names_are_unique_in_a_kind() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    };
    write("b.yaml", PIPELINE);
    write("a.yml", POOL);
    write("notes.txt", "not a resource");
    let resources = file::read(&[folder.path().to_owned()]).expect("the folder is right");
    assert_eq!((resources.pools.len(), resources.pipelines.len()), (1, 1));

    let again = write("c.json", &format!("# JSON with a comment is YAML\n{PIPELINE}"));
    let errors = file::read(&[folder.path().to_owned()]).expect_err("the name is there twice");
    let first = folder.path().join("b.yaml").display().to_string();
    assert_eq!(
        shown(&errors),
        [format!("{}:5:9: metadata.name: the Pipeline \"review\" is already in {first}:4", again.display())]
    );
    let errors = file::parse("f", &format!("{PIPELINE}---\n{PIPELINE}")).expect_err("the name is there twice");
    assert!(errors[0].message.contains("already in f:4"), "{}", errors[0]);
    // A pool and a pipeline may share a name.
    assert!(file::parse("f", &format!("{PIPELINE}---\n{}", POOL.replace("name: readers", "name: review"))).is_ok());
}

#[test]
fn files_that_cannot_be_read_are_errors_and_the_others_are_still_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("latin.yaml"), b"apiVersion: x\nname: caf\xe9\n").expect("a file");
    fs::write(path("large.yaml"), vec![b' '; file::MAX_FILE_BYTES + 1]).expect("a file");
    fs::write(path("wrong.yaml"), PIPELINE.replace("generate:", "genrate:")).expect("a file");
    fs::create_dir(path("empty")).expect("a folder");
    let paths: Vec<PathBuf> = ["missing.yaml", "latin.yaml", "large.yaml", "empty", "wrong.yaml"].map(path).into();
    let errors = file::read(&paths).expect_err("all are wrong");
    let messages: Vec<_> = errors.iter().map(|error| (error.line, error.column, error.message.as_str())).collect();
    assert_eq!(errors.len(), 5, "{messages:#?}");
    assert!(messages[0].2.starts_with("failed to read it: "), "{messages:?}");
    assert_eq!(messages[1], (2, 10, "is not UTF-8 text"));
    assert_eq!(messages[2], (0, 0, "is larger than 4 MiB"));
    assert!(messages[3].2.contains("holds no .yaml"), "{messages:?}");
    assert!(messages[4].2.contains("did you mean \"generate\"?"), "{messages:?}");
}

#[test]
fn a_damaged_file_is_read_or_refused_with_places_that_exist() {
    let whole = format!("{POOL}---\n{PIPELINE}");
    let signs: Vec<char> = "\n\t :-[]{}&*!|>'\"#%@,0~é\u{0}".chars().collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut refused = 0;
    for _ in 0..3_000 {
        let mut text: Vec<char> = whole.chars().collect();
        for _ in 0..=random(3) {
            let place = random(text.len());
            match random(3) {
                0 => text.truncate(place.max(1)),
                1 => text[place] = signs[random(signs.len())],
                _ => text.insert(place, signs[random(signs.len())]),
            }
        }
        let text: String = text.into_iter().collect();
        let Err(errors) = file::parse("f", &text) else { continue };
        refused += 1;
        let lines = text.lines().count() + 1;
        assert!(!errors.is_empty() && errors.iter().all(|error| error.line <= lines), "{text}\n{:#?}", shown(&errors));
    }
    assert!(refused > 1_000, "only {refused} of the damaged files are refused");
}
