//! What was typed, and what of it is refused.

use crate::support::resolved;

#[test]
fn secrets_that_the_operator_writes_for_pods_are_no_sources_of_its_own() {
    for (flag, further) in [
        ("--metrics-secret", &["--metrics-token-file", "/etc/docket-metrics/token"][..]),
        ("--nats-credentials-secret", &[]),
        ("--nats-keys-secret", &[]),
        ("--payloads-secret", &[]),
    ] {
        let resolved = |secret: &str| resolved(&[&[flag, secret][..], further].concat());
        for taken in ["docket-nats", "docket-payloads", "docket-gateway-tokens", "docket-metrics"] {
            let said = resolved(taken).expect_err("it would be deleted with the last pool").to_string();
            let expected = [flag, taken, "give yours another name"];
            assert!(said.lines().count() == 1 && expected.iter().all(|part| said.contains(part)), "{said}");
        }
        assert!(resolved("docket-nats-auth").is_ok(), "{flag}");
    }
}

#[test]
fn secrets_for_pulling_the_image_are_a_list() {
    let named = |further: &[&str]| resolved(further).expect("a configuration").image_pull_secrets;
    assert_eq!(named(&["--image-pull-secrets", "registry, mirror.example"]), ["registry", "mirror.example"]);
    assert!(named(&[]).is_empty());
}
