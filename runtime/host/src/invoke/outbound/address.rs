//! Which addresses are those of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that are not of the public internet, by the registry of special-purpose addresses (RFC 6890).
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Blocks of global unicast (2000::/3) that lead elsewhere: Teredo and other protocols, documentation, benchmarks.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address, at this many bits from the left.
const CARRIERS: [(Ipv6Addr, u32, u32); 2] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, 96),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 16),
];

/// Whether an address is one of the public internet, whichever way it is written.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|&(block, length)| (address.to_bits() ^ block.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |block: Ipv6Addr, length: u32| (address.to_bits() ^ block.to_bits()) >> (128 - length) == 0;
    if let Some(&(_, _, at)) = CARRIERS.iter().find(|&&(block, length, _)| within(block, length)) {
        return is_public_v4(Ipv4Addr::from_bits((address.to_bits() >> (96 - at)) as u32));
    }
    let is_global = within(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    is_global && !SPECIAL_V6.iter().any(|&(block, length)| within(block, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str], public: bool) {
        for text in texts {
            assert_eq!(is_public(text.parse().unwrap()), public, "{text}");
        }
    }

    #[test]
    fn the_internet_is_public() {
        all(&["1.1.1.1", "172.32.0.1", "100.128.0.1", "223.255.255.255"], true);
        all(&["2606:4700::1111", "2a00::1", "64:ff9b::101:101", "2002:101:101::1"], true);
    }

    #[test]
    fn everything_else_is_not() {
        all(&["127.0.0.1", "127.255.0.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255"], false);
        all(&["192.168.0.1", "169.254.169.254", "100.64.0.1", "198.19.0.1", "224.0.0.1"], false);
        all(&["255.255.255.255", "192.0.0.192", "203.0.113.5"], false);
        all(&["::", "::1", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1"], false);
    }

    #[test]
    fn an_address_inside_of_another_counts() {
        all(&["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"], false);
        all(&["2002:7f00:1::", "2002:c0a8:101::1", "::7f00:1", "2001::1"], false);
    }
}
