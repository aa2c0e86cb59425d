"""The bill of materials of an image names what is linked into its program (SEC-12)."""

import json
import shutil
import sys
import tomllib
import unittest

from support import ROOT, run


@unittest.skipUnless(shutil.which("cargo"), "cargo is not here")
class Bill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        result = run(sys.executable, "images/sbom.py", "docket", "--crate", "agent-pod", cwd=ROOT)
        assert result.returncode == 0, result.stderr
        cls.text, cls.bill = result.stdout, json.loads(result.stdout)
        cls.components = {(c["name"], c["version"]): c for c in cls.bill["components"]}

    def test_crates_are_those_of_the_lock_with_their_digests_and_licences(self):
        lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
        locked = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
        for name, component in self.components.items():
            if name[0] == "rust-std":
                continue
            self.assertIn(name, locked)
            if locked[name]:
                self.assertEqual(component["hashes"], [{"alg": "SHA-256", "content": locked[name]}])
            self.assertTrue(component["licenses"][0]["expression"], name)

    def test_what_is_linked_is_there_and_what_only_builds_is_not(self):
        names = {name for name, _ in self.components}
        self.assertLessEqual({"rust-std", "agent-pod", "flow", "candle-core", "lancedb", "async-nats", "libc"}, names)
        self.assertEqual({"serde_derive", "prost-build", "cc", "operator", "insta"} & names, set())

    def test_every_dependency_is_a_component(self):
        known = {c["bom-ref"] for c in self.bill["components"]} | {"docket"}
        for dependency in self.bill["dependencies"]:
            self.assertLessEqual({dependency["ref"], *dependency["dependsOn"]}, known)

    def test_the_same_inputs_give_the_same_bytes(self):
        again = run(sys.executable, "images/sbom.py", "docket", "--crate", "agent-pod", cwd=ROOT)
        self.assertEqual(self.text, again.stdout)

    def test_a_crate_that_is_not_there_is_said(self):
        result = run(sys.executable, "images/sbom.py", "x", "--crate", "nonsense", cwd=ROOT)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn('the workspace has no crate "nonsense"', result.stderr)


if __name__ == "__main__":
    unittest.main()
