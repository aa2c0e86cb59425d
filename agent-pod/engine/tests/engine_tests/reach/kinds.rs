//! Which addresses are refused, whatever they look like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::reach::{Kind, kind};
use proptest::prelude::*;

fn parsed(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

#[test]
fn each_kind_is_refused_from_its_first_address_to_its_last() {
    for (addresses, expected) in [
        (&["0.0.0.0", "0.255.255.255", "::"][..], Kind::Unspecified),
        (&["127.0.0.1", "127.0.0.0", "127.255.255.255", "::1"], Kind::Loopback),
        (&["169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf:ffff::1"], Kind::LinkLocal),
        (&["224.0.0.0", "239.255.255.255", "ff02::1", "ff00::"], Kind::Multicast),
        (&["255.255.255.255"], Kind::Broadcast),
        (&["100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23"], Kind::Metadata),
        (&["fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1"], Kind::Metadata),
        (&["fd00:100::100:200"], Kind::Metadata),
    ] {
        for address in addresses {
            assert_eq!(kind(parsed(address)), Some(expected), "{address}");
        }
    }
}

#[test]
fn addresses_of_clusters_and_of_the_internet_are_not_refused() {
    for address in [
        "1.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.199",
        "126.255.255.255",
        "128.0.0.1",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.16.0.1",
        "192.0.0.193",
        "192.168.1.1",
        "223.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
        "2001:db8::1",
        "2606:4700::1111",
        "fd00::1",
        "fd00:ec3::254",
        "fd20:ce::253",
        "fec0::1",
        "::ffff:10.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
    ] {
        assert_eq!(kind(parsed(address)), None, "{address}");
    }
}

#[test]
fn an_address_inside_another_is_found() {
    for (address, expected) in [
        ("::ffff:127.0.0.1", Kind::Loopback),
        ("::ffff:169.254.169.254", Kind::LinkLocal),
        ("::ffff:0:127.0.0.1", Kind::Loopback),
        ("::169.254.169.254", Kind::LinkLocal),
        ("64:ff9b::a9fe:a9fe", Kind::LinkLocal),
        ("64:ff9b::100.100.100.200", Kind::Metadata),
        // The prefixes of 96, 64, 56 and 48 bits of one network.
        ("64:ff9b:1::7f00:1", Kind::Loopback),
        ("64:ff9b:1:0:7f:0:100:0", Kind::Loopback),
        ("64:ff9b:1:7f:0:1::", Kind::Loopback),
        ("64:ff9b:1:a9fe:a9:fe00::", Kind::LinkLocal),
        ("2002:a9fe:a9fe::1", Kind::LinkLocal),
        ("2002:7f00:1::", Kind::Loopback),
        // The client of Teredo is written inverted: 127.0.0.1.
        ("2001:0:808:808::80ff:fffe", Kind::Loopback),
        ("2001:0:7f00:1::f7f7:f7f7", Kind::Loopback),
        ("2606:4700::5efe:127.0.0.1", Kind::Loopback),
        ("2606:4700::200:5efe:a9fe:a9fe", Kind::LinkLocal),
    ] {
        assert_eq!(kind(parsed(address)), Some(expected), "{address}");
    }
}

/// Addresses that are refused and such that are not, as often as each other, and those beside the borders.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    let near = |first: [u8; 4], bits: u32| {
        (any::<u32>(), -2_i64..=2).prop_map(move |(any, aside)| {
            let (first, mask) = (u32::from(Ipv4Addr::from(first)), u32::MAX.checked_shr(bits).unwrap_or(0));
            let within = if aside == 0 { first | (any & mask) } else { first };
            let moved = (i64::from(within) + aside).clamp(0, i64::from(u32::MAX));
            Ipv4Addr::from(u32::try_from(moved).expect("it is within a u32"))
        })
    };
    prop_oneof![
        4 => any::<u32>().prop_map(Ipv4Addr::from),
        1 => near([0, 0, 0, 0], 8),
        1 => near([127, 0, 0, 0], 8),
        1 => near([128, 0, 0, 0], 8),
        1 => near([169, 254, 0, 0], 16),
        1 => near([169, 255, 0, 0], 16),
        1 => near([224, 0, 0, 0], 4),
        1 => near([240, 0, 0, 0], 4),
        1 => near([255, 255, 255, 255], 32),
        1 => near([100, 100, 100, 200], 32),
    ]
}

/// What the table of the documentation says, in other words than the code.
fn is_refused(address: Ipv4Addr) -> bool {
    let number = u32::from(address);
    let within = |first: [u8; 4], bits: u32| number >> (32 - bits) == u32::from(Ipv4Addr::from(first)) >> (32 - bits);
    within([127, 0, 0, 0], 8)
        || within([0, 0, 0, 0], 8)
        || within([169, 254, 0, 0], 16)
        || within([224, 0, 0, 0], 4)
        || number == u32::MAX
        || [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]].contains(&address.octets())
}

proptest! {
    #[test]
    fn of_ipv4_addresses_those_of_the_table_are_refused(address in v4()) {
        prop_assert_eq!(kind(address.into()).is_some(), is_refused(address), "{}", address);
    }

    #[test]
    fn no_ipv6_address_hides_an_ipv4_one(address in v4(), network in any::<[u16; 4]>()) {
        let [a, b, c, d] = address.octets().map(u16::from);
        let (high, low) = ((a << 8) | b, (c << 8) | d);
        let hiding = [
            [0, 0, 0, 0, 0, 0xffff, high, low],
            [0, 0, 0, 0, 0xffff, 0, high, low],
            [0x64, 0xff9b, 0, 0, 0, 0, high, low],
            [0x2002, high, low, network[0], network[1], network[2], network[3], 1],
            [0x2001, 0, 0x808, 0x808, 0, network[0], !high, !low],
            [0x2001, 0, high, low, 0, network[0], 0xf7f7, 0xf7f7],
            [network[0], network[1], network[2], network[3], 0, 0x5efe, high, low],
            [network[0], network[1], network[2], network[3], 0x200, 0x5efe, high, low],
        ];
        // With a prefix of one network, of 96, 48, 56 and 64 bits; 0.0.0.0/8 is not told from zeros there.
        let in_one_network = [
            [0x64, 0xff9b, 1, 0, 0, 0, high, low],
            [0x64, 0xff9b, 1, high, c, d << 8, 0, 0],
            [0x64, 0xff9b, 1, a, b, low, 0, 0],
            [0x64, 0xff9b, 1, 0, a, (b << 8) | c, d << 8, 0],
        ];
        let in_one_network = in_one_network.into_iter().filter(|_| a != 0);
        for hiding in hiding.into_iter().chain(in_one_network).map(Ipv6Addr::from) {
            prop_assert!(!is_refused(address) || kind(hiding.into()).is_some(), "{} hides {}", hiding, address);
        }
        // And a mapped address is refused for nothing else.
        let mapped = kind(address.to_ipv6_mapped().into());
        prop_assert_eq!(mapped, kind(address.into()));
    }

    #[test]
    fn addresses_of_the_internet_are_not_refused(rest in any::<u128>()) {
        // 2600::/12, of which no part stands for anything else but where an interface is numbered for ISATAP.
        let address = Ipv6Addr::from((0x2600 << 112) | (rest >> 12));
        prop_assume!(address.segments()[5] != 0x5efe);
        prop_assert_eq!(kind(address.into()), None);
    }
}
