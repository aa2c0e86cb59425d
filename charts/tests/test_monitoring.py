"""Alerts and dashboard ask for metrics that there are, and the alerts go off when they should."""

import json
import os
import re
import unittest

from support import ROOT, of_kind, one, read, rendered, run

PROMTOOL = os.environ.get("PROMTOOL")
ALERTS = "config/alerts/docket.yaml"
METRIC = re.compile(r"\b(docket_[a-z0-9_]+|process_[a-z0-9_]+)\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def known_metrics():
    """The metrics that the manual lists, and those of the operator."""
    manual = (ROOT / "docs/running-distributed.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(docket_[a-z0-9_]+)`", manual)) | OPERATOR | PROCESS


OPERATOR = {"docket_scaler_desired_replicas"}
# From the kernel, by the client library.
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def asked_for(expression):
    for name in METRIC.findall(expression):
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
        yield name.removesuffix(suffix)


def rules():
    return [rule for group in read(ALERTS)[0]["groups"] for rule in group["rules"]]


def panels():
    dashboard = json.loads((ROOT / "config/grafana/docket.json").read_text())
    return dashboard, [panel for panel in dashboard["panels"] if panel["type"] != "row"]


class Alerts(unittest.TestCase):
    def test_rules_ask_for_metrics_and_records_that_there_are(self):
        records = {rule["record"] for rule in rules() if "record" in rule}
        for rule in rules():
            for name in asked_for(rule["expr"]):
                self.assertIn(name, known_metrics(), rule)
            for name in re.findall(r"\bdocket:[a-z0-9_:]+", rule["expr"]):
                self.assertIn(name, records, rule)

    def test_every_alert_says_what_is_wrong_and_what_to_do_and_is_tested(self):
        tested = {case["alertname"] for t in read("config/alerts/docket.test.yaml")[0]["tests"] for case in t.get("alert_rule_test", [])}
        for rule in rules():
            if "alert" in rule:
                self.assertEqual(set(rule["annotations"]), {"summary", "description"}, rule)
                self.assertIn(rule["labels"]["severity"], {"warning", "critical"}, rule)
                self.assertIn(rule["alert"], tested)

    def test_prometheus_takes_the_rules_and_they_go_off_as_they_should(self):
        if not PROMTOOL:
            self.skipTest("promtool is not here; scripts/promtool.sh gets it")
        for command in [["check", "rules", "--lint-fatal", "docket.yaml"], ["test", "rules", "docket.test.yaml"]]:
            result = run(PROMTOOL, *command, cwd=ROOT / "config/alerts")
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_the_chart_ships_the_rules_as_they_are(self):
        rule = one(rendered("monitored"), "PrometheusRule", "docket")
        self.assertEqual(rule["spec"], read(ALERTS)[0])


class Dashboard(unittest.TestCase):
    def test_panels_ask_for_metrics_that_there_are(self):
        _, found = panels()
        self.assertGreater(len(found), 20)
        for panel in found:
            for target in panel["targets"]:
                names = list(asked_for(target["expr"]))
                self.assertTrue(names, panel["title"])
                for name in names:
                    self.assertIn(name, known_metrics(), panel["title"])

    def test_prometheus_takes_every_expression(self):
        if not PROMTOOL:
            self.skipTest("promtool is not here; scripts/promtool.sh gets it")
        _, found = panels()
        expressions = [target["expr"] for panel in found for target in panel["targets"]]
        group = {"name": "dashboard", "rules": []}
        for number, expression in enumerate(expressions):
            plain = expression.replace("$__rate_interval", "5m")
            group["rules"].append({"record": f"panel:{number}", "expr": plain})
        result = run(PROMTOOL, "check", "rules", "/dev/stdin", input=json.dumps({"groups": [group]}))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_panels_are_numbered_once_and_do_not_overlap(self):
        dashboard, _ = panels()
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells

    def test_the_chart_ships_the_dashboard_as_it_is(self):
        config = one(rendered("monitored"), "ConfigMap", "docket-dashboard")
        self.assertEqual(config["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(json.loads(config["data"]["docket.json"]), panels()[0])


class PodMonitors(unittest.TestCase):
    def test_operator_and_gateways_are_scraped_where_they_are(self):
        monitors = {o["metadata"]["name"]: o for o in of_kind(rendered("monitored"), "PodMonitor")}
        self.assertEqual(set(monitors), {"docket-operator", "docket-gateway"})
        self.assertEqual(monitors["docket-gateway"]["spec"]["namespaceSelector"], {"any": True})
        for monitor in monitors.values():
            self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
            self.assertEqual(monitor["spec"]["podMetricsEndpoints"][0]["port"], "health")
        self.assertEqual(of_kind(rendered("default"), "PodMonitor", "PrometheusRule"), [])


if __name__ == "__main__":
    unittest.main()
