//! How long a provider asks to wait.

use std::time::Duration;

use agent_pod::runtime::providers::client::{LONGEST_AFTER, after};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

#[test]
fn retry_after_is_read_in_both_forms_and_bounded() {
    let now: Timestamp = "2027-01-10T10:00:00Z".parse().expect("a time");
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().expect("a header"));
        after(&headers, now)
    };
    assert_eq!(read("7"), Some(Duration::from_secs(7)));
    assert_eq!(read(" 86400 "), Some(LONGEST_AFTER));
    assert_eq!(read("Sun, 10 Jan 2027 10:00:20 GMT"), Some(Duration::from_secs(20)));
    assert_eq!(read("Sun, 10 Jan 2027 09:00:00 GMT"), Some(Duration::ZERO));
    assert_eq!(read("soon"), None);
    assert_eq!(after(&HeaderMap::new(), now), None);
}
