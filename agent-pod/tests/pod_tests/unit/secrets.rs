//! A secret that a resource names is sent where the resource says, so it is never one of the process's own.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, path::Path};

use agent_pod::secrets;

#[test]
fn a_variable_is_what_it_holds_unless_it_is_the_processes_own() {
    let environment = |name: &str| (name != "UNSET").then(|| format!("what {name} holds"));
    assert_eq!(secrets::variable("EXAMPLE_KEY", environment), Ok("what EXAMPLE_KEY holds".to_owned()));
    let unset = secrets::variable("UNSET", environment).expect_err("it is not there");
    assert!(unset.contains("UNSET is not set"), "{unset}");
    for own in ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "DOCKET_REDIS"] {
        let refused = secrets::variable(own, environment).expect_err("it is the store's");
        assert!(refused.contains(own) && refused.contains("name another"), "{refused}");
        assert!(!refused.contains("holds"), "{refused}");
    }
}

#[test]
fn a_file_is_what_it_holds_wherever_links_lead_unless_it_is_the_processes_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    // As a mounted Secret lies: links within its folder.
    fs::create_dir(at("..data")).expect("a folder");
    fs::write(at("..data/key"), "secret").expect("a file");
    symlink("..data/key", at("key")).expect("a link");
    assert_eq!(secrets::file(&at("key")).expect("it may be read"), b"secret");
    assert_eq!(secrets::file(&at("none")).expect_err("it is not there").kind(), ErrorKind::NotFound);

    symlink("/proc/self/environ", at("mine")).expect("a link");
    for own in [Path::new("/proc/self/environ"), &at("mine"), &at("../../../../../../proc/self/environ")] {
        let refused = secrets::file(own).expect_err("it shows the environment");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{}", own.display());
        assert!(refused.to_string().contains("name another"), "{refused}");
    }
}
