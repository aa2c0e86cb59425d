//! Quantities of resources.

use operator::agent_pool::quantity::{canonical, number};

#[test]
fn quantities_are_written_as_the_api_server_writes_them() {
    let decimal = [
        ("0.5", "500m"),
        ("1.5", "1500m"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("2", "2"),
        ("2.000", "2"),
        ("0.0", "0"),
        ("0.001", "1m"),
        ("12000", "12k"),
        ("1000M", "1G"),
        ("1.5G", "1500M"),
        ("500M", "500M"),
        ("1000000T", "1E"),
        ("2000000000", "2G"),
        ("2147483648", "2147483648"),
        ("1e3", "1e3"),
    ];
    let binary = [
        ("4Gi", "4Gi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("1000Ki", "1000Ki"),
        ("1.5Ki", "1536"),
        ("1024Ti", "1Pi"),
        // Below 1024, and where it would lose a part of a byte.
        ("0.5Ki", "512"),
        ("0.001Gi", "1073741824m"),
        ("0Mi", "0"),
    ];
    for (written, expected) in decimal.into_iter().chain(binary) {
        assert_eq!(canonical(written.to_owned()), expected, "{written}");
        assert_eq!(canonical(expected.to_owned()), expected, "{written}");
        assert!(number(written).total_cmp(&number(expected)).is_eq(), "{written}");
    }
    assert!(number("1Gi") > number("1G") && number("250m") < number("1") && number("1Pi") > number("1T"));
}
