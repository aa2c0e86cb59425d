"""Nobody may more than is written here (SEC-01), and there are no admission webhooks (SEC-18)."""

import unittest

from support import FLAVOURS, HELM, KUBERNETES, NAMESPACE, ROOT, documents, of_kind, one, rendered, run

ROLES = ("Role", "ClusterRole")
BINDINGS = ("RoleBinding", "ClusterRoleBinding")
CHILDREN = {"get", "list", "watch", "create", "patch", "delete"}
# What the operator may do where it serves: group, resource, names or none for any.
SERVED = {
    ("docket.dev", "agentpools", None): {"get", "list", "watch", "patch"},
    ("docket.dev", "pipelines", None): {"get", "list", "watch", "patch"},
    ("docket.dev", "agentpools/status", None): {"patch"},
    ("docket.dev", "pipelines/status", None): {"patch"},
    ("apps", "deployments", None): CHILDREN,
    ("", "services", None): CHILDREN,
    ("", "configmaps", None): CHILDREN,
    ("", "serviceaccounts", None): CHILDREN,
    ("networking.k8s.io", "networkpolicies", None): CHILDREN,
    ("policy", "poddisruptionbudgets", None): CHILDREN,
    ("monitoring.coreos.com", "podmonitors", None): {"get", "create", "patch", "delete"},
    ("", "secrets", None): {"create"},
    ("", "secrets", "docket-nats"): {"get", "patch", "delete"},
    ("", "secrets", "docket-payloads"): {"get", "delete"},
    ("", "secrets", "docket-gateway-tokens"): {"get", "delete"},
    ("", "secrets", "docket-metrics"): {"get", "delete"},
    ("", "persistentvolumeclaims", None): {"get"},
    ("", "pods", None): {"list", "watch", "patch"},
    ("events.k8s.io", "events", None): {"create", "patch"},
}
OWN = {
    ("coordination.k8s.io", "leases", None): {"create"},
    ("coordination.k8s.io", "leases", "docket-operator"): {"get", "update"},
    # The keys of NATS and the token of its metrics, which the operator makes once.
    ("", "secrets", None): {"create"},
    ("", "secrets", "docket-nats-keys"): {"get"},
    ("", "secrets", "docket-operator-metrics"): {"get"},
}
FORBIDDEN_VERBS = {"*", "escalate", "bind", "impersonate", "approve", "sign", "attest", "deletecollection"}
FORBIDDEN_RESOURCES = {
    "*", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/ephemeralcontainers", "services/proxy", "nodes/proxy",
    "serviceaccounts/token", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations", "certificatesigningrequests", "persistentvolumes",
}  # fmt: skip


def grants(role):
    """What a role gives, rule by rule taken apart."""
    given = {}
    for rule in role["rules"]:
        assert "nonResourceURLs" not in rule, role["metadata"]["name"]
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [None]):
                    given.setdefault((group, resource, name), set()).update(rule["verbs"])
    return given


def is_of_users(role):
    return role["metadata"]["labels"]["app.kubernetes.io/component"] == "users"


class Rbac(unittest.TestCase):
    def test_nothing_forbidden_is_given_in_any_flavour(self):
        for flavour in FLAVOURS:
            for role in of_kind(rendered(flavour), *ROLES):
                for (group, resource, name), verbs in grants(role).items():
                    with self.subTest(flavour=flavour, role=role["metadata"]["name"], resource=resource):
                        self.assertNotEqual(group, "*")
                        self.assertNotIn(resource, FORBIDDEN_RESOURCES)
                        forbidden = FORBIDDEN_VERBS - ({"deletecollection"} if is_of_users(role) else set())
                        self.assertEqual(verbs & forbidden, set())
                        if resource == "secrets" and name is None:
                            self.assertEqual(verbs, {"create"})

    def test_the_operator_may_exactly_this_in_the_cluster(self):
        objects = rendered("default")
        role = one(objects, "ClusterRole", f"docket-operator-{NAMESPACE}")
        self.assertEqual(grants(role), SERVED)
        self.assertEqual(grants(one(objects, "Role", "docket-operator-own")), OWN)

    def test_namespaced_it_may_the_same_there_and_nothing_cluster_wide(self):
        objects = rendered("namespaced")
        self.assertEqual(of_kind(objects, "ClusterRole", "ClusterRoleBinding"), [])
        roles = {o["metadata"]["namespace"]: o for o in of_kind(objects, "Role") if o["metadata"]["name"] == "docket-operator"}
        self.assertEqual(set(roles), {"team-a", "team-b"})
        for role in roles.values():
            self.assertEqual(grants(role), SERVED)
        own = [o for o in of_kind(rendered("namespaced-own"), "Role")]
        self.assertEqual({o["metadata"]["namespace"] for o in own}, {NAMESPACE})

    def test_a_right_in_the_cluster_that_lets_a_namespace_go_is_the_one_in_the_namespace(self):
        # As docs/install.md has it: the values of the release, and these above them.
        command = [HELM, "template", "docket", ROOT / "charts/docket", "--namespace", NAMESPACE, *KUBERNETES, "--values", "-"]
        above = ["--set", "scope=Cluster", "--set", "watchNamespaces=null", "--show-only", "templates/rbac/cluster.yaml"]
        objects = documents(run(*command, *above, input="{scope: Namespaced, watchNamespaces: [team-a, team-b]}").stdout)
        self.assertEqual({o["kind"] for o in objects}, {"ClusterRole", "ClusterRoleBinding"})
        self.assertEqual(grants(one(objects, "ClusterRole", f"docket-operator-{NAMESPACE}")), SERVED)

    def test_credentials_of_the_store_are_read_where_they_are_named_and_copies_can_be_removed_when_they_are_not(self):
        role = one(rendered("s3"), "ClusterRole", f"docket-operator-{NAMESPACE}")
        copied = {("", "secrets", "docket-payloads"): {"get", "patch", "delete"}}
        self.assertEqual(grants(role), SERVED | copied)
        own = grants(one(rendered("s3"), "Role", "docket-operator-own"))
        self.assertEqual(own, OWN | {("", "secrets", "s3-keys"): {"get"}})

    def test_a_secret_that_is_named_is_the_one_that_is_read(self):
        leads = {right: verbs for right, verbs in OWN.items() if right[1] == "leases"}
        makes = {("", "secrets", None): {"create"}}
        usual = makes | {("", "secrets", "docket-operator-metrics"): {"get"}}
        named = [
            ("existing-keys", "my-keys", usual),
            ("accounts-external", "docket-nats-keys", usual),
            ("password", "docket-nats-auth", usual),
            ("password-existing", "mine", usual),
            ("external-nats", "nats-user", usual),
            ("open-metrics", "docket-nats-keys", makes),
            # What it does not make it may only read.
            ("password-open-metrics", "docket-nats-auth", {}),
        ]
        for flavour, name, more in named:
            own = grants(one(rendered(flavour), "Role", "docket-operator-own"))
            self.assertEqual(own, leads | more | {("", "secrets", name): {"get"}}, flavour)
            # Credentials of pools are keys of the one Secret that each namespace has: no further Secret of it may be read.
            self.assertEqual(grants(one(rendered(flavour), "ClusterRole", f"docket-operator-{NAMESPACE}")), SERVED)

    def test_the_opt_ins_give_one_thing_each(self):
        for flavour in ["opt-ins", "namespaced-opt-ins"]:
            roles = {o["metadata"]["name"]: o for o in of_kind(rendered(flavour), "ClusterRole")}
            reviews = roles[f"docket-gateway-token-review-{NAMESPACE}"]
            self.assertEqual(grants(reviews), {("authentication.k8s.io", "tokenreviews", None): {"create"}})
        for flavour, namespace in [("opt-ins", "team-a"), ("namespaced-opt-ins", NAMESPACE)]:
            binding = one(rendered(flavour), "ClusterRoleBinding", f"docket-gateway-token-review-{NAMESPACE}")
            gateway = {"kind": "ServiceAccount", "name": "docket-gateway", "namespace": namespace}
            self.assertEqual(binding["subjects"], [gateway])

    def test_roles_are_bound_to_the_operator_alone(self):
        operator = {"kind": "ServiceAccount", "name": "docket-operator", "namespace": NAMESPACE}
        for flavour in FLAVOURS:
            objects = rendered(flavour)
            roles = {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in of_kind(objects, *ROLES)}
            for binding in of_kind(objects, *BINDINGS):
                reference, namespace = binding["roleRef"], binding["metadata"].get("namespace")
                self.assertIn((reference["kind"], namespace, reference["name"]), roles, flavour)
                if "token-review" not in reference["name"]:
                    self.assertEqual(binding["subjects"], [operator], flavour)

    def test_users_get_pools_and_pipelines_and_nothing_else(self):
        for role in filter(is_of_users, of_kind(rendered("default"), *ROLES)):
            for group, resource, _ in grants(role):
                self.assertEqual(group, "docket.dev", resource)

    def test_nothing_is_admitted_by_webhooks(self):
        for flavour in FLAVOURS:
            kinds = {o["kind"] for o in rendered(flavour)}
            self.assertFalse([kind for kind in kinds if "Webhook" in kind], flavour)


if __name__ == "__main__":
    unittest.main()
