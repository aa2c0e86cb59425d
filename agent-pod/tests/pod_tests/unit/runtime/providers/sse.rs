//! Server-sent events out of pieces of any size.

use agent_pod::runtime::providers::sse::Events;

const STREAM: &str =
    ": hello\r\nevent: x\ndata: {\"a\": \"ä\"}\n\ndata:one\ndata: two\r\n\r\n\n\nid: 7\ndata: [DONE]\n\n";

#[test]
fn events_come_out_whole_however_the_bytes_are_cut() {
    for size in 1..STREAM.len() {
        let mut events = Events::default();
        let found: Vec<String> =
            STREAM.as_bytes().chunks(size).flat_map(|piece| events.push(piece).expect("short lines")).collect();
        assert_eq!(found, ["{\"a\": \"ä\"}", "one\ntwo", "[DONE]"], "{size}");
        assert_eq!(events.rest(), None);
    }
}

#[test]
fn an_event_without_an_end_is_the_rest() {
    let mut events = Events::default();
    assert_eq!(events.push(b"data: a\n\ndata: b"), Ok(vec!["a".to_owned()]));
    assert_eq!(events.rest().as_deref(), Some("b"));
}

#[test]
fn a_line_or_an_event_that_never_ends_is_refused() {
    let piece = [b'a'; 1 << 16];
    let mut events = Events::default();
    assert!((0..17).any(|_| events.push(&piece).is_err()));
    let mut events = Events::default();
    let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
    assert!((0..17).any(|_| events.push(&line).is_err()));
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let mut events = Events::default();
    assert_eq!(events.push(&[b'd', b'a', b't', b'a', b':', 0xff, b'\n', b'\n']), Ok(vec!["\u{fffd}".to_owned()]));
}
