//! What is said of an address before anything is sent.

use engine::reach::{Kind, Reach, Refused};
use proptest::prelude::*;
use reqwest::Url;

use super::world::{Scripted, guarded};

fn names() -> std::sync::Arc<Scripted> {
    Scripted::of(&[
        ("kubernetes.default.svc", &[&["10.96.0.1", "fd00::a"]]),
        ("broker.docket.svc", &[&["10.96.7.7"]]),
        ("localhost", &[&["127.0.0.1", "::1"]]),
        ("localhost.", &[&["127.0.0.1"]]),
        ("metadata.example", &[&["169.254.169.254"]]),
        ("models.team.svc", &[&["10.0.0.9"]]),
        ("half.example", &[&["169.254.169.254", "93.184.215.14"]]),
        ("broker.docket.svc.cluster.local", &[&["10.96.7.7"]]),
    ])
}

fn check(url: &str) -> Result<(), Refused> {
    guarded(names()).check(&Url::parse(url).expect("a URL"))
}

#[test]
fn an_address_is_refused_in_every_way_to_write_it() {
    for (url, kind) in [
        ("http://127.0.0.1/", Kind::Loopback),
        ("http://127.0.0.1./", Kind::Loopback),
        ("http://127.1/", Kind::Loopback),
        ("http://2130706433/", Kind::Loopback),
        ("http://0x7f000001/", Kind::Loopback),
        ("http://0177.0.0.1/", Kind::Loopback),
        ("http://0x7f.0.0.01/", Kind::Loopback),
        ("http://%31%32%37.0.0.1/", Kind::Loopback),
        ("http://１２７.0.0.1/", Kind::Loopback),
        ("http://user:127.0.0.2@127.0.0.1/", Kind::Loopback),
        ("http://[::1]:8080/", Kind::Loopback),
        ("http://[0:0:0:0:0:0:0:1]/", Kind::Loopback),
        ("http://[::ffff:7f00:1]/", Kind::Loopback),
        ("http://localhost/", Kind::Loopback),
        ("http://LOCALHOST./", Kind::Loopback),
        ("http://0.0.0.0/", Kind::Unspecified),
        ("http://0/", Kind::Unspecified),
        ("http://[::]/", Kind::Unspecified),
        ("https://169.254.169.254/latest/meta-data", Kind::LinkLocal),
        ("http://2852039166/", Kind::LinkLocal),
        ("http://[64:ff9b::a9fe:a9fe]/", Kind::LinkLocal),
        ("http://metadata.example/", Kind::LinkLocal),
        ("http://[fd00:ec2::254]/", Kind::Metadata),
        ("https://kubernetes.default.svc/", Kind::ApiServer),
        ("https://Kubernetes.Default.Svc./", Kind::ApiServer),
        ("https://10.96.0.1/", Kind::ApiServer),
        ("https://[fd00::a]/", Kind::ApiServer),
        ("https://[::ffff:10.96.0.1]/", Kind::ApiServer),
        ("http://broker.docket.svc/", Kind::Broker),
        ("http://broker.docket.svc.cluster.local/", Kind::Broker),
        ("http://10.96.7.7/", Kind::Broker),
        ("http://10.1.2.3:8080/", Kind::Own),
        ("http://10.244.0.7:8222/connz", Kind::Port),
        ("https://node.example:10250/pods", Kind::Port),
    ] {
        assert_eq!(check(url).expect_err(url).kind, kind, "{url}");
    }
}

#[test]
fn services_of_the_cluster_and_servers_outside_it_are_called() {
    for url in [
        "http://models.team.svc:8000/v1",
        "http://10.0.0.9:8000/v1",
        "https://93.184.215.14/",
        // Of what a name leads to, what is left is enough.
        "http://half.example/",
        // Nobody can say: the client asks again.
        "https://unknown.example/",
        // Excepted.
        "http://127.0.0.2:8222/",
    ] {
        assert_eq!(check(url), Ok(()), "{url}");
    }
    let anybody = Url::parse("http://169.254.169.254/").expect("a URL");
    assert_eq!(Reach::anybody().check(&anybody), Ok(()));
}

#[test]
fn a_refusal_says_what_leads_where_and_what_to_do() {
    let named = check("http://metadata.example/").expect_err("it is refused").to_string();
    assert_eq!(
        named,
        "metadata.example resolves to 169.254.169.254, a link-local address, which agents in a cluster do not call; name a \
         Service with a server of yours, or a server outside the cluster"
    );
    let written = check("http://2130706433/").expect_err("it is refused").to_string();
    assert!(written.starts_with("127.0.0.1 is a loopback address, which"), "{written}");
    let port = check("http://10.244.0.7:8222/").expect_err("it is refused").to_string();
    assert!(port.starts_with("10.244.0.7:8222 is at a port of the cluster's own servers, which"), "{port}");
}

#[test]
fn what_is_the_clusters_own_is_known_by_what_could_be_looked_up() {
    let reach = guarded(Scripted::of(&[]));
    let check = |url: &str| reach.check(&Url::parse(url).expect("a URL"));
    assert_eq!(check("https://10.96.0.1/").expect_err("it is written in the rules").kind, Kind::ApiServer);
    assert_eq!(check("http://broker.docket.svc/").expect_err("so is the name").kind, Kind::Broker);
    assert_eq!(check("http://10.96.7.7/"), Ok(()));
}

proptest! {
    #[test]
    fn numbers_are_read_as_addresses_however_they_are_written(
        last in any::<u32>(),
        form in 0..6_usize,
        first in prop_oneof![Just(127_u32), Just(10), Just(169), any::<u8>().prop_map(u32::from)],
    ) {
        let address = std::net::Ipv4Addr::from((first << 24) | (last >> 8));
        let [a, b, c, d] = address.octets();
        let number = u32::from(address);
        let host = match form {
            0 => format!("{a}.{b}.{c}.{d}"),
            1 => number.to_string(),
            2 => format!("{number:#x}"),
            3 => format!("0{number:o}"),
            4 => format!("{a:#x}.0{b:o}.{}", number & 0xffff),
            _ => format!("{a}.{}.", number & 0x00ff_ffff),
        };
        let url = Url::parse(&format!("http://{host}/")).expect("a URL");
        let excepted = address == super::world::ALLOWED;
        let own = ["10.96.0.1", "10.96.7.7", "10.1.2.3"].contains(&address.to_string().as_str());
        let refused = !excepted && (own || engine::reach::kind(address.into()).is_some());
        prop_assert_eq!(guarded(names()).check(&url).is_err(), refused, "{}", host);
    }
}
