//! Labels from file names and manifests.

use docket_demo_corpus::truth::truth;

#[track_caller]
fn check(file: &str, manifest: Option<&str>, expect: Option<&str>) {
    assert_eq!(truth(file, manifest).as_deref(), expect, "{file} of a crate under {manifest:?}");
}

#[test]
fn a_file_name_that_names_a_licence_is_its_label() {
    let both = Some("MIT OR Apache-2.0");
    check("LICENSE-MIT", both, Some("MIT"));
    check("LICENSE-APACHE", both, Some("Apache-2.0"));
    check("LICENSE-Apache.md", both, Some("Apache-2.0"));
    check("LICENCE-MIT.txt", both, Some("MIT"));
    check("LICENSE.BSD-3-Clause", None, Some("BSD-3-Clause"));
    check("LICENSE-ZLIB.md", None, Some("Zlib"));
    check("UNLICENSE", Some("Unlicense OR MIT"), Some("Unlicense"));
}

#[test]
fn a_longer_name_wins_over_the_shorter_one_in_it() {
    check("LICENSE-MIT0", Some("MIT-0 OR MIT"), Some("MIT-0"));
    check("LICENSE-0BSD", None, Some("0BSD"));
    check("LICENSE-Apache-2.0_WITH_LLVM-exception", None, Some("Apache-2.0 WITH LLVM-exception"));
}

#[test]
fn a_plain_name_takes_the_only_licence_of_the_manifest() {
    check("LICENSE", Some("MIT"), Some("MIT"));
    check("LICENSE.txt", Some("Apache-2.0"), Some("Apache-2.0"));
    check("COPYING", Some("MPL-2.0"), Some("MPL-2.0"));
    check("LICENSE", Some("Apache-2.0 WITH LLVM-exception"), Some("Apache-2.0 WITH LLVM-exception"));
}

#[test]
fn a_plain_name_under_a_choice_has_no_label() {
    check("LICENSE", Some("MIT OR Apache-2.0"), None);
    check("LICENSE.md", Some("MIT/Apache-2.0"), None);
    check("COPYING", Some("Unicode-3.0 AND MIT"), None);
}

#[test]
fn an_unreadable_or_missing_manifest_gives_no_label() {
    check("LICENSE", None, None);
    check("LICENSE", Some("some licence or other"), None);
}

#[test]
fn a_family_is_narrowed_by_the_manifest() {
    check("LICENSE-BSD", Some("BSD-3-Clause OR MIT"), Some("BSD-3-Clause"));
    check("LICENSE-BSD", Some("MIT"), None);
    check("LICENSE-UNICODE", Some("(MIT OR Apache-2.0) AND Unicode-3.0"), Some("Unicode-3.0"));
}

#[test]
fn texts_that_are_not_the_crates_own_licence_have_no_label() {
    check("NOTICE.txt", Some("Apache-2.0"), None);
    check("LICENSE-THIRD-PARTY", Some("MIT"), None);
    check("LICENSE-other-bits", Some("MIT"), None);
}
