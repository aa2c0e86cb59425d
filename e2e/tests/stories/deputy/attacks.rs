//! What somebody may write into pools and pipelines to get what is not theirs, and how each must end.

use serde_json::{Value, json};

/// One attempt.
pub struct Attack {
    /// What is wanted.
    pub name: &'static str,
    /// What is written.
    pub object: Value,
    /// What must come of it.
    pub end: End,
}

/// How an attack must end.
#[derive(Clone, Copy)]
pub enum End {
    /// The API server refuses the object and names this.
    Refused(&'static str),
    /// The API server does not store this field, a JSON pointer, and the rest works.
    Pruned(&'static str),
    /// A condition has this status and says this.
    Says(&'static str, &'static str, &'static str),
    /// It is served, and a document of it fails.
    Fails,
    /// It is taken, and what is looked for in all pods, policies and texts is not there.
    Taken,
}

use End::{Fails, Pruned, Refused, Says, Taken};

/// All attacks on a namespace, some of them with another one's name.
pub fn all(namespace: &str, elsewhere: &str) -> Vec<Attack> {
    let mut attacks = fields_that_pods_have();
    attacks.extend(volumes());
    attacks.extend(environment());
    attacks.extend(secrets_that_models_name());
    attacks.extend(addresses_and_places());
    attacks.extend(names(namespace, elsewhere));
    attacks.extend(pipelines(elsewhere));
    for (number, attack) in attacks.iter_mut().enumerate() {
        if attack.object["metadata"]["name"].is_null() {
            attack.object["metadata"]["name"] = json!(format!("attack-{number}"));
        }
    }
    attacks
}

/// A pool with this name.
pub fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {"name": name}, "spec": spec})
}

/// A pool that is only looked at, not run.
fn unrun(name: &'static str, mut spec: Value, end: End) -> Attack {
    spec["replicas"] = json!(0);
    let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "AgentPool", "metadata": {}, "spec": spec});
    Attack { name, object, end }
}

/// A pool whose agents start.
fn run(name: &'static str, mut spec: Value, end: End) -> Attack {
    spec["template"]["resources"] = json!({"requests": {"cpu": "10m", "memory": "64Mi"}});
    let mut attack = unrun(name, spec, end);
    attack.object["spec"]["replicas"] = json!(1);
    attack
}

fn template(name: &'static str, field: &str, value: Value, end: End) -> Attack {
    unrun(name, json!({"template": {field: value}}), end)
}

/// What a pod template has, and what a pool has not.
fn fields_that_pods_have() -> Vec<Attack> {
    let key = json!([{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "OWNERS_KEY"}}}]);
    let root = json!({"privileged": true, "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}});
    let shell = json!([{"name": "agent", "image": "busybox", "command": ["sh"]}]);
    let labels = json!({"labels": {"app.kubernetes.io/component": "gateway", "app": "ledger"}});
    vec![
        template(
            "another account",
            "serviceAccountName",
            json!("deployer"),
            Pruned("/spec/template/serviceAccountName"),
        ),
        unrun(
            "another account of the pool",
            json!({"serviceAccountName": "deployer"}),
            Pruned("/spec/serviceAccountName"),
        ),
        template(
            "the account's token",
            "automountServiceAccountToken",
            json!(true),
            Pruned("/spec/template/automountServiceAccountToken"),
        ),
        template("a node of one's choice", "nodeName", json!("node-1"), Pruned("/spec/template/nodeName")),
        template("the node's network", "hostNetwork", json!(true), Pruned("/spec/template/hostNetwork")),
        template("the node's processes", "hostPID", json!(true), Pruned("/spec/template/hostPID")),
        template("root", "securityContext", root, Pruned("/spec/template/securityContext")),
        template("a shell", "containers", shell.clone(), Pruned("/spec/template/containers")),
        template("a shell before", "initContainers", shell, Pruned("/spec/template/initContainers")),
        template("another image", "image", json!("busybox"), Pruned("/spec/template/image")),
        template("another program", "command", json!(["sh", "-c", "env"]), Pruned("/spec/template/command")),
        template("other words", "args", json!(["--log", "trace"]), Pruned("/spec/template/args")),
        template(
            "a registry's credentials",
            "imagePullSecrets",
            json!([{"name": "vault"}]),
            Pruned("/spec/template/imagePullSecrets"),
        ),
        template(
            "a Secret's keys",
            "envFrom",
            json!([{"secretRef": {"name": "vault"}}]),
            Pruned("/spec/template/envFrom"),
        ),
        template("a Secret's key", "env", key, Pruned("/spec/template/env/0/valueFrom")),
        template("another runtime", "runtimeClassName", json!("host"), Pruned("/spec/template/runtimeClassName")),
        template("labels of another's pods", "metadata", labels, Pruned("/spec/template/metadata")),
        unrun("another's pods", json!({"selector": {"app": "ledger"}}), Pruned("/spec/selector")),
        unrun("another's subjects", json!({"nats": {"prefix": "docket-kube-system"}}), Pruned("/spec/nats")),
        template(
            "the cluster's own priority",
            "priorityClassName",
            json!("system-node-critical"),
            Refused("spec.template.priorityClassName"),
        ),
        template(
            "more memory than there is",
            "resources",
            json!({"limits": {"memory": "-1"}}),
            Refused("spec.template.resources.limits.memory"),
        ),
        unrun(
            "every node",
            json!({"device": {"tolerations": [{"key": ""}]}}),
            Refused("spec.device.tolerations[0].key"),
        ),
        unrun(
            "a device of another's",
            json!({"device": {"kind": "Gpu", "claims": [{"name": "d", "template": "../other"}]}}),
            Refused("spec.device.claims[0].template"),
        ),
    ]
}

fn volumes() -> Vec<Attack> {
    let volume = |name: &'static str, fields: Value, end: End| {
        let mut volume = json!({"name": "room", "claim": "shared"});
        for (field, value) in fields.as_object().into_iter().flatten() {
            volume[field] = value.clone();
        }
        unrun(name, json!({"template": {"volumes": [volume]}}), end)
    };
    let token = json!({"sources": [{"serviceAccountToken": {"path": "token", "audience": "docket"}}]});
    let over = |name, path: &str| volume(name, json!({"mountPath": path}), Says("Ready", "False", "ReservedFolder"));
    vec![
        volume("the node's disk", json!({"hostPath": {"path": "/"}}), Pruned("/spec/template/volumes/0/hostPath")),
        volume("a Secret", json!({"secret": {"secretName": "vault"}}), Pruned("/spec/template/volumes/0/secret")),
        volume("a token", json!({"projected": token}), Pruned("/spec/template/volumes/0/projected")),
        volume("what is beside the room", json!({"subPath": "../.."}), Pruned("/spec/template/volumes/0/subPath")),
        volume("no room but a Secret", json!({"claim": null}), Refused("spec.template.volumes[0].claim")),
        volume("another's room", json!({"claim": "ledger"}), Says("Ready", "False", "not meant for agents")),
        volume(
            "another namespace's room",
            json!({"claim": "kube-system/a"}),
            Refused("spec.template.volumes[0].claim"),
        ),
        volume("a place without a root", json!({"mountPath": "etc"}), Refused("spec.template.volumes[0].mountPath")),
        over("the callers' tokens", "/etc/docket-tokens"),
        over("the token of metrics", "/etc/docket-metrics"),
        over("the settings, by a detour", "/volumes/../etc/docket"),
        over("the libraries", "/lib/x86_64-linux-gnu"),
        over("the processes", "/proc/1"),
        over("the token's place", "/var/run/secrets/kubernetes.io/serviceaccount"),
        over("everything", "//"),
    ]
}

fn environment() -> Vec<Attack> {
    let variable = |name: &'static str, variable: &'static str, value: &str| {
        let env = json!([{"name": variable, "value": value}]);
        template(name, "env", env, Says("Ready", "False", variable))
    };
    let mut curious = run(
        "the value of another variable",
        json!({"template": {"env": [{"name": "MINE", "value": "$(OWNERS_KEY)"}]}}),
        Says("Ready", "True", "AllReady"),
    );
    curious.object["metadata"]["name"] = json!("curious");
    vec![
        curious,
        variable("documents, elsewhere", "DOCKET_PAYLOADS", "s3://mine"),
        variable("another broker", "DOCKET_NATS", "nats://192.0.2.1:4222"),
        variable("other settings", "DOCKET_CONFIG", "/volumes/room/worker.yaml"),
        variable("a port", "DOCKET_HEALTH", "0.0.0.0:1234"),
        variable("the store's requests", "AWS_ENDPOINT_URL", "http://192.0.2.1"),
        variable("a file, sent as a token", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/etc/docket-tokens/token"),
        variable("code", "LD_PRELOAD", "/volumes/room/mine.so"),
        variable("another address", "POD_IP", "192.0.2.1"),
        variable("another API server", "KUBERNETES_SERVICE_HOST", "192.0.2.1"),
        template("two variables in one", "env", json!([{"name": "A=B"}]), Refused("spec.template.env[0].name")),
    ]
}

/// Whoever names a secret also says where it is sent.
fn secrets_that_models_name() -> Vec<Attack> {
    let of_others = |field: &str, value: &str| {
        let openai = json!({"baseUrl": "http://192.0.2.1/v1", "model": "m", field: value});
        json!({"models": [{"name": "m", "task": "Generate", "source": {"openai": openai}}]})
    };
    let kept = |name, field: &str, value: &str| {
        run(name, of_others(field, value), Says("Ready", "False", "one of the process's own"))
    };
    vec![
        run(
            "the store's key",
            of_others("apiKeyEnv", "AWS_SECRET_ACCESS_KEY"),
            Says("Ready", "False", "is the process's own"),
        ),
        run(
            "the cache's password",
            of_others("apiKeyEnv", "DOCKET_REDIS"),
            Says("Ready", "False", "is the process's own"),
        ),
        kept("the callers' token", "apiKeyFile", "/etc/docket-tokens/token"),
        kept("the token of metrics", "apiKeyFile", "/etc/docket-metrics/token"),
        kept("the broker's credentials, by a detour", "apiKeyFile", "/tmp/../etc/docket-nats/nats.creds"),
        kept("the environment", "apiKeyFile", "/proc/self/environ"),
        run(
            "the account's token",
            of_others("apiKeyFile", "/var/run/secrets/kubernetes.io/serviceaccount/token"),
            Says("Ready", "False", "failed to read"),
        ),
        run(
            "the callers' tokens, read as a model",
            json!({"models": [{"name": "m", "task": "Embed", "source": {"file": "/etc/docket-tokens"}}]}),
            Says("Ready", "False", ""),
        ),
        unrun("a key in an address", of_others("baseUrl", "http://user:key@192.0.2.1"), Refused("baseUrl")),
        unrun("a file, by an address", of_others("baseUrl", "file:///etc/docket-tokens/token"), Refused("baseUrl")),
        unrun(
            "an option for the program that fetches models",
            json!({"models": [{"name": "m", "task": "Embed", "source": {"catalog": "--models=/etc"}}]}),
            Refused("spec.models[0].source.catalog"),
        ),
    ]
}

/// Agents may have these addresses written. Most they refuse by themselves; from others their policy keeps them away, which is
/// looked at with those of all pools.
fn addresses_and_places() -> Vec<Attack> {
    let provider = |url: &str| {
        let openai = json!({"baseUrl": url, "model": "m"});
        json!({"models": [{"name": "m", "task": "Generate", "source": {"openai": openai}}]})
    };
    let at = |name, url: &str, words| run(name, provider(url), Says("Ready", "False", words));
    let fetched = |url: &str| json!({"url": url, "sha256": "0".repeat(64)});
    let model = |url: &str| json!({"models": [{"name": "m", "task": "Embed", "source": {"http": fetched(url)}}]});
    vec![
        at("the machine's metadata", "http://169.254.169.254/latest/meta-data", "a link-local address"),
        at("the API server", "https://kubernetes.default.svc", "the API server's address"),
        at("the broker's monitor", "http://docket-nats.docket-system.svc:8222/connz", "the cluster's own servers"),
        unrun("another pool's agents", provider("http://theirs-agents.other.svc:8080/v1"), Taken),
        unrun("a file as a model", model("file:///etc/docket-tokens/token"), Refused("spec.models[0].source.http.url")),
        run(
            "the machine's metadata as a model",
            model("http://169.254.169.254/latest"),
            Says("Ready", "False", "a link-local address"),
        ),
    ]
}

fn names(namespace: &str, elsewhere: &str) -> Vec<Attack> {
    let named = |name: &'static str, metadata: Value, end: End| {
        let mut attack = unrun(name, json!({}), end);
        attack.object["metadata"] = metadata;
        attack
    };
    let gateway = json!({"app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": "docket-gateway"});
    let annotations = json!({
        "docket.dev/applied": "mine",
        "container.apparmor.security.beta.kubernetes.io/agent": "unconfined",
    });
    let mut selector = named("what another writes", json!({}), Taken);
    selector.object["status"] = json!({"selector": "app=ledger", "replicas": 7});
    selector.end = Pruned("/status");
    vec![
        selector,
        named("another namespace", json!({"name": "mine", "namespace": elsewhere}), Refused("forbidden")),
        named("the operator's namespace", json!({"name": "mine", "namespace": "docket-system"}), Refused("forbidden")),
        named("another's configuration", json!({"name": "books"}), Says("Ready", "False", "NameTaken")),
        named("another's account", json!({"name": "robot"}), Says("Ready", "False", "NameTaken")),
        named("another's address", json!({"name": "ledger"}), Says("Ready", "False", "NameTaken")),
        named("all subjects", json!({"name": ">"}), Refused("metadata.name")),
        named("a subject of another", json!({"name": "*.normal"}), Refused("metadata.name")),
        // A gateway that was told of one would not start, and serve nobody.
        named("a pool below another", json!({"name": "clerks.normal"}), Says("Ready", "False", "NameNotPlain")),
        named("the gateway's labels", json!({"name": "labelled", "labels": gateway}), Taken),
        named("annotations of pods", json!({"name": "annotated", "annotations": annotations}), Taken),
        named(
            "another namespace's prefix",
            json!({"name": format!("{namespace}-tasks-clerks")}),
            Says("Ready", "True", "AllReady"),
        ),
    ]
}

fn pipelines(elsewhere: &str) -> Vec<Attack> {
    let pipeline = |name: &'static str, spec: Value, end: End| {
        let object = json!({"apiVersion": "docket.dev/v1alpha1", "kind": "Pipeline", "metadata": {}, "spec": spec});
        Attack { name, object, end }
    };
    let parse = json!({"name": "parse", "pool": "clerks", "parse": {}});
    let with = |field: &str, value: Value| json!({"stages": [parse.clone()], field: value});
    let by = |pool: &str| json!({"stages": [{"name": "parse", "pool": pool, "parse": {}}]});
    let stage = |fields: Value| {
        let mut stage = json!({"name": "s", "pool": "clerks"});
        for (field, value) in fields.as_object().into_iter().flatten() {
            stage[field] = value.clone();
        }
        json!({"stages": [stage]})
    };
    let template = |name, template: &str| {
        let mut spec = stage(json!({"transform": {"template": template}}));
        spec["retry"] = json!({"maxAttempts": 1});
        pipeline(name, spec, Fails)
    };
    let knowledge = |uri: &str| with("knowledge", json!([{"name": "k", "embedder": "m", "uri": uri}]));
    let mut wild = pipeline("all records", with("suspend", json!(true)), Refused("metadata.name"));
    wild.object["metadata"]["name"] = json!("letters.>");
    let mut below = pipeline("a pipeline below another", by("clerks"), Says("Accepted", "False", "NameNotPlain"));
    below.object["metadata"]["name"] = json!("letters.tasks");
    vec![
        wild,
        below,
        pipeline("another namespace's pool", by(&format!("{elsewhere}/theirs")), Says("PoolsReady", "False", "theirs")),
        pipeline("all pools", by(">"), Says("PoolsReady", "False", ">")),
        pipeline("the gateway's own tasks", by("_results"), Says("PoolsReady", "False", "_results")),
        pipeline("a bucket", knowledge("s3://of-another/knowledge"), Refused("spec.knowledge[0].uri")),
        pipeline(
            "another's results",
            with("results", json!({"table": {"uri": "s3://a"}})),
            Refused("spec.results.table.uri"),
        ),
        pipeline("a call", stage(json!({"http": {"url": "http://169.254.169.254"}})), Refused("spec.stages[0]")),
        pipeline("a program", stage(json!({"exec": {"command": ["env"]}})), Refused("spec.stages[0]")),
        pipeline("another subject", stage(json!({"name": "a.>", "parse": {}})), Refused("spec.stages[0].name")),
        template("a file, in a template", r#"{% include "/etc/docket-tokens/token" %}"#),
        template("the environment, in a template", r#"{{ env("DOCKET_NAME") }}"#),
        template("a module, in a template", r#"{% import "os" as os %}{{ os.environ }}"#),
        template("what is behind a value, in a template", "{{ document.__class__.__mro__ }}"),
        pipeline("another account", with("serviceAccountName", json!("deployer")), Pruned("/spec/serviceAccountName")),
        pipeline("another's cache", with("cache", json!({"redis": {"url": "redis://a"}})), Pruned("/spec/cache/redis")),
        pipeline("another's stream", with("stream", json!("docket-other-tasks")), Pruned("/spec/stream")),
    ]
}
