//! When a fault is met.

use e2e::faults::{
    call::Call,
    rule::{Fault, Rule},
};

#[test]
fn the_second_of_the_writes_is_met_once() {
    let mut rule = Rule::new(Fault::Reset, Call::is_write).at(2);
    let (read, write) =
        (Call::of("GET", "/api/v1/namespaces/a/pods/b", b""), Call::of("PATCH", "/api/v1/namespaces/a/pods/b", b""));
    let met: Vec<bool> = [&read, &write, &read, &write, &write].map(|call| rule.meets(call, true).is_some()).into();
    assert_eq!(met, [false, false, false, true, false]);
    assert_eq!(Rule::new(Fault::Reset, Call::is_write).meets(&write, false), None, "not before it is done");
}
