//! How the address of a Redis server is read and shown.

use std::time::Duration;

use agent_pod::runtime::cache::link::Settings;

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn who_waits_longer_for_an_answer_waits_so_for_everything() {
    let second = Duration::from_secs(1);
    for (answer, longest) in [(Duration::from_millis(2), second), (HOUR, HOUR)] {
        assert_eq!(Settings::new("redis://localhost", answer).expect("a URL").or_longer(second), longest);
    }
}

#[test]
fn a_url_is_read_and_the_address_hides_its_password() {
    let settings = Settings::new("redis://user:secret@localhost:7000/2", HOUR).expect("a URL");
    assert_eq!(settings.address(), "localhost:7000");
    assert!(settings.info.tcp_settings().nodelay());
    for url in ["", "localhost", "http://localhost", "rediss://localhost"] {
        assert!(Settings::new(url, HOUR).is_err(), "{url}");
    }
}
