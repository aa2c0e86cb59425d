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
fn the_interval_of_pod_monitors_is_a_time_as_prometheus_writes_it() {
    let of = |interval: &str| resolved(&["--pod-monitor-interval", interval]);
    for interval in ["30s", "1m30s", "500ms", "1h", "1h2m3s4ms"] {
        assert_eq!(of(interval).expect(interval).pod_monitor_interval.as_deref(), Some(interval));
    }
    assert_eq!(of("").expect("as if it were not given").pod_monitor_interval, None);
    for interval in ["often", "30", "s", "30s1m", "1.5s"] {
        let said = of(interval).expect_err(interval).to_string();
        assert!(said.contains("--pod-monitor-interval") && said.contains(interval), "{said}");
    }
}

#[test]
fn secrets_for_pulling_the_image_are_a_list() {
    let named = |further: &[&str]| resolved(further).expect("a configuration").image_pull_secrets;
    assert_eq!(named(&["--image-pull-secrets", "registry, mirror.example"]), ["registry", "mirror.example"]);
    assert!(named(&[]).is_empty());
}
