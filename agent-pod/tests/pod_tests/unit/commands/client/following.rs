//! How `docket watch` reads events.

use agent_pod::commands::client::following::Lines;
use bytes::Bytes;

#[test]
fn events_are_read_wherever_the_network_cuts_them() {
    let text = ":\n\nevent: progress\ndata: {\"stages\":{}}\n\nevent: end\ndata: {\"outcome\":\"succeeded\"}\n\n";
    for cut in 0..text.len() {
        let mut lines = Lines::default();
        let mut events = lines.take(&Bytes::copy_from_slice(&text.as_bytes()[..cut])).expect("small");
        events.extend(lines.take(&Bytes::copy_from_slice(&text.as_bytes()[cut..])).expect("small"));
        let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["progress", "end"], "cut at {cut}");
    }
}
