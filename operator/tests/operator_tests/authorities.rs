//! Who vouches for servers of NATS whose authority nobody else knows: read with their credentials, and handed on with them.

use std::{sync::Arc, time::Duration};

use crate::{
    api_server::ApiServer,
    namespace::{agents, objects, one},
    support::{config, resolved},
};
use k8s_openapi::ByteString;
use operator::{
    client::Clients,
    config::{Config, Credentials},
    health::Health,
    metrics::Metrics,
    namespace::build,
    prepare,
};
use queue::jetstream::Keys;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(5);
/// Many looks.
const MEANWHILE: Duration = Duration::from_millis(200);
/// Longest wait for anything; generous, because nothing here measures.
const PATIENCE: Duration = Duration::from_secs(60);

fn base64(text: &str) -> Value {
    json!(ByteString(text.as_bytes().to_vec()))
}

#[tokio::test]
async fn the_certificates_are_read_from_the_secret_of_nats_and_others_are_noticed() {
    let keys = base64(&Keys::generate().seed());
    for (flag, mut data) in [
        ("--nats-credentials-secret", json!({"user": base64("docket"), "password": base64("secret")})),
        ("--nats-credentials-secret", json!({"nats.creds": base64("a file")})),
        ("--nats-keys-secret", json!({"operator.nk": keys})),
    ] {
        let secret = |data: &Value| {
            Some(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "uid": "1"}, "data": data}))
        };
        let server = ApiServer::start().await;
        server.contents().definitions = true;
        let client = Clients::new(&server.config()).expect("clients").calls;
        let read = async || {
            let health = Health::new(&[], &Arc::new(Metrics::default()), &CancellationToken::new());
            let config = resolved(&[flag, "mine"]).expect("a configuration");
            let config = Config { namespace: "docket".to_owned(), ..config };
            timeout(PATIENCE, prepare::wait(&client, config, &health)).await.expect("everything is there")
        };
        server.contents().secret = secret(&data);
        assert_eq!(read().await.nats_authorities, None, "{flag}");

        data["ca.crt"] = base64("a certificate");
        server.contents().secret = secret(&data);
        let with = read().await;
        assert_eq!(with.nats_authorities.as_deref(), Some("a certificate"), "{flag}");
        let mut changed = Box::pin(prepare::until_changed(&client, &with, EVERY));
        timeout(MEANWHILE, &mut changed).await.expect_err("there are no others");
        data["ca.crt"] = base64("another");
        server.contents().secret = secret(&data);
        assert_eq!(timeout(PATIENCE, changed).await.expect("it is noticed"), "mine");
    }
}

/// The object of a kind.
fn of_kind(objects: &[Value], kind: &str) -> Value {
    objects.iter().find(|object| object["kind"] == kind).expect("it is made").clone()
}

#[test]
fn agents_and_gateways_have_the_certificates_as_a_file_beside_their_credentials() {
    let user = Credentials::User { user: "docket".to_owned(), password: "secret".to_owned() };
    let keys = Credentials::Keys(Box::new(Keys::generate()));
    for credentials in [user, Credentials::Creds("a file".to_owned()), keys] {
        let without = Config { nats_credentials: Some(credentials), ..config() };
        let with = Config { nats_authorities: Some("a certificate".to_owned()), ..without.clone() };
        let copied = |config: &Config| {
            let pools = ["readers".to_owned()];
            build::nats("documents", config, pools.iter()).expect("a Secret").secret.object()["data"]["ca.crt"].clone()
        };
        assert_eq!((copied(&with), copied(&without)), (base64("a certificate"), Value::Null));

        let of_gateway = |config: &Config| (objects(&one(), config), "gateway.yaml");
        let of_agents = |config: &Config| (agents(config), "worker.yaml");
        for (with, without) in [(of_gateway(&with), of_gateway(&without)), (of_agents(&with), of_agents(&without))] {
            let ca = |(objects, file): &(Vec<Value>, &str)| {
                let text = of_kind(objects, "ConfigMap")["data"][*file].clone();
                let file: Value = serde_json::from_str(text.as_str().expect("a file")).expect("JSON");
                file["nats"]["ca"].clone()
            };
            assert_eq!((ca(&with), ca(&without)), (json!("/etc/docket-nats/ca.crt"), Value::Null));
            let pod = of_kind(&with.0, "Deployment")["spec"]["template"]["spec"].clone();
            let volumes = pod["volumes"].as_array().expect("volumes");
            let nats = volumes.iter().find(|volume| volume["name"] == "nats").expect("a volume");
            let mut items = nats["secret"]["items"].as_array().into_iter().flatten().map(|item| &item["key"]);
            assert!(nats["secret"]["items"].is_null() || items.any(|key| key == "ca.crt"), "{nats:#}");
            let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
            let mount = json!({"name": "nats", "mountPath": "/etc/docket-nats", "readOnly": true});
            assert!(mounts.contains(&mount), "{mounts:#?}");
        }
    }
}

#[test]
fn pods_are_replaced_for_other_certificates_also_where_each_has_its_own_credentials() {
    let keys = Some(Credentials::Keys(Box::new(Keys::generate())));
    let without = Config { nats_credentials: keys, ..config() };
    let mark = |authorities: Option<&str>| {
        let config = Config { nats_authorities: authorities.map(str::to_owned), ..without.clone() };
        let template = of_kind(&agents(&config), "Deployment")["spec"]["template"].clone();
        template["metadata"]["annotations"]["docket.dev/nats-credentials"].clone()
    };
    let marks = [mark(None), mark(Some("a certificate")), mark(Some("another"))];
    assert!(marks[0] != marks[1] && marks[1] != marks[2] && marks[0].is_string(), "{marks:?}");
}
