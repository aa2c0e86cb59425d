//! Base64.

use agent_pod::serve::inference::base64::encode;

#[test]
fn the_examples_of_the_standard_hold() {
    let examples =
        [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
    for (bytes, text) in examples {
        assert_eq!(encode(bytes.as_bytes()), text);
    }
    assert_eq!(encode(&[0xff, 0xfe, 0xfb]), "//77");
}
