//! What has the form of a token.

use agent_pod::serve::reviews::{LONGEST, is_jwt};

#[test]
fn only_what_has_the_form_of_a_token_is_worth_a_review() {
    assert!(is_jwt("eyJhbGciOi.eyJhdWQi.c2ln-_"));
    let long = format!("a.{}.c", "b".repeat(LONGEST));
    for other in ["", "token-of-a-000001", "a.b", "a..c", "a.b.c.d", "a.b.c ", "a.b.ü", &long] {
        assert!(!is_jwt(other), "{other}");
    }
}
