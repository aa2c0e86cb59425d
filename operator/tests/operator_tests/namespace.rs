//! What a namespace has once: the gateway, its files, the Secrets; and what each setting of the operator changes in it.

use std::collections::BTreeMap;

use crate::support::{config, pipeline, pool};
use crds::{AgentPoolSpec, PipelineSpec, file};
use k8s_openapi::ByteString;
use operator::{
    apply::Child,
    claims::Claim,
    config::{Config, Credentials},
    namespace::{
        Gathered, Namespaces, build,
        gather::{candidate, served},
        room::fitting,
    },
};
use queue::jetstream::Keys;
use serde_json::{Value, json};

/// A namespace with the pool that stages name, and these pipelines.
pub(crate) fn namespace(pipelines: &[(&str, Value)]) -> Gathered {
    let pool = pool(json!({"replicas": 3, "template": {"priorityClassName": "high"}})).spec;
    Gathered {
        namespace: "documents".to_owned(),
        pools: BTreeMap::from([("readers".to_owned(), pool)]),
        objects: 1 + pipelines.len(),
        staying: 1 + pipelines.len(),
        has_pipelines: !pipelines.is_empty(),
        outlived: false,
        closed: Vec::new(),
        pipelines: pipelines.iter().map(|(name, spec)| ((*name).to_owned(), spec_of(spec))).collect(),
        former: BTreeMap::new(),
        left_out: BTreeMap::new(),
        state: Claim::Missing,
        pod_monitors: true,
    }
}

pub(crate) fn spec_of(spec: &Value) -> PipelineSpec {
    pipeline(spec.clone()).spec
}

pub(crate) fn one() -> Gathered {
    namespace(&[("letters", stage("readers", "{{ document.text }}"))])
}

pub(crate) fn stage(pool: &str, template: &str) -> Value {
    json!({"stages": [{"name": "entry", "pool": pool, "transform": {"template": template}}]})
}

fn reviewing() -> Config {
    Config { token_review: vec!["elsewhere".to_owned(), "documents".to_owned()], ..config() }
}

#[test]
fn a_gateway_of_another_namespace_than_those_listed_reviews_no_tokens() {
    let elsewhere = Config { token_review: vec!["elsewhere".to_owned()], ..config() };
    assert_eq!(objects(&one(), &elsewhere), objects(&one(), &config()));
}

pub(crate) fn objects(gathered: &Gathered, config: &Config) -> Vec<Value> {
    build::all(gathered, config).present.iter().map(|child| child.object().clone()).collect()
}

/// What a pool has of its own.
pub(crate) fn agents(config: &Config) -> Vec<Value> {
    let built = operator::agent_pool::build::all(&crate::support::validated_with(&pool(json!({})), config));
    let children = built.before.iter().chain(&built.after).chain([&built.deployment]);
    children.map(|child| child.object().clone()).collect()
}

fn of_kind(gathered: &Gathered, config: &Config, kind: &str) -> Value {
    objects(gathered, config).into_iter().find(|object| object["kind"] == kind).expect("it is made")
}

fn pod(config: &Config) -> Value {
    of_kind(&one(), config, "Deployment")["spec"]["template"]["spec"].clone()
}

pub(crate) fn files(gathered: &Gathered, config: &Config) -> BTreeMap<String, String> {
    serde_json::from_value(of_kind(gathered, config, "ConfigMap")["data"].clone()).expect("files")
}

fn gateway_file(config: &Config) -> Value {
    serde_json::from_str(&files(&one(), config)["gateway.yaml"]).expect("JSON")
}

fn shown(children: &[Child]) -> Vec<String> {
    children.iter().map(Child::shown).collect()
}

#[test]
fn the_gateway_has_the_objects_on_file() {
    insta::assert_yaml_snapshot!(objects(&one(), &config()));
}

#[test]
fn building_twice_gives_the_same() {
    assert_eq!(objects(&one(), &reviewing()), objects(&one(), &reviewing()));
}

#[test]
fn a_gateway_is_as_the_restricted_standard_asks_with_all_settings() {
    let mut all = reviewing();
    all.nats_credentials = Some(Credentials::User { user: "docket".to_owned(), password: "secret".to_owned() });
    all.payloads_keys = Some(BTreeMap::new());
    for config in [config(), all] {
        let pod = pod(&config);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0];
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert_eq!(pod["initContainers"], Value::Null);
        for volume in pod["volumes"].as_array().expect("volumes") {
            let kinds = ["configMap", "secret", "emptyDir", "projected"];
            assert!(kinds.iter().any(|kind| volume.get(kind).is_some()), "{volume}");
        }
        for name in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod[name], Value::Null);
        }
    }
    assert_eq!(of_kind(&one(), &reviewing(), "ServiceAccount")["automountServiceAccountToken"], false);
}

#[test]
fn a_gateway_that_reviews_tokens_has_one_of_its_own_for_the_api_server_and_no_other_pod_has() {
    let pod = pod(&reviewing());
    let volumes = pod["volumes"].as_array().expect("volumes");
    let projected: Vec<&Value> = volumes.iter().filter(|volume| volume.get("projected").is_some()).collect();
    let [volume] = projected[..] else { panic!("{volumes:#?}") };
    assert_eq!(
        volume["projected"]["sources"],
        json!([
            {"serviceAccountToken": {"expirationSeconds": 3_600, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ])
    );
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let mounted = mounts.iter().find(|mount| mount["name"] == volume["name"]).expect("it is mounted");
    assert_eq!(mounted["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mounted["readOnly"], true);
    assert_eq!(gateway_file(&reviewing())["kubernetes"], json!({"audience": "docket", "namespace": "documents"}));

    let agents = crate::support::validated(&pool(json!({})));
    let agents = operator::agent_pool::build::all(&agents).deployment.object().to_string();
    for without in [pod_text(&config()), agents] {
        assert!(!without.contains("projected") && !without.contains("kubernetes.io/serviceaccount"), "{without}");
    }
    assert_eq!(gateway_file(&config())["kubernetes"], Value::Null);
}

fn pod_text(config: &Config) -> String {
    pod(config).to_string()
}

#[test]
fn a_gateway_is_reached_by_its_ports_alone_and_reaches_the_api_server_only_to_review() {
    let ports = |config: &Config, direction: &str| {
        let policy = of_kind(&one(), config, "NetworkPolicy");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        let rules = policy["spec"][direction].as_array().cloned().expect("rules");
        let ports = rules.iter().flat_map(|rule| rule["ports"].as_array().cloned().expect("every rule names ports"));
        ports.map(|port| port["port"].as_u64().expect("a number")).collect::<Vec<u64>>()
    };
    assert_eq!(ports(&reviewing(), "ingress"), [8080, 8081, 9090]);
    let usual: [u64; 6] = [53, 53, 5353, 5353, 4222, 8080];
    assert_eq!(ports(&config(), "egress"), usual);
    assert_eq!(ports(&reviewing(), "egress"), [&usual[..], &[443, 6443]].concat());
    let elsewhere = Config { api_server_ports: vec![16443], ..reviewing() };
    assert_eq!(ports(&elsewhere, "egress"), [&usual[..], &[16443]].concat());
    let stores = Config { payloads: "s3://bucket".to_owned(), ..config() };
    assert_eq!(ports(&stores, "egress"), [&usual[..], &[443]].concat());
}

#[test]
fn a_store_that_namespaces_share_has_a_folder_for_each() {
    let of = |payloads: &str| Config { payloads: payloads.to_owned(), ..config() }.payloads_of("documents");
    assert_eq!(of("nats:"), "nats:");
    assert_eq!(of("s3://bucket"), "s3://bucket/documents");
    assert_eq!(of("s3://bucket/docket/"), "s3://bucket/docket/documents");
    assert_eq!(of("file:///srv/payloads"), "file:///srv/payloads/documents");
    // Who is told: gateways and agents, the same.
    let stores = Config { payloads: "s3://bucket".to_owned(), ..config() };
    let gathered = namespace(&[("letters", stage("readers", "1"))]);
    let gateway: Value = serde_json::from_str(&files(&gathered, &stores)["gateway.yaml"]).expect("JSON");
    assert_eq!(gateway["payloads"], "s3://bucket/documents");
    let agents = crate::support::validated_with(&crate::support::pool(json!({})), &stores);
    let config = operator::agent_pool::build::all(&agents).before;
    let config = config.iter().map(|child| child.object()).find(|object| object["kind"] == "ConfigMap");
    assert!(config.expect("a ConfigMap")["data"].to_string().contains("s3://bucket/documents"));
}

#[test]
fn the_files_are_resources_that_docket_reads_and_all_of_them_are_named() {
    let gathered = namespace(&[("letters", stage("readers", "1")), ("bills", stage("readers", "2"))]);
    let files = files(&gathered, &config());
    let gateway: Value = serde_json::from_str(&files["gateway.yaml"]).expect("JSON");
    assert_eq!(gateway["resources"], json!(["pool-readers.yaml", "pipeline-bills.yaml", "pipeline-letters.yaml"]));
    let folder = tempfile::tempdir().expect("a folder");
    let paths = files.iter().filter(|(name, _)| *name != "gateway.yaml").map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    });
    let read = file::read(&paths.collect::<Vec<_>>()).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let names: Vec<&str> = read.pipelines.iter().map(|pipeline| pipeline.name()).collect();
    assert_eq!((names, read.pools.len()), (vec!["bills", "letters"], 1));
    // What is no business of a gateway does not restart it.
    let pool: &AgentPoolSpec = &read.pools[0].resource.spec;
    assert_eq!((pool.replicas, pool.template.priority_class_name.as_deref()), (1, None));
}

#[test]
fn a_pipeline_that_was_broken_is_served_as_it_last_did_and_a_good_one_beside_it_as_it_is() {
    let good = namespace(&[("letters", stage("readers", "1")), ("bills", stage("readers", "2"))]);
    let [broken, changed] = [stage("nobody", "3"), stage("readers", "4")].map(|spec| spec_of(&spec));
    let candidate = |name: &str, written: &PipelineSpec| {
        let now = good.pipelines.get(name).map(|now| (now, &good.pools));
        (name.to_owned(), candidate(name, Some(written), now, (&good.pools, &good.pools)))
    };
    let candidates = BTreeMap::from([candidate("letters", &broken), candidate("bills", &changed)]);
    let pipelines = fitting(&candidates, &good.pools).pipelines;
    let after = files(&Gathered { pipelines, ..namespace(&[]) }, &config());
    let before = files(&good, &config());
    assert_eq!(after["pipeline-letters.yaml"], before["pipeline-letters.yaml"]);
    assert!(after["pipeline-bills.yaml"].contains(r#""template":"4""#));
}

#[test]
fn a_pipeline_that_goes_on_by_its_pools_as_they_were_has_files_of_its_own_that_are_found_again() {
    let gathered = namespace(&[("letters", stage("readers", "1")), ("bills", stage("readers", "2"))]);
    let before = BTreeMap::from([("readers".to_owned(), pool(json!({"concurrency": 3})).spec.as_worked())]);
    let former = BTreeMap::from([("letters".to_owned(), before.clone())]);
    let files = files(&Gathered { former, ..gathered }, &config());
    let gateway: Value = serde_json::from_str(&files["gateway.yaml"]).expect("JSON");
    assert_eq!(gateway["resources"], json!(["pool-readers.yaml", "pipeline-bills.yaml"]));
    assert_eq!(gateway["former"], json!([["former-letters.readers.yaml", "pipeline-letters.yaml"]]));
    assert_eq!(
        gateway_file(&config())["former"],
        Value::Null,
        "gateways of namespaces that have none stay as they are"
    );

    let found = served(&files);
    let (letters, bills) = (found.now("letters").expect("served"), found.now("bills").expect("served"));
    assert_eq!(letters, (&spec_of(&stage("readers", "1")), &before));
    assert_eq!(bills, (&spec_of(&stage("readers", "2")), &found.pools));
    assert_eq!((found.pools.len(), found.pools["readers"].concurrency), (1, None));
}

#[test]
fn gateways_are_replaced_when_their_files_change_and_not_when_their_number_does() {
    let digest = |gathered: &Gathered, config: &Config| {
        let template = of_kind(gathered, config, "Deployment")["spec"]["template"].clone();
        template["metadata"]["annotations"]["docket.dev/config"].as_str().expect("a digest").to_owned()
    };
    let usual = digest(&one(), &config());
    assert_ne!(usual, digest(&namespace(&[("letters", stage("readers", "other"))]), &config()));
    assert_ne!(usual, digest(&one(), &reviewing()));
    let three = Config { gateway_replicas: 3, ..config() };
    assert_eq!(usual, digest(&one(), &three));
    assert_eq!(of_kind(&one(), &three, "Deployment")["spec"]["replicas"], 3);
}

#[test]
fn a_token_is_made_for_each_namespace_and_nobody_can_guess_it() {
    let secret = |namespace: &str| build::tokens(namespace).object().clone();
    let text = |secret: &Value, key: &str| {
        let bytes: ByteString = serde_json::from_value(secret["data"][key].clone()).expect("base64");
        String::from_utf8(bytes.0).expect("text")
    };
    let (one, two) = (secret("one"), secret("two"));
    assert_eq!(
        (one["metadata"]["name"].as_str(), one["metadata"]["namespace"].as_str()),
        (Some("docket-gateway-tokens"), Some("one"))
    );
    assert_ne!(text(&one, "token"), text(&two, "token"));
    assert_eq!(text(&one, "token").len(), 64);
    let file: Value = serde_json::from_str(&text(&one, "tokens.yaml")).expect("JSON");
    // Without pipelines: gateways ask agents with it for ServiceAccounts.
    assert_eq!(file, json!({"tokens": [{"name": "namespace", "token": text(&one, "token")}]}));
}

#[test]
fn credentials_are_mounted_and_copied_only_where_there_are_some() {
    assert!(
        build::nats("documents", &config(), [].iter()).is_none() && build::payloads("documents", &config()).is_none()
    );
    assert!(!pod_text(&config()).contains("docket-nats\""));
    let mut with = config();
    with.nats_credentials = Some(Credentials::User { user: "docket".to_owned(), password: "very secret".to_owned() });
    let key = ("AWS_SECRET_ACCESS_KEY".to_owned(), ByteString(b"also secret".to_vec()));
    with.payloads_keys = Some(BTreeMap::from([key]));
    let nats = build::nats("documents", &with, [].iter()).expect("a Secret").secret;
    let payloads = build::payloads("documents", &with).expect("a Secret");
    assert_eq!(shown(&[nats, payloads]), ["Secret documents/docket-nats", "Secret documents/docket-payloads"]);
    assert_eq!(gateway_file(&with)["nats"]["user"], "docket");
    assert_eq!(gateway_file(&with)["nats"]["passwordFile"], "/etc/docket-nats/password");
    let pod = pod(&with);
    let of_user = json!({"secretRef": {"name": "docket-gateway-env", "optional": true}});
    assert_eq!(pod["containers"][0]["envFrom"], json!([{"secretRef": {"name": "docket-payloads"}}, of_user]));
    let all = objects(&one(), &with).iter().map(Value::to_string).collect::<String>();
    assert!(!all.contains("very secret") && !all.contains("also secret"), "only Secrets hold secrets");
}

#[test]
fn with_keys_each_process_has_credentials_of_its_own_and_mounts_no_others() {
    let keys = Keys::generate();
    let with = Config { nats_credentials: Some(Credentials::Keys(Box::new(keys.clone()))), ..config() };
    let pools = ["readers", "writers"].map(str::to_owned);
    let nats = build::nats("documents", &with, pools.iter()).expect("a Secret").secret;
    let again = build::nats("documents", &with, pools.iter()).map(|nats| nats.secret);
    assert_eq!(again.as_ref(), Some(&nats), "an idle operator writes nothing");
    let data = nats.object()["data"].as_object().expect("keys");
    let names: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(names, ["agents-readers.creds", "agents-writers.creds", "gateway.creds"]);
    let creds: Vec<&Value> = data.values().collect();
    assert!(creds[0] != creds[1] && creds[0] != creds[2] && creds[1] != creds[2]);
    let elsewhere = build::nats("other", &with, pools.iter()).expect("a Secret").secret;
    assert_ne!(elsewhere.object()["data"]["agents-readers.creds"], *creds[0], "a namespace has an account of its own");

    let agents = crate::support::validated_with(&pool(json!({})), &with);
    let agents = operator::agent_pool::build::all(&agents);
    let agents = agents.deployment.object()["spec"]["template"]["spec"].clone();
    for (pod, key) in [(pod(&with), "gateway.creds"), (agents, "agents-readers.creds")] {
        let volumes = pod["volumes"].as_array().expect("volumes");
        let nats = volumes.iter().find(|volume| volume["name"] == "nats").expect("a volume");
        let items = json!([{"key": key, "path": "nats.creds"}]);
        assert_eq!(nats["secret"], json!({"secretName": "docket-nats", "items": items}));
    }
    let file = gateway_file(&with)["nats"].clone();
    assert_eq!(file["credentials"], "/etc/docket-nats/nats.creds");
    assert_eq!((&file["inbox"], &file["makeStreams"]), (&json!("_INBOX_gateway"), &json!(false)));

    let mark = |config: &Config| {
        let template = of_kind(&one(), config, "Deployment")["spec"]["template"].clone();
        template["metadata"]["annotations"]["docket.dev/nats-credentials"].clone()
    };
    let others = Config { nats_credentials: Some(Credentials::Keys(Box::new(Keys::generate()))), ..config() };
    assert!(mark(&with).is_string() && mark(&with) != mark(&others), "other keys replace the pods");
    assert_eq!(mark(&config()), Value::Null);
    let all = objects(&one(), &with).iter().map(Value::to_string).collect::<String>();
    assert!(!all.contains("SEED") && !format!("{with:?}").contains(&keys.seed()), "only Secrets hold secrets");
}

#[test]
fn one_file_of_credentials_is_mounted_by_all() {
    let with = Config { nats_credentials: Some(Credentials::Creds("a file".to_owned())), ..config() };
    let nats = build::nats("documents", &with, [].iter()).expect("a Secret").secret;
    assert_eq!(nats.object()["data"].as_object().expect("keys").keys().collect::<Vec<_>>(), ["nats.creds"]);
    let file = gateway_file(&with)["nats"].clone();
    assert_eq!((&file["credentials"], &file["makeStreams"]), (&json!("/etc/docket-nats/nats.creds"), &Value::Null));
    assert!(!format!("{with:?}").contains("a file"));
}

#[test]
fn the_keys_of_servers_are_made_with_what_they_include_and_can_be_read_again() {
    let keys = Keys::generate();
    let secret = operator::nats_keys::secret("docket-system", "docket-nats-keys", &keys);
    let data = secret.data.expect("keys");
    let text = |key: &str| String::from_utf8(data[key].0.clone()).expect("text");
    assert_eq!(data.keys().collect::<Vec<_>>(), ["auth.conf", "operator.nk", "password", "user"]);
    assert_eq!(Keys::from_seed(&text("operator.nk")).expect("a seed").seed(), keys.seed());
    assert!(text("auth.conf").starts_with("operator: \"ey") && !text("auth.conf").contains(&keys.seed()));
}

#[test]
fn what_servers_lack_in_a_secret_of_somebody_else_is_named() {
    let mut data = operator::nats_keys::secret("docket-system", "mine", &Keys::generate()).data.expect("keys");
    assert!(operator::nats_keys::lacking(&data).is_empty());
    data.remove("user");
    data.insert("password".to_owned(), ByteString(Vec::new()));
    assert_eq!(operator::nats_keys::lacking(&data), ["user", "password"]);
}

#[test]
fn a_namespace_without_pipelines_has_no_gateway_and_an_empty_one_has_nothing() {
    let with = with_credentials();
    let gateway: Vec<String> =
        ["ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "NetworkPolicy", "Deployment", "PodMonitor"]
            .map(|kind| format!("{kind} documents/docket-gateway"))
            .to_vec();
    let prepared = build::all(&one(), &with);
    assert_eq!((shown(&prepared.present), shown(&prepared.absent)), (gateway.clone(), Vec::new()));
    let prepared = build::all(&namespace(&[]), &with);
    assert_eq!((shown(&prepared.present), shown(&prepared.absent)), (Vec::new(), gateway.clone()));
    let prepared = build::all(&Gathered { objects: 0, pools: BTreeMap::new(), ..namespace(&[]) }, &with);
    let secrets = ["docket-gateway-tokens", "docket-nats", "docket-metrics", "docket-payloads"]
        .map(|name| format!("Secret documents/{name}"));
    assert_eq!((shown(&prepared.present), shown(&prepared.absent)), (Vec::new(), [gateway, secrets.to_vec()].concat()));
}

/// An operator that copies credentials of both kinds.
fn with_credentials() -> Config {
    Config {
        nats_credentials: Some(Credentials::User { user: "docket".to_owned(), password: "secret".to_owned() }),
        payloads_keys: Some(BTreeMap::new()),
        ..config()
    }
}

#[test]
fn copies_of_credentials_go_when_there_are_none_to_copy_any_more() {
    let secrets = |gathered: &Gathered, config: &Config| {
        let absent = shown(&build::all(gathered, config).absent);
        absent.into_iter().filter(|name| name.starts_with("Secret")).collect::<Vec<String>>()
    };
    let copies = ["Secret documents/docket-nats", "Secret documents/docket-payloads"];
    for gathered in [one(), namespace(&[])] {
        assert_eq!(secrets(&gathered, &config()), copies);
        assert_eq!(secrets(&gathered, &Config { payloads_keys: None, ..with_credentials() }), copies[1..]);
        assert_eq!(secrets(&gathered, &Config { nats_credentials: None, ..with_credentials() }), copies[..1]);
        assert_eq!(secrets(&gathered, &with_credentials()), Vec::<String>::new());
    }
    let left = Gathered { objects: 0, pools: BTreeMap::new(), ..namespace(&[]) };
    assert_eq!(secrets(&left, &config()).len(), 4, "the last one takes them along");
    let outlived = Gathered { outlived: true, ..left };
    assert_eq!(secrets(&outlived, &config()), copies);
    assert_eq!(secrets(&outlived, &with_credentials()), Vec::<String>::new(), "agents that go on mount them");
}

#[test]
fn a_gateway_stays_as_it_is_while_no_pipeline_can_be_served_and_goes_with_the_last_one() {
    let prepared = build::all(&Gathered { has_pipelines: true, ..namespace(&[]) }, &with_credentials());
    assert_eq!((shown(&prepared.present), shown(&prepared.absent)), (Vec::new(), Vec::new()));
    let prepared = build::all(&namespace(&[]), &config());
    assert!(shown(&prepared.absent).contains(&"Deployment documents/docket-gateway".to_owned()));
}

#[test]
fn metrics_of_all_pods_are_for_the_token_that_pod_monitors_name_where_that_is_asked_for() {
    let with = Config { metrics_secret: Some("docket-operator-metrics".to_owned()), ..config() };
    let secret = build::metrics_token("documents").object().clone();
    let named = (secret["metadata"]["name"].as_str(), secret["metadata"]["namespace"].as_str());
    assert_eq!(named, (Some("docket-metrics"), Some("documents")));
    assert_ne!(secret["data"], build::metrics_token("documents").object()["data"], "nobody can guess it");
    for (objects, file) in [(objects(&one(), &with), "gateway.yaml"), (agents(&with), "worker.yaml")] {
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("it is made");
        let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume = volumes.iter().find(|volume| volume["name"] == "metrics").expect("a volume");
        // Not optional: a pod waits for it, so that its metrics are open at no time.
        assert_eq!(volume["secret"], json!({"secretName": "docket-metrics"}));
        let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
        let mount = json!({"name": "metrics", "mountPath": "/etc/docket-metrics", "readOnly": true});
        assert!(mounts.contains(&mount), "{mounts:#?}");
        let file = of_kind("ConfigMap")["data"][file].as_str().expect("a file");
        let file: Value = serde_json::from_str(file).expect("JSON");
        assert_eq!(file["metricsTokenFile"], "/etc/docket-metrics/token");
        let endpoint = &of_kind("PodMonitor")["spec"]["podMetricsEndpoints"][0];
        let credentials = json!({"name": "docket-metrics", "key": "token"});
        assert_eq!(endpoint["authorization"], json!({"type": "Bearer", "credentials": credentials}));
        assert!(secret["data"]["token"].is_string(), "{secret:#}");
    }
    let without: String = objects(&one(), &config()).iter().chain(&agents(&config())).map(Value::to_string).collect();
    assert!(!without.contains("docket-metrics") && !without.contains("metricsTokenFile"), "{without}");
}

#[test]
fn pod_monitors_have_the_labels_that_prometheus_selects_them_by() {
    let label = ("release".to_owned(), "prometheus".to_owned());
    let with = Config { pod_monitor_labels: BTreeMap::from([label]), ..config() };
    for object in objects(&one(), &with) {
        let labels = &object["metadata"]["labels"];
        assert_eq!(labels["release"] == "prometheus", object["kind"] == "PodMonitor", "{object:#}");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "docket-operator");
    }
    assert!(objects(&Gathered { pod_monitors: false, ..one() }, &with).iter().all(|made| made["kind"] != "PodMonitor"));
}

#[test]
fn pod_monitors_name_the_interval_that_was_given_and_otherwise_none() {
    let with = Config { pod_monitor_interval: Some("45s".to_owned()), ..config() };
    for (config, expected) in [(with, json!("45s")), (config(), Value::Null)] {
        let made = [objects(&one(), &config), agents(&config)].concat();
        let monitors: Vec<&Value> = made.iter().filter(|object| object["kind"] == "PodMonitor").collect();
        assert_eq!(monitors.len(), 2, "one of the gateway, one of a pool");
        for monitor in monitors {
            assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["interval"], expected, "{monitor:#}");
        }
    }
}

#[test]
fn of_two_objects_of_a_namespace_that_leave_one_has_the_turn_and_the_other_is_told_at_once() {
    let namespaces = Namespaces::default();
    let first = namespaces.try_turn("a").expect("nobody has it");
    assert!(namespaces.try_turn("a").is_none());
    drop(first);
    assert!(namespaces.try_turn("a").is_some());
}

/// A namespace with a pipeline that sends results there.
fn sending(results: Value) -> Gathered {
    let mut pipeline = stage("readers", "{{ document.text }}");
    pipeline["results"] = results;
    namespace(&[("letters", pipeline)])
}

#[test]
fn a_gateway_has_the_variables_and_files_of_the_users_secret_if_there_is_one() {
    let pod = pod(&config());
    let container = &pod["containers"][0];
    let secret = json!({"secretRef": {"name": "docket-gateway-env", "optional": true}});
    assert_eq!(container["envFrom"], json!([secret]));
    let volumes = pod["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["name"] == "given").expect("a volume");
    assert_eq!(volume["secret"], json!({"secretName": "docket-gateway-env", "optional": true}));
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let mount = json!({"name": "given", "mountPath": "/run/secrets/docket", "readOnly": true});
    assert!(mounts.contains(&mount), "where the docs say that passwords lie: {mounts:#?}");
}

#[test]
fn a_gateway_whose_state_is_on_a_claim_is_one_and_has_gone_before_the_next_comes() {
    let several = Config { gateway_replicas: 3, ..config() };
    let built = |state: Claim| {
        let gathered = Gathered { state, ..sending(json!({"table": {"uri": "default"}})) };
        let spec = of_kind(&gathered, &several, "Deployment")["spec"].clone();
        let volumes = spec["template"]["spec"]["volumes"].as_array().cloned().expect("volumes");
        let states: Vec<Value> = volumes.into_iter().filter(|volume| volume["name"] == "state").collect();
        let mounts = spec["template"]["spec"]["containers"][0]["volumeMounts"].to_string();
        assert!(mounts.contains("/var/lib/docket\""), "{mounts}");
        (spec["replicas"].clone(), spec["strategy"].clone(), states)
    };
    let claim = json!({"name": "state", "persistentVolumeClaim": {"claimName": "docket-gateway-state"}});
    assert_eq!(built(Claim::Allowed), (json!(1), json!({"type": "Recreate"}), vec![claim]));
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    for state in [Claim::Missing, Claim::NotAllowed] {
        let empty = json!({"name": "state", "emptyDir": {}});
        assert_eq!(built(state), (json!(3), rolling.clone(), vec![empty]), "{state:?}");
    }
}

#[test]
fn a_gateway_reaches_the_databases_and_caches_that_are_named_and_never_the_metadata_service() {
    let rules = |gathered: &Gathered| {
        let policy = of_kind(gathered, &config(), "NetworkPolicy");
        policy["spec"]["egress"].as_array().cloned().expect("rules")
    };
    let usual = rules(&one());
    let further = |gathered: &Gathered| {
        let further: Vec<Value> = rules(gathered).into_iter().filter(|rule| !usual.contains(rule)).collect();
        let [rule] = &further[..] else { panic!("{further:#?}") };
        assert!(rule["to"].to_string().contains(r#""except":["169.254.0.0/16"]"#), "{rule:#}");
        let ports = rule["ports"].as_array().expect("ports").iter();
        ports.map(|port| port["port"].as_u64().expect("a number")).collect::<Vec<u64>>()
    };
    for (url, ports) in [
        ("postgres://docket@db.example/results", vec![5432]),
        ("postgres://docket@db.example:6543/results?sslmode=require", vec![6543]),
        ("postgresql://docket@[fd00::1]:6543,second,third:7000/results", vec![5432, 6543, 7000]),
        ("postgres://docket@[fd00::1]/results", vec![5432]),
        ("postgres:///results?host=db&port=6000", vec![5432, 6000]),
        ("host=db port='6001' user=docket", vec![6001]),
        ("host=db user=docket", vec![5432]),
    ] {
        assert_eq!(further(&sending(json!({"postgres": {"url": url}}))), ports, "{url}");
    }
    for (url, port) in [("redis://cache", 6379), ("redis://user:a@cache:7001/2", 7001)] {
        let mut with = one();
        let caching = json!({"template": {"env": [{"name": "DOCKET_REDIS", "value": url}]}});
        with.pools.insert("caching".to_owned(), pool(caching.clone()).spec);
        assert_eq!(further(&with), [port], "{url}");
        let agents = operator::agent_pool::build::all(&crate::support::validated(&pool(caching)));
        let policy = agents.before.iter().map(|child| child.object()).find(|object| object["kind"] == "NetworkPolicy");
        let policy = policy.expect("a policy")["spec"]["egress"].to_string();
        assert!(policy.contains(&format!("\"port\":{port}")), "agents reach it too: {policy}");
    }
}

#[test]
fn the_image_is_pulled_with_the_secrets_that_are_named() {
    let with = Config { image_pull_secrets: vec!["registry".to_owned(), "mirror".to_owned()], ..config() };
    let of_agents = |config: &Config| {
        let built = operator::agent_pool::build::all(&crate::support::validated_with(&pool(json!({})), config));
        built.deployment.object()["spec"]["template"]["spec"]["imagePullSecrets"].clone()
    };
    let named = json!([{"name": "registry"}, {"name": "mirror"}]);
    assert_eq!((pod(&with)["imagePullSecrets"].clone(), of_agents(&with)), (named.clone(), named));
    assert_eq!((pod(&config())["imagePullSecrets"].clone(), of_agents(&config())), (Value::Null, Value::Null));
}
