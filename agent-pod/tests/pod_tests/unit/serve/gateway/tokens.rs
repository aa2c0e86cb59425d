//! The file of tokens: whom each names, and which files are refused.

use std::{path::Path, sync::Arc};

use agent_pod::{
    error::Result,
    serve::gateway::tokens::{Refused, Tokens},
};

const TWO: &str = "tokens:\n- {name: a, token: aaaaaaaaaaaaaaaa, tenant: acme, pipelines: [p]}\n- {name: b, token: bbbbbbbbbbbbbbbb}\n";

fn open(path: Option<&Path>) -> Result<Tokens> {
    Tokens::open(path, None, &Arc::default())
}

#[tokio::test]
async fn a_token_names_its_client_and_another_one_names_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.yaml");
    std::fs::write(&path, TWO).expect("written");
    let tokens = open(Some(&path)).expect("read");
    let acme = tokens.caller(Some("aaaaaaaaaaaaaaaa")).await.expect("a client");
    assert_eq!((acme.tenant.as_deref(), acme.pipelines), (Some("acme"), Some(vec!["p".to_owned()])));
    assert_eq!(tokens.caller(Some("bbbbbbbbbbbbbbbb")).await.expect("a client").tenant, None);
    assert_eq!(tokens.caller(Some("aaaaaaaaaaaaaaab")).await, Err(Refused::Unknown));
    assert_eq!(tokens.caller(None).await, Err(Refused::Unknown));
    assert_eq!(open(None).expect("none").caller(None).await.expect("anyone").name, "anyone");
}

#[test]
fn a_file_with_an_unknown_field_a_short_token_or_one_token_twice_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.yaml");
    let refused = |text: &str| {
        std::fs::write(&path, text).expect("written");
        open(Some(&path)).map(drop).expect_err("it is wrong").to_string()
    };
    assert!(refused(&TWO.replace("tenant:", "tenent:")).contains("tokens.yaml:2:"));
    assert!(refused("tokens: [{name: a, token: short}]").contains("tokens[0].token"));
    assert!(refused(&TWO.replace('b', "a")).contains("another client"));
}
