"""Names that YAML could take for a number or a truth value stay what they are."""

import json
import unittest

from support import HELM, KUBERNETES, ROOT, documents, environment, of_kind, one, pod_template, run

# What YAML reads as integers (in three notations), a float and a truth value where it is not in quotes.
SERVED = ["0123456", "0x1f", "1e3", "2024"]
VALUES = {
    "scope": "Namespaced",
    "watchNamespaces": SERVED,
    "image": {"agents": {"pullSecrets": ["0123456"]}},
    "imagePullSecrets": [{"name": "1e3"}],
    "operator": {"priorityClassName": "1e3", "nodeSelector": {"a": "on"}, "env": {"A": "0x1f"}, "podLabels": {"b": "1e3"}},
    "keda": {"enabled": True, "namespace": "on"},
    "nats": {"auth": {"mode": "Accounts", "existingSecret": "1e3"}, "storage": {"storageClassName": "0123456"}},
    "payloads": {"url": "s3://bucket", "secret": "0123456"},
    "rbac": {"tokenReview": {"enabled": True}},
    "monitoring": {"podMonitor": {"enabled": True, "labels": {"c": "1e3"}}},
}


def objects():
    command = [HELM, "template", "1e3", ROOT / "charts/docket", "--namespace", "2024", *KUBERNETES, "--values", "-"]
    result = run(*command, input=json.dumps(VALUES))
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)


# Fields that hold text alone, wherever they are.
TEXTS = {"name", "namespace", "secretName", "storageClassName", "priorityClassName", "value", "image", "serviceAccountName"}
MAPS = {"labels", "matchLabels", "annotations", "nodeSelector"}


class Names(unittest.TestCase):
    def test_every_name_label_and_variable_is_text(self):
        def check(value, path):
            for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
                if key in TEXTS:
                    self.assertIsInstance(child, str, f"{path}.{key}")
                if key in MAPS:
                    self.assertEqual({type(text) for text in child.values()} - {str}, set(), f"{path}.{key}: {child}")
                check(child, f"{path}.{key}")

        for o in objects():
            check(o, f"{o['kind']}/{o['metadata']['name']}")

    def test_they_are_what_was_given(self):
        made = objects()
        roles = [o["metadata"]["namespace"] for o in of_kind(made, "Role") if o["metadata"]["name"] == "docket-operator"]
        self.assertEqual(roles, SERVED)
        namespaces = {o["metadata"]["namespace"] for o in made if "namespace" in o["metadata"]}
        self.assertEqual(namespaces, set(SERVED))
        self.assertEqual({o["metadata"]["labels"]["app.kubernetes.io/instance"] for o in made}, {"1e3"})
        for binding in of_kind(made, "RoleBinding"):
            self.assertEqual(binding["subjects"][0]["namespace"], "2024")
        reviews = one(made, "ClusterRoleBinding", "docket-gateway-token-review-2024")
        self.assertEqual([subject["namespace"] for subject in reviews["subjects"]], SERVED)
        operator = pod_template(one(made, "Deployment", "docket-operator"))["spec"]
        told = environment(operator["containers"][0])
        self.assertEqual(told["DOCKET_WATCH_NAMESPACES"], ",".join(SERVED))
        self.assertEqual(told["DOCKET_TOKEN_REVIEW"], ",".join(SERVED))
        for name, value in [("IMAGE_PULL", "0123456"), ("PAYLOADS", "0123456"), ("NATS_KEYS", "1e3")]:
            [found] = [told[variable] for variable in told if variable.startswith(f"DOCKET_{name}_SECRET")]
            self.assertEqual(found, value, name)
        self.assertEqual((operator["priorityClassName"], operator["imagePullSecrets"]), ("1e3", [{"name": "1e3"}]))
        servers = one(made, "StatefulSet", "docket-nats")["spec"]
        self.assertEqual(servers["volumeClaimTemplates"][0]["spec"]["storageClassName"], "0123456")
        keys = [source["secret"]["name"] for source in servers["template"]["spec"]["volumes"][0]["projected"]["sources"] if "secret" in source]
        self.assertEqual(keys, ["1e3"])
        ingress = one(made, "NetworkPolicy", "docket-operator")["spec"]["ingress"]
        self.assertIn({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "on"}}}, [rule["from"][0] for rule in ingress])


if __name__ == "__main__":
    unittest.main()
