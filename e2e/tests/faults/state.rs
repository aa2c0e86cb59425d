//! What is compared of two states.

use e2e::faults::state::{State, difference, masked};
use serde_json::json;

#[test]
fn two_of_the_same_are_equal_and_one_with_another_port_is_not() {
    let one = |namespace: &str, uid: &str, port: u16| {
        let object = json!({"metadata": {"uid": uid, "generation": 2, "namespace": namespace},
            "spec": {"ports": [port], "url": format!("http://x.{namespace}.svc")}, "status": {"observedGeneration": 2}});
        State::from([("Service/x".to_owned(), masked(object, &json!(2), namespace))])
    };
    assert_eq!(difference(&one("a1", "u1", 80), &one("a2", "u2", 80)), Vec::<String>::new());
    let found = difference(&one("a1", "u1", 80), &one("a2", "u2", 81));
    assert_eq!(found, ["Service/x.spec.ports[0]: expected 80, found 81"]);
    assert_eq!(difference(&one("a", "u", 1), &State::new()), ["Service/x is not there"]);
}
