"""config/default installs the same as the chart with its defaults."""

import unittest

from support import NAMESPACE, ROOT, built, one, rendered

def by_name(objects):
    return {(o["kind"], o["metadata"]["name"]): o for o in objects}


class Kustomize(unittest.TestCase):
    def test_it_makes_what_the_chart_makes(self):
        ours = by_name(built("config/default"))
        charts = by_name(rendered("default"))
        extra = {("Namespace", NAMESPACE)}
        extra |= {("CustomResourceDefinition", f"{kind}.docket.dev") for kind in ["agentpools", "pipelines"]}
        self.assertEqual(set(ours), set(charts) | extra)
        for name, expected in charts.items():
            expected = dict(expected)
            labels = dict(expected["metadata"]["labels"])
            labels.pop("app.kubernetes.io/managed-by")
            expected["metadata"] = expected["metadata"] | {"labels": labels}
            self.assertEqual(ours[name], expected, name)

    def test_its_namespace_enforces_the_restricted_standard(self):
        namespace = one(built("config/default"), "Namespace", NAMESPACE)
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")

    def test_another_namespace_is_one_line(self):
        text = (ROOT / "config/default/kustomization.yaml").read_text()
        self.assertEqual(text.count("docket-system"), 1)


if __name__ == "__main__":
    unittest.main()
