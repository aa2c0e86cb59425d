//! Kinds of addresses that an agent in a cluster does not call. Pure.
//!
//! An IPv6 address may stand for an IPv4 one: written so, or made so by whoever carries the packets. Then it is of the kind
//! of the other too.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `0.0.0.0` and `::`, which stand for this machine where they are called.
    Unspecified,
    /// This machine.
    Loopback,
    /// The machines of one wire; metadata services of clouds are here.
    LinkLocal,
    /// Many machines at once.
    Multicast,
    /// All machines of one wire.
    Broadcast,
    /// Services of clouds that tell a machine its own secrets, where they are not link-local.
    Metadata,
    /// The API server of Kubernetes.
    ApiServer,
    /// The broker.
    Broker,
    /// The process that would call.
    Own,
    /// Ports of the servers that a cluster consists of, whatever the address.
    Port,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "an address that stands for the agent's own machine",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Metadata => "an address of a cloud's metadata services",
            Self::ApiServer => "the API server's address",
            Self::Broker => "the broker's address",
            Self::Own => "the agent's own address",
            Self::Port => "at a port of the cluster's own servers",
        })
    }
}

/// Metadata services outside the link-local ranges. Amazon's are a range, see [`of_itself`].
const METADATA: [IpAddr; 8] = [
    // Alibaba.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200)),
    // Azure: what agents on its machines get their certificates from.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    // Google.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    // Akamai.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)),
];

/// The first of these kinds that an address is of, by itself or by what it stands for.
pub fn kind(address: IpAddr) -> Option<Kind> {
    meanings(address).find_map(of_itself)
}

/// An address, and the IPv4 addresses that it may stand for.
pub(super) fn meanings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match address {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(address) => inner(address),
    };
    std::iter::once(address).chain(inner.into_iter().map(IpAddr::V4))
}

fn of_itself(address: IpAddr) -> Option<Kind> {
    if METADATA.contains(&address) {
        return Some(Kind::Metadata);
    }
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Option<Kind> {
    first([
        // All of 0.0.0.0/8 means "this network".
        (address.octets()[0] == 0, Kind::Unspecified),
        (address.is_loopback(), Kind::Loopback),
        (address.is_link_local(), Kind::LinkLocal),
        (address.is_multicast(), Kind::Multicast),
        (address.is_broadcast(), Kind::Broadcast),
    ])
}

fn of_v6(address: Ipv6Addr) -> Option<Kind> {
    let [network, subnet, ..] = address.segments();
    first([
        (address.is_unspecified(), Kind::Unspecified),
        (address.is_loopback(), Kind::Loopback),
        (address.is_unicast_link_local(), Kind::LinkLocal),
        (address.is_multicast(), Kind::Multicast),
        // Amazon's: metadata, credentials of pods, time, names.
        (network == 0xfd00 && subnet == 0x0ec2, Kind::Metadata),
    ])
}

fn first<const N: usize>(kinds: [(bool, Kind); N]) -> Option<Kind> {
    kinds.into_iter().find(|(holds, _)| *holds).map(|(_, kind)| kind)
}

/// The IPv4 addresses in an IPv6 one.
fn inner(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // Mapped (::ffff:a.b.c.d), translated (::ffff:0:a.b.c.d), compatible (::a.b.c.d).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => vec![last],
        // NAT64 with the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last],
        // NAT64 within one network, which decides how long its prefix is (RFC 6052, section 2.2). Where it is another one, the
        // address has zeros in this place.
        [0x64, 0xff9b, 1, ..] => {
            let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
            places.map(at).into_iter().filter(|address| address.octets()[0] != 0).collect()
        }
        // 6to4.
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        // Teredo: the server, and the client behind it, inverted.
        [0x2001, 0, ..] => vec![at([4, 5, 6, 7]), Ipv4Addr::from(last.octets().map(|octet| !octet))],
        // ISATAP, in any network.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    }
}
