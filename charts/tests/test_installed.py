"""What is installed already keeps Helm from what would harm it. Helm asks an API server for it: here one that knows a few objects."""

import http.server
import json
import threading
import unittest

from support import HELM, KUBERNETES, NAMESPACE, ROOT, of_kind, one, rendered, run

VERSIONS = {
    "/apis/apps/v1": {"deployments": "Deployment", "statefulsets": "StatefulSet"},
    "/apis/rbac.authorization.k8s.io/v1": {"clusterrolebindings": "ClusterRoleBinding", "rolebindings": "RoleBinding"},
    "/api/v1": {"secrets": "Secret"},
}
CLUSTER_WIDE = {"ClusterRoleBinding"}


def group_of(prefix):
    version = {"groupVersion": prefix.removeprefix("/apis/"), "version": "v1"}
    return {"name": prefix.split("/")[2], "versions": [version], "preferredVersion": version}


def resources_of(prefix):
    def described(name, kind):
        return {"name": name, "singularName": "", "kind": kind, "namespaced": kind not in CLUSTER_WIDE, "verbs": ["get", "list"]}

    version = prefix.removeprefix("/apis/").removeprefix("/api/")
    return {"kind": "APIResourceList", "groupVersion": version, "resources": [described(*item) for item in VERSIONS[prefix].items()]}


class ApiServer(http.server.ThreadingHTTPServer):
    """Tells of `objects`, and refuses to list kinds of `forbidden`."""

    def __init__(self, objects, forbidden):
        self.objects, self.forbidden = objects, forbidden
        super().__init__(("127.0.0.1", 0), Answer)

    def answer(self, path):
        if path == "/version":
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return 200, {"kind": "APIGroupList", "groups": [group_of(prefix) for prefix in VERSIONS if prefix != "/api/v1"]}
        if path in VERSIONS:
            return 200, resources_of(path)
        prefix = next((prefix for prefix in VERSIONS if path.startswith(f"{prefix}/")), None)
        if not prefix:
            return 404, status(404, "NotFound")
        parts = path.removeprefix(f"{prefix}/").split("/")
        namespace = parts.pop(1) if parts[0] == "namespaces" else None
        parts = parts[1:] if namespace else parts
        kind, name = VERSIONS[prefix][parts[0]], (parts + [None])[1]
        found = [o for o in of_kind(self.objects, kind) if namespace in (None, o["metadata"].get("namespace"))]
        if name:
            found = [o for o in found if o["metadata"]["name"] == name]
            return (200, found[0]) if found else (404, status(404, "NotFound"))
        if kind in self.forbidden:
            return 403, status(403, "Forbidden")
        return 200, {"kind": f"{kind}List", "apiVersion": prefix.split("/", 2)[2], "metadata": {}, "items": found}


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = self.server.answer(self.path.split("?")[0])
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def installing(settings, objects, namespace=NAMESPACE, forbidden=()):
    """`helm template` in sight of a cluster that has these objects."""
    with ApiServer(objects, forbidden) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        sets = [word for setting in settings for word in ("--set", setting)]
        address = f"http://127.0.0.1:{server.server_address[1]}"
        command = [HELM, "template", "docket", ROOT / "charts/docket", "--namespace", namespace, "--dry-run=server", *KUBERNETES]
        result = run(*command, "--kube-apiserver", address, "--kubeconfig", "/dev/null", *sets)
        server.shutdown()
        return result


class Upgrades(unittest.TestCase):
    def refused(self, settings, objects, said, **options):
        result = installing(settings, objects, **options)
        self.assertNotEqual(result.returncode, 0, f"{settings} was taken")
        self.assertIn(said, result.stderr)

    def taken(self, settings, objects, **options):
        result = installing(settings, objects, **options)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_what_is_installed_is_installed_again(self):
        for settings, flavour in [
            ([], "default"),
            (["payloads.url=s3://bucket/docket", "payloads.secret=s3-keys"], "s3"),
            (["nats.enabled=false", "nats.url=nats://more.example.com"], "external-nats"),
            (["scope=Namespaced", "watchNamespaces={team-a,team-b}"], "namespaced"),
        ]:
            self.taken(settings, rendered(flavour))
        self.taken([], [])

    def test_documents_keep_the_broker_that_they_are_in(self):
        self.refused(["nats.replicas=1"], rendered("default"), "nats.replicas: 3 servers are installed")
        self.refused(["nats.auth.mode=Password"], rendered("default"), "nats.auth.mode: Accounts is installed")
        self.refused(["nats.enabled=false", "nats.url=nats://n"], rendered("default"), "nats.enabled: the chart's NATS is installed")
        self.refused([], rendered("external-nats"), "nats.enabled: the servers tls://nats.example.com:4443 are used")

    def test_documents_keep_the_store_that_their_bytes_are_in(self):
        self.refused(["payloads.url=s3://bucket"], rendered("default"), "payloads.url: nats: is installed and s3://bucket")
        self.refused([], rendered("s3"), "payloads.url: s3://bucket/docket is installed and nats: is asked for")

    def test_no_namespace_gets_a_second_operator(self):
        of_all, of_teams = rendered("default"), rendered("namespaced")
        served = f"an operator in the namespace {NAMESPACE} serves"
        self.refused([], of_all, f"{served} every namespace", namespace="second")
        self.refused([], of_teams, f"{served} the namespace team-a", namespace="second")
        here = ["scope=Namespaced", "watchNamespaces={team-b}"]
        self.refused(here, of_teams, f"{served} the namespace team-b", namespace="second")
        reviews = ["scope=Namespaced", "rbac.tokenReview.enabled=true"]
        self.refused(reviews, of_all, f"{served} every namespace", namespace="second")

    def test_releases_of_different_namespaces_live_side_by_side(self):
        elsewhere = ["scope=Namespaced", "watchNamespaces={team-c}"]
        self.taken(elsewhere, rendered("namespaced"), namespace="second")
        # Who may read nothing cluster-wide installs for namespaces of theirs.
        self.taken(elsewhere, rendered("namespaced"), namespace="second", forbidden=CLUSTER_WIDE)

    def test_a_binding_of_somebody_else_is_no_operator(self):
        binding = one(rendered("opt-ins"), "ClusterRoleBinding", f"docket-gateway-token-review-{NAMESPACE}")
        other = {**binding, "metadata": {"name": "admins"}, "roleRef": {"name": "cluster-admin"}, "subjects": None}
        self.taken([], [binding, other], namespace="second")


if __name__ == "__main__":
    unittest.main()
