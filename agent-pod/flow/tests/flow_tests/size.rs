//! Classes of sizes.

use flow::size_class;

#[test]
fn a_bound_is_the_last_of_its_class() {
    let classes = [None, Some(0), Some(4_096), Some(4_097), Some(2 << 20), Some((2 << 20) + 1)].map(size_class);
    assert_eq!(classes, [0, 1, 1, 2, 4, 5]);
}
