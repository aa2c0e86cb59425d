//! What a pod knows of its cluster's API server.

use agent_pod::serve::config::kubernetes::own_cluster;
use reqwest::Url;

#[test]
fn a_pod_finds_the_api_server_of_its_cluster() {
    let with = |host: &'static str| {
        own_cluster(move |name| match name {
            "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        })
    };
    assert_eq!(with("10.96.0.1").as_deref(), Some("https://10.96.0.1:443"));
    let url = Url::parse(&with("fd00::1").expect("an address")).expect("a URL");
    assert_eq!((url.host_str(), url.port_or_known_default()), (Some("[fd00::1]"), Some(443)));
    assert_eq!(own_cluster(|_| None), None);
}
