//! Addresses of databases that cannot be used, and what is shown of those that can.

use agent_pod::results::postgres::connection::{check, pool};
use crds::PostgresSink;

fn problem(url: &str, ca_file: Option<&str>) -> String {
    let ca_file = ca_file.map(str::to_owned);
    check(&PostgresSink { url: url.to_owned(), password_env: None, password_file: None, ca_file })
        .err()
        .unwrap_or_default()
}

#[test]
fn an_address_that_cannot_be_used_is_named() {
    assert_eq!(problem("postgres://docket@db:5432/results", None), "");
    assert_eq!(problem("postgres://docket@db/results?sslmode=require", Some("ca.pem")), "");
    assert!(problem("postgres://docket:secret@db/results", None).contains("passwordFile"));
    assert!(problem("db/results", None).starts_with("url: "));
    assert!(problem("postgres:///results", None).contains("names no host"));
    assert!(problem("postgres://db/results?sslmode=require", None).contains("caFile"));
    assert!(problem("postgres://db/results?sslmode=sometimes", None).starts_with("url: "));
    assert!(problem("postgres://db/results?sslmode=disable", Some("ca.pem")).contains("no use"));
}

#[test]
fn a_password_is_not_shown_with_what_holds_it_nor_with_what_is_wrong_with_it() {
    const PASSWORD: &str = "canary-of-the-database";
    let spec = PostgresSink {
        url: "postgres://docket@db/results".to_owned(),
        password_env: Some("DB".to_owned()),
        password_file: None,
        ca_file: None,
    };
    let pool = pool(&spec, &[], |_| Some(PASSWORD.to_owned())).expect("it is right");
    assert!(!format!("{pool:?}").contains(PASSWORD));
    for url in ["db/results", "db:port/results", "db/results?sslmode=sometimes", "db/results?nonsense=1"] {
        let problem = problem(&format!("postgres://docket:{PASSWORD}@{url}"), None);
        assert!(problem.starts_with("url: ") && !problem.contains(PASSWORD), "{url}");
    }
}
