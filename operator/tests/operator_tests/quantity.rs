//! Quantities of resources.

use operator::agent_pool::quantity::{canonical, number};

#[test]
fn quantities_are_written_as_the_api_server_writes_them() {
    for (written, expected) in [("0.5", "500m"), ("1000m", "1"), ("2", "2"), ("1500m", "1500m"), ("4Gi", "4Gi")] {
        assert_eq!(canonical(written.to_owned()), expected);
    }
    assert!(number("1Gi") > number("1G") && number("250m") < number("1"));
}
