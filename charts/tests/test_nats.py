"""The broker is told to keep what it acknowledges, and its configuration is one that nats-server takes."""

import pathlib
import subprocess
import tempfile
import unittest

from support import CACHE, ROOT, documents, environment, of_kind, one, pod_template, rendered, template


# What the operator writes for servers, of keys that nobody has.
TRUSTED = (pathlib.Path(__file__).parent / "auth.conf").read_text()


def configuration(flavour):
    return one(rendered(flavour), "ConfigMap", "docket-nats")["data"]["nats.conf"]


def container(flavour):
    return pod_template(one(rendered(flavour), "StatefulSet", "docket-nats"))["spec"]["containers"][0]


class Nats(unittest.TestCase):
    def test_what_is_acknowledged_is_on_the_disk(self):
        for flavour in ["default", "one-server"]:
            self.assertIn("sync_interval: always", configuration(flavour))

    def test_nine_tenths_of_the_volume_may_be_used(self):
        for size, limit in [("20Gi", "18432Mi"), ("500Mi", "450Mi"), ("2Ti", "1887436Mi")]:
            objects = documents(template("docket", [f"nats.storage.size={size}"]).stdout)
            self.assertIn(f"max_file_store: {limit}\n", one(objects, "ConfigMap", "docket-nats")["data"]["nats.conf"])

    def test_one_server_and_several_never_share_a_folder(self):
        self.assertIn("store_dir: /data/cluster\n", configuration("default"))
        self.assertIn("store_dir: /data/single\n", configuration("one-server"))

    def test_the_next_server_is_restarted_when_the_last_one_has_everything(self):
        # Without a parameter, /healthz is about every stream and not about the server alone.
        self.assertEqual(container("default")["startupProbe"]["httpGet"]["path"], "/healthz")
        budget = one(rendered("default"), "PodDisruptionBudget", "docket-nats")
        self.assertEqual(budget["spec"]["maxUnavailable"], 1)

    def test_a_changed_configuration_restarts_the_servers(self):
        def mark(objects):
            return pod_template(one(objects, "StatefulSet", "docket-nats"))["metadata"]["annotations"]["docket.dev/config"]

        changed = documents(template("docket", ["nats.storage.size=30Gi"]).stdout)
        self.assertNotEqual(mark(rendered("default")), mark(changed))
        self.assertEqual(mark(rendered("default")), mark(rendered("monitored")))

    def test_the_password_is_in_a_secret_and_nowhere_else(self):
        objects = rendered("password")
        secret = one(objects, "Secret", "docket-nats-auth")
        self.assertEqual(set(secret["data"]), {"user", "password"})
        for o in objects:
            if o is not secret:
                self.assertNotIn(secret["data"]["password"], str(o))
        self.assertEqual(of_kind(rendered("password-existing"), "Secret"), [])
        self.assertIn("'name': 'mine'", str(container("password-existing")["env"]))

    def test_with_accounts_servers_mount_whom_they_trust_and_not_the_keys_of_it(self):
        for flavour, secret in [("default", "docket-nats-keys"), ("existing-keys", "my-keys")]:
            objects = rendered(flavour)
            self.assertEqual(of_kind(objects, "Secret"), [], "the operator makes it")
            self.assertIn('include "auth.conf"', configuration(flavour))
            self.assertNotIn("authorization: {users", configuration(flavour))
            pod = pod_template(one(objects, "StatefulSet", "docket-nats"))["spec"]
            sources = [volume for volume in pod["volumes"] if volume["name"] == "config"][0]["projected"]["sources"]
            trusted = {"name": secret, "items": [{"key": "auth.conf", "path": "auth.conf"}]}
            self.assertEqual(sources, [{"configMap": {"name": "docket-nats"}}, {"secret": trusted}])
            operator = pod_template(one(objects, "Deployment", "docket-operator"))["spec"]["containers"][0]
            self.assertEqual(environment(operator)["DOCKET_NATS_KEYS_SECRET"], secret)
            self.assertNotIn("DOCKET_NATS_CREDENTIALS_SECRET", environment(operator))
        # Servers are users of each other only where there are several.
        self.assertNotIn("SECRET_PASSWORD", environment(container("one-server")))
        self.assertIn("SECRET_PASSWORD", environment(container("default")))

    def test_every_key_that_servers_read_is_named_where_the_secret_is_described(self):
        pod = pod_template(one(rendered("existing-keys"), "StatefulSet", "docket-nats"))["spec"]
        mounted = [source["secret"] for volume in pod["volumes"] for source in volume.get("projected", {}).get("sources", []) if "secret" in source]
        keys = {item["key"] for secret in mounted for item in secret["items"]}
        references = [variable.get("valueFrom", {}).get("secretKeyRef") for variable in pod["containers"][0]["env"]]
        keys |= {reference["key"] for reference in references if reference}
        self.assertEqual(keys, {"auth.conf", "user", "password"})
        values = (ROOT / "charts/docket/values.yaml").read_text()
        described = values.split("# With Accounts: ")[1].split("# With Password: ")[0]
        refusal = template("docket", ["nats.auth.existingSecret=mine"]).stderr.split("Accounts (")[1]
        for key in keys | {"operator.nk"}:
            self.assertIn(f"`{key}`", described)
            self.assertRegex(refusal, rf"\b{key}\b")

    def test_servers_of_somebody_else_are_reached_by_a_password_unless_it_is_said_otherwise(self):
        for flavour, kind, secret in [("external-nats", "CREDENTIALS", "nats-user"), ("accounts-external", "KEYS", "docket-nats-keys")]:
            operator = pod_template(one(rendered(flavour), "Deployment", "docket-operator"))["spec"]["containers"][0]
            told = {name: value for name, value in environment(operator).items() if name.startswith("DOCKET_NATS_") and name.endswith("_SECRET")}
            self.assertEqual(told, {f"DOCKET_NATS_{kind}_SECRET": secret})

    def test_what_cannot_be_changed_of_the_servers_says_how_they_know_their_clients(self):
        for flavour, mode in [("default", "Accounts"), ("one-server", "Accounts"), ("password", "Password")]:
            selector = one(rendered(flavour), "StatefulSet", "docket-nats")["spec"]["selector"]["matchLabels"]
            self.assertEqual(selector["docket.dev/auth"], mode)

    def test_storage_lasts_unless_it_is_said_otherwise(self):
        claims = one(rendered("default"), "StatefulSet", "docket-nats")["spec"]["volumeClaimTemplates"]
        self.assertEqual(claims[0]["spec"]["resources"]["requests"]["storage"], "20Gi")
        self.assertNotIn("volumeClaimTemplates", one(rendered("one-server"), "StatefulSet", "docket-nats")["spec"])

    def test_a_server_takes_the_configuration_with_any_password(self):
        servers = sorted(CACHE.glob("servers/nats-server-*"))
        if not servers:
            self.skipTest("nats-server is not here; scripts/nats-server.sh fetches it")
        for flavour in ["default", "one-server", "password", "password-one-server"]:
            # Like a number with a unit, which nats-server would read as one.
            known = {"SECRET_USER": "docket", "SECRET_PASSWORD": "12k"}
            given = {"POD_NAME": "docket-nats-0"}
            for name, value in environment(container(flavour)).items():
                for secret, plain in known.items():
                    value = value and value.replace(f"$({secret})", plain)
                if value:
                    given[name] = value
            with tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "nats.conf"
                file.write_text(configuration(flavour))
                accounts = pathlib.Path(folder) / "accounts"
                (pathlib.Path(folder) / "auth.conf").write_text(TRUSTED.replace("/data/accounts", str(accounts)))
                result = subprocess.run([servers[-1], "-t", "--config", file], env=given, capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, f"{flavour}: {result.stdout}{result.stderr}")


if __name__ == "__main__":
    unittest.main()
