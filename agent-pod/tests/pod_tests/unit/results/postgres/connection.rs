//! Addresses of databases that cannot be used.

use agent_pod::results::postgres::connection::check;
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
