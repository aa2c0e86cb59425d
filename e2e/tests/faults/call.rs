//! What a request to an API server is.

use e2e::faults::call::Call;

#[test]
fn requests_are_understood() {
    for (method, target, shown) in [
        ("GET", "/api/v1/namespaces/a/configmaps/b", "get configmaps b"),
        ("GET", "/apis/docket.dev/v1alpha1/agentpools?&watch=true&timeoutSeconds=60", "watch agentpools"),
        ("GET", "/apis/docket.dev/v1alpha1/namespaces/a/agentpools?limit=500", "list agentpools"),
        (
            "PATCH",
            "/apis/docket.dev/v1alpha1/namespaces/a/agentpools/p/status?fieldManager=x",
            "patch agentpools/status p",
        ),
        ("DELETE", "/api/v1/namespaces/a/secrets/s", "delete secrets s"),
        ("GET", "/api/v1/namespaces/a", "get namespaces a"),
        ("GET", "/apis/docket.dev/v1alpha1", "get"),
    ] {
        assert_eq!(Call::of(method, target, b"").shown(), shown, "{method} {target}");
    }
    let made = Call::of("POST", "/api/v1/namespaces/a/secrets", br#"{"metadata": {"name": "s"}}"#);
    assert_eq!((made.shown().as_str(), made.is_write()), ("create secrets s", true));
}
