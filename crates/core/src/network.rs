//! Networks of addresses.

use std::net::IpAddr;
use std::str::FromStr;

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// As IPv6 has it.
    address: u128,
    mask: u128,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is like 10.0.0.0/8")]
pub struct InvalidNetwork;

impl Network {
    #[must_use]
    pub fn has(self, ip: IpAddr) -> bool {
        bits(ip) & self.mask == self.address
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(longest), |length| length.parse::<u32>());
        let length = length.ok().filter(|length| *length <= longest).ok_or(InvalidNetwork)?;
        let mask = u128::MAX.checked_shl(longest - length).unwrap_or(0);
        Ok(Self { address: bits(address) & mask, mask })
    }
}

/// IPv4 addresses as IPv6 has them.
fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::Network;

    fn check(network: &str, ip: &str, expected: bool) {
        let network: Network = network.parse().unwrap();
        assert_eq!(network.has(ip.parse().unwrap()), expected, "{ip} in {network:?}");
    }

    #[test]
    fn networks_have_addresses() {
        check("10.0.0.0/8", "10.1.2.3", true);
        check("10.0.0.0/8", "11.1.2.3", false);
        check("10.1.2.3", "10.1.2.3", true);
        check("10.1.2.3", "10.1.2.4", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "1.2.3.4", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "1.2.3.4", true);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
    }

    #[test]
    fn what_is_no_network() {
        for bad in ["", "/", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "host", "10.0/8"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
