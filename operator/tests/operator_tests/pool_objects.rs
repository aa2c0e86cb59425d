//! The objects of pools: what is on file for every published sample, and what each field changes.

use std::time::Duration;

use crate::support::{config, pool, pools_of, validated};
use crds::AgentPool;
use operator::{
    agent_pool::{
        build,
        dereference::{Claim, Dereferenced},
        fallback::Placement,
        validate,
    },
    config::Config,
};
use serde_json::{Value, json};

fn objects(pool: &AgentPool) -> Vec<Value> {
    let prepared = build::all(&validated(pool));
    let children = prepared.before.iter().chain(&prepared.after).chain([&prepared.deployment]);
    children.map(|child| child.object().clone()).collect()
}

fn of_kind(pool: &AgentPool, kind: &str) -> Value {
    objects(pool).into_iter().find(|object| object["kind"] == kind).unwrap_or_default()
}

fn pod(pool: &AgentPool) -> Value {
    of_kind(pool, "Deployment")["spec"]["template"]["spec"].clone()
}

#[test]
fn samples_build_the_objects_on_file() {
    insta::glob!("../../../config/samples", "*.yaml", |path| {
        let built: Vec<Value> = pools_of(path).iter().flat_map(objects).collect();
        insta::assert_yaml_snapshot!(built);
    });
}

#[test]
fn building_twice_gives_the_same() {
    let pool = pool(json!({"device": {"nodeSelector": {"b": "2", "a": "1"}}}));
    assert_eq!(objects(&pool), objects(&pool));
}

#[test]
fn every_container_is_as_the_restricted_standard_asks() {
    let pool = pool(json!({"models": [{"name": "m", "task": "Embed", "source": {"catalog": "minilm"}}]}));
    let pod = pod(&pool);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let containers =
        [&pod["containers"], &pod["initContainers"]].map(|list| list.as_array().cloned().unwrap_or_default());
    let containers = containers.concat();
    assert!(!containers.is_empty());
    for container in containers {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true, "{container:#}");
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn where_the_cluster_chooses_users_pods_name_none_and_none_is_root() {
    let ids = |config: &Config| {
        let prepared = build::all(&crate::support::validated_with(&pool(json!({})), config));
        let context = prepared.deployment.object()["spec"]["template"]["spec"]["securityContext"].clone();
        assert_eq!(context["runAsNonRoot"], true);
        ["runAsUser", "runAsGroup", "fsGroup"].map(|field| context[field].as_i64())
    };
    assert_eq!(ids(&config()), [Some(65_532); 3]);
    assert_eq!(ids(&Config { fixed_ids: false, ..config() }), [None; 3]);
}

#[test]
fn a_gpu_is_a_resource_of_the_node_and_its_agents_are_replaced_one_for_one() {
    let gpu = pool(json!({"device": {
        "kind": "Gpu", "nodeSelector": {"class": "large"},
        "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}, {"key": "team", "value": "docs"}],
    }}));
    let pod = pod(&gpu);
    let resources = &pod["containers"][0]["resources"];
    assert_eq!(
        (&resources["requests"]["nvidia.com/gpu"], &resources["limits"]["nvidia.com/gpu"]),
        (&json!("1"), &json!("1"))
    );
    assert_eq!(pod["nodeSelector"], json!({"class": "large"}));
    assert_eq!(
        pod["tolerations"],
        json!([
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "operator": "Equal", "value": "docs"},
        ])
    );
    let strategy = |pool: &AgentPool| of_kind(pool, "Deployment")["spec"]["strategy"]["rollingUpdate"].clone();
    assert_eq!(strategy(&gpu), json!({"maxSurge": 0, "maxUnavailable": 1}));
    assert_eq!(strategy(&pool(json!({}))), json!({"maxSurge": 1, "maxUnavailable": 0}));
    let slice = pool(json!({"device": {"kind": "Gpu", "resource": "nvidia.com/mig-1g.10gb"}}));
    let limits = support_pod_limits(&slice);
    assert_eq!((limits.get("nvidia.com/gpu"), &limits["nvidia.com/mig-1g.10gb"]), (None, &json!("1")));
}

#[test]
fn a_claim_takes_the_place_of_the_usual_resource_and_each_agent_makes_its_own() {
    let claims = json!([{"name": "gpu", "template": "half-a-gpu"}]);
    let claimed = pool(json!({"device": {"kind": "Gpu", "claims": claims}}));
    assert_eq!(pod(&claimed)["resourceClaims"], json!([{"name": "gpu", "resourceClaimTemplateName": "half-a-gpu"}]));
    assert_eq!(pod(&claimed)["containers"][0]["resources"]["claims"], json!([{"name": "gpu"}]));
    assert_eq!(support_pod_limits(&claimed).get("nvidia.com/gpu"), None);
    let both = pool(json!({"device": {"kind": "Gpu", "resource": "example.com/fabric", "claims": claims}}));
    assert_eq!(support_pod_limits(&both)["example.com/fabric"], "1");
    let without = pod(&pool(json!({"device": {"kind": "Gpu"}})));
    assert_eq!((without.get("resourceClaims"), without["containers"][0]["resources"].get("claims")), (None, None));
}

fn support_pod_limits(pool: &AgentPool) -> Value {
    pod(pool)["containers"][0]["resources"]["limits"].clone()
}

#[test]
fn what_changes_the_work_changes_the_pods_and_what_does_not_leaves_them() {
    let digest = |spec: Value| {
        let template = of_kind(&pool(spec), "Deployment")["spec"]["template"].clone();
        template["metadata"]["annotations"]["docket.dev/config"].as_str().expect("a digest").to_owned()
    };
    let usual = digest(json!({}));
    assert_ne!(usual, digest(json!({"concurrency": 3})));
    assert_ne!(usual, digest(json!({"profile": "LowMemory"})));
    assert_eq!(usual, digest(json!({"replicas": 7})));
    assert_eq!(usual, digest(json!({"networkPolicy": {"enabled": false}, "disruptionBudget": {"maxUnavailable": 2}})));
}

#[test]
fn fields_of_the_template_reach_the_pod() {
    let written = pool(json!({"template": {
        "env": [{"name": "RUST_LOG", "value": "debug"}],
        "resources": {"requests": {"cpu": "0.5"}, "limits": {"cpu": "1000m", "memory": "256Mi"}},
        "volumes": [{"name": "state", "claim": "state-of-readers"}, {"name": "tables", "claim": "tables"}],
        "priorityClassName": "documents",
    }, "replicas": 4, "disruptionBudget": {"maxUnavailable": 2}}));
    let pod = pod(&written);
    let agent = &pod["containers"][0];
    assert!(agent["env"].as_array().is_some_and(|env| env.contains(&json!({"name": "RUST_LOG", "value": "debug"}))));
    assert_eq!(agent["resources"]["requests"], json!({"cpu": "500m", "memory": "256Mi"}));
    assert_eq!(agent["resources"]["limits"], json!({"cpu": "1", "memory": "256Mi"}));
    assert_eq!(pod["priorityClassName"], "documents");
    let mounted = |path: &str| {
        let mounts = agent["volumeMounts"].as_array().expect("mounts");
        let name = mounts.iter().find(|mount| mount["mountPath"] == path).expect("a mount")["name"].clone();
        let volumes = pod["volumes"].as_array().expect("volumes");
        volumes.iter().find(|volume| volume["name"] == name).expect("a volume")["persistentVolumeClaim"]["claimName"]
            .clone()
    };
    assert_eq!((mounted("/var/lib/docket"), mounted("/volumes/tables")), (json!("state-of-readers"), json!("tables")));
    assert_eq!(of_kind(&written, "Deployment")["spec"]["replicas"], 4);
    assert_eq!(of_kind(&written, "PodDisruptionBudget")["spec"]["maxUnavailable"], 2);
}

#[test]
fn exactly_one_volume_is_the_state_folder() {
    for volume in [
        json!({"name": "state", "claim": "mine"}),
        json!({"name": "state", "claim": "mine", "mountPath": "/var/lib/docket/"}),
        json!({"name": "tables", "claim": "mine", "mountPath": "/var/lib/docket"}),
        json!({"name": "tables", "claim": "mine"}),
    ] {
        let pod = pod(&pool(json!({"template": {"volumes": [volume]}})));
        let mounts = pod["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
        let path = |mount: &Value| mount["mountPath"].as_str().unwrap_or_default().trim_end_matches('/').to_owned();
        let state: Vec<_> = mounts.iter().filter(|mount| path(mount) == "/var/lib/docket").collect();
        assert_eq!(state.len(), 1, "{volume}: {mounts:#?}");
        let of_state =
            pod["volumes"].as_array().into_iter().flatten().find(|volume| volume["name"] == state[0]["name"]);
        let is_claim = of_state.is_some_and(|volume| volume["persistentVolumeClaim"].is_object());
        assert_eq!(is_claim, volume["name"] == "state" || !volume["mountPath"].is_null(), "{volume}");
    }
}

#[test]
fn a_scaled_pool_leaves_the_number_of_its_agents_alone_and_another_owner_names_it() {
    let replicas = |spec: Value| of_kind(&pool(spec), "Deployment")["spec"]["replicas"].clone();
    let scaling = |mode: &str| json!({"replicas": 4, "scaling": {"minReplicas": 2, "maxReplicas": 9, "mode": mode}});
    assert_eq!(replicas(scaling("Apply")), Value::Null);
    assert_eq!(replicas(scaling("Advise")), 4);
    assert_eq!(replicas(scaling("External")), 4);
    assert_eq!(replicas(json!({"replicas": 4})), 4);
}

#[test]
fn a_pool_is_closed_and_opens_as_far_as_its_models_need() {
    let mut held = pool(json!({}));
    let egress = |pool: &AgentPool| of_kind(pool, "NetworkPolicy")["spec"]["egress"].to_string();
    assert!(!egress(&held).contains("ipBlock"), "{}", egress(&held));
    let theirs = json!({"name": "m", "task": "Generate",
        "source": {"openai": {"baseUrl": "https://models.example/v1", "model": "m"}}});
    let others = pool(json!({"models": [theirs]}));
    assert!(egress(&others).contains("169.254.0.0/16"), "the metadata service stays closed");
    // A store may be anywhere but at the metadata service, which has its port.
    let stored = Config { payloads: "s3://bucket".to_owned(), ..config() };
    let stored = validate::pool(&held, &Dereferenced::default(), &stored).expect("a pool");
    let before = build::all(&stored).before;
    let policy = before.iter().map(|child| child.object()).find(|object| object["kind"] == "NetworkPolicy");
    let policy = policy.expect("a policy").to_string();
    assert!(policy.contains(r#""port":443"#) && policy.contains(r#""except":["169.254.0.0/16"]"#), "{policy}");
    assert!(policy.contains("::/0"), "nor is a store closed that has an IPv6 address alone: {policy}");
    held.spec.network_policy.enabled = false;
    assert_eq!(of_kind(&held, "NetworkPolicy"), Value::Null);
    let absent = build::all(&validated(&held)).absent;
    assert_eq!(
        absent.iter().map(|child| child.shown()).collect::<Vec<_>>(),
        ["NetworkPolicy documents/readers-agents"]
    );
}

#[test]
fn agents_are_given_time_for_their_longest_stage_and_a_usual_one_restarts_none() {
    let grace = |longest: Option<u64>| {
        let found = Dereferenced { longest_stage: longest.map(Duration::from_secs), ..Dereferenced::default() };
        let validated = validate::pool(&pool(json!({})), &found, &config()).expect("a pool");
        build::all(&validated).deployment.object()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].clone()
    };
    assert_eq!(
        [grace(None), grace(Some(5)), grace(Some(300)), grace(Some(600)), grace(Some(36_000))],
        [325, 325, 325, 625, 910].map(Value::from)
    );
}

#[test]
fn what_a_pool_cannot_have_is_said_with_what_to_do() {
    let refused = |spec: Value, claims: &[Claim]| {
        let found = Dereferenced { claims: claims.to_vec(), ..Dereferenced::default() };
        let error = validate::pool(&pool(spec), &found, &config()).err().expect("it is refused");
        (error.reason(), error.to_string())
    };
    let volume = json!({"template": {"volumes": [{"name": "state", "claim": "mine"}]}});
    let (reason, message) = refused(volume.clone(), &[Claim::Missing]);
    assert!(reason == "ClaimMissing" && message.contains("\"mine\""), "{message}");
    let (reason, message) = refused(volume, &[Claim::NotAllowed]);
    assert!(
        reason == "ClaimNotAllowed" && message.contains("kubectl label pvc mine docket.dev/agents=allowed"),
        "{message}"
    );
    let resources = json!({"template": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}});
    assert_eq!(refused(resources, &[]).0, "RequestAboveLimit");
    let of_the_process =
        ["DOCKET_UNSAFE_FAULTS", "DOCKET_PAYLOADS", "AWS_ENDPOINT_URL", "LD_PRELOAD", "POD_IP", "TMPDIR"];
    for name in of_the_process.into_iter().chain(["KUBERNETES_SERVICE_HOST"]) {
        let reserved = json!({"template": {"env": [{"name": name, "value": "x"}]}});
        let (reason, message) = refused(reserved, &[]);
        assert!(reason == "ReservedVariable" && message.contains(name), "{message}");
    }
    for path in ["/etc/docket-tokens", "/etc/docket/..", "//etc", "/data/./x", "/var", "/usr/lib/", "/tmp/x", "/proc"] {
        let volume = json!({"template": {"volumes": [{"name": "a", "claim": "mine", "mountPath": path}]}});
        let (reason, message) = refused(volume, &[Claim::Allowed]);
        assert!(reason == "ReservedFolder" && message.contains(path), "{message}");
    }
    let volume = json!({"template": {"volumes": [{"name": "state", "claim": "mine", "mountPath": "/data"}]}});
    let (reason, message) = refused(volume, &[Claim::Allowed]);
    assert!(
        reason == "StateElsewhere" && message.contains("/data") && message.contains("/var/lib/docket"),
        "{message}"
    );
    let mut long = pool(json!({}));
    long.metadata.name = Some("n".repeat(58));
    let error = validate::pool(&long, &Dereferenced::default(), &config()).err().expect("it is refused");
    assert_eq!(error.reason(), "NameTooLong");
    let mut dotted = pool(json!({}));
    dotted.metadata.name = Some("clerks.normal".to_owned());
    let error = validate::pool(&dotted, &Dereferenced::default(), &config()).err().expect("it is refused");
    assert!(error.reason() == "NameNotPlain" && error.to_string().contains("clerks.normal"), "{error}");
}

#[test]
fn what_is_of_no_other_is_left_to_pools() {
    let names = ["RUST_LOG", "DOCKET_LOG", "DOCKET_REDIS", "HTTPS_PROXY", "MY_AWS_KEY"];
    let paths = ["/data", "/var/lib/docket/", "/etcetera", "/volumes/etc", "/models/own"];
    let environment = names.map(|name| json!({"name": name}));
    let volumes = paths.map(|path| json!({"name": "a", "claim": "mine", "mountPath": path}));
    let spec = json!({"template": {"env": environment, "volumes": volumes}});
    let found = Dereferenced { claims: vec![Claim::Allowed; 5], ..Dereferenced::default() };
    assert_eq!(validate::pool(&pool(spec), &found, &config()).err(), None);
}

#[test]
fn what_is_empty_is_left_out_as_kubernetes_leaves_it_out() {
    let pool = pool(json!({
        "template": {"env": [{"name": "A"}, {"name": "B", "value": ""}]},
        "device": {"kind": "Gpu", "tolerations": [{"key": "team", "value": ""}]},
    }));
    let pod = pod(&pool);
    let environment = pod["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    for name in ["A", "B"] {
        assert!(environment.contains(&json!({"name": name})), "{environment:#?}");
    }
    assert_eq!(pod["tolerations"], json!([{"key": "team", "operator": "Equal"}]), "its value is the empty one");
}

#[test]
fn a_variable_cannot_take_the_value_of_another() {
    let written = "$(AWS_SECRET_ACCESS_KEY) costs 5$ or $$";
    let pool = pool(json!({"template": {"env": [{"name": "MINE", "value": written}]}}));
    let environment = pod(&pool)["containers"][0]["env"].clone();
    let built = environment.as_array().into_iter().flatten().find(|variable| variable["name"] == "MINE");
    // Of two signs Kubernetes makes one, and looks for no name behind it.
    let built = built.and_then(|variable| variable["value"].as_str()).unwrap_or_default();
    assert_eq!(built, "$$(AWS_SECRET_ACCESS_KEY) costs 5$$ or $$$$");
}

#[test]
fn what_prometheus_needs_comes_after_the_agents() {
    let mut pool = validated(&pool(json!({})));
    let of_prometheus = |pool: &_| {
        let after = build::all(pool).after;
        after.iter().map(|child| child.object()["kind"].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(of_prometheus(&pool), ["PodMonitor"]);
    pool.pod_monitors = false;
    assert_eq!(of_prometheus(&pool), Vec::<Value>::new());
}

#[test]
fn an_object_that_somebody_else_made_is_not_taken() {
    let prepared = build::all(&validated(&pool(json!({}))));
    for child in prepared.before.iter().chain(&prepared.after).chain([&prepared.deployment]) {
        let with = |metadata: Value| child.is_taken(&json!({"metadata": metadata}));
        assert!(with(json!({})), "{}", child.shown());
        assert!(with(json!({"managedFields": [{"manager": "helm"}], "labels": {"docket.dev/agents": "refused"}})));
        assert!(!with(json!({"managedFields": [{"manager": "helm"}, {"manager": "docket-operator"}]})));
        assert!(!with(json!({"annotations": {"docket.dev/applied": "a digest"}})), "as it comes from a backup");
        assert!(!with(json!({"labels": {"docket.dev/agents": "allowed"}})), "its owner gave it");
    }
}

#[test]
fn agents_are_placed_by_labels_of_nodes_and_apart_from_each_other() {
    let placed = |affinity: Value| {
        let pool = pool(json!({"template": {"affinity": affinity}}));
        (
            pod(&pool)["affinity"].clone(),
            of_kind(&pool, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxSurge"].clone(),
        )
    };
    let (affinity, surge) = placed(json!({
        "required": [{"key": "region", "operator": "In", "values": ["eu-1"]}, {"key": "spot", "operator": "DoesNotExist"}],
        "preferred": [{"weight": 7, "labels": [{"key": "fast", "operator": "Exists"}]}],
        "apart": {"topologyKey": "kubernetes.io/hostname"},
    }));
    let nodes = &affinity["nodeAffinity"];
    let rules =
        json!([{"key": "region", "operator": "In", "values": ["eu-1"]}, {"key": "spot", "operator": "DoesNotExist"}]);
    let required = &nodes["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(*required, json!([{"matchExpressions": rules}]), "one term, of which all rules hold");
    let preferred = &nodes["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(
        *preferred,
        json!([{"weight": 7, "preference": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]}}])
    );
    let apart = &affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
    assert_eq!(apart["topologyKey"], "kubernetes.io/hostname");
    assert_eq!(apart["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"], "readers", "of its own alone");
    assert_eq!(surge, 1);

    let (affinity, surge) = placed(json!({"apart": {"topologyKey": "zone", "required": true}}));
    let term = &affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!((&term["topologyKey"], surge), (&json!("zone"), json!(0)), "a successor may have no other place");
    assert_eq!(placed(json!({})), (Value::Null, json!(1)), "and without it nothing is said");
}

#[test]
fn an_agent_whose_state_is_on_a_claim_goes_before_its_successor_comes() {
    let volume = |name: &str| json!({"template": {"volumes": [{"name": name, "claim": "readers-state"}]}});
    let rolling = |spec: Value, placement: Placement| {
        let mut built = validated(&pool(spec));
        built.placement = placement;
        build::all(&built).deployment.object()["spec"]["strategy"]["rollingUpdate"].clone()
    };
    for placement in [Placement::Device, Placement::Cpu, Placement::Trial] {
        assert_eq!(rolling(volume("state"), placement), json!({"maxSurge": 0, "maxUnavailable": 1}), "{placement:?}");
        assert_eq!(rolling(volume("tables"), placement), json!({"maxSurge": 1, "maxUnavailable": 0}), "{placement:?}");
    }
}

#[test]
fn agents_read_what_they_may_take_of_their_devices_memory() {
    let read = |device: Value| {
        let files = of_kind(&pool(json!({"device": device})), "ConfigMap")["data"].clone();
        let of = |name: &str| -> Value {
            let text = files[name].as_str().unwrap_or("null");
            serde_json::from_str::<Value>(text).expect("JSON")["spec"]["device"].clone()
        };
        (of("pool.yaml"), of("pool-on-cpu.yaml"))
    };
    assert_eq!(read(json!({"memoryFraction": 0.5})), (json!({"kind": "Cpu", "memoryFraction": 0.5}), Value::Null));
    assert_eq!(read(json!({})), (json!({"kind": "Cpu"}), Value::Null));
    let gpu = (json!({"kind": "Gpu"}), json!({"kind": "Cpu"}));
    assert_eq!(read(json!({"kind": "Gpu"})), gpu);
    assert_eq!(read(json!({"kind": "Gpu", "fallback": "Cpu"})), gpu, "falling back is no reason to start agents again");
}
