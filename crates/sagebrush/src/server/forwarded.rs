//! Who asks, where a proxy asks for others: what it says of them is believed if it is trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use sagebrush_aws::Peer;
use sagebrush_core::network::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxies that are trusted.
#[derive(Clone)]
pub(super) struct Proxies(Arc<[Network]>);

impl Proxies {
    pub(super) fn new(networks: &[Network]) -> Self {
        Self(networks.into())
    }

    /// Who asks by a connection from `connected`.
    pub(super) fn peer(&self, connected: IpAddr, headers: &HeaderMap) -> Peer {
        if !self.trusts(connected) {
            return Peer::plain(connected);
        }
        let proto = last_first(headers, FORWARDED_PROTO).next();
        let is_secure = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        Peer { ip: self.client(connected, headers), is_secure }
    }

    /// Each proxy adds whom it was asked by at the end. What stands before the word of one that
    /// is not trusted may be made up.
    fn client(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = connected;
        for named in last_first(headers, FORWARDED_FOR) {
            let Some(before) = address(named) else { break };
            client = before;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(ip))
    }
}

/// The values of a list that may be spread over several headers, the last one first.
fn last_first(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().rev();
    // What is no text is a value that says nothing.
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',').map(str::trim))
}

/// Some proxies name the port, too.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn check(connected: &str, headers: &[(HeaderName, &str)], ip: &str, is_secure: bool) {
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::1".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().unwrap());
        }
        let found = proxies.peer(connected.parse().unwrap(), &map);
        assert_eq!(found, Peer { ip: ip.parse().unwrap(), is_secure }, "{connected} {headers:?}");
    }

    #[test]
    fn a_trusted_proxy_speaks_for_its_client() {
        check(PROXY, &[], PROXY, false);
        check(PROXY, &[(FORWARDED_PROTO, "https")], PROXY, true);
        check(PROXY, &[(FORWARDED_PROTO, "http")], PROXY, false);
        check(
            "fd00::1",
            &[(FORWARDED_FOR, "1.2.3.4"), (FORWARDED_PROTO, "HTTPS")],
            "1.2.3.4",
            true,
        );
        check(PROXY, &[(FORWARDED_FOR, "1.2.3.4:567")], "1.2.3.4", false);
        check(PROXY, &[(FORWARDED_FOR, "[2001:db8::1]:567")], "2001:db8::1", false);
        check(PROXY, &[(FORWARDED_FOR, "[2001:db8::1]")], "2001:db8::1", false);
        check(PROXY, &[(FORWARDED_FOR, "::ffff:1.2.3.4")], "1.2.3.4", false);
    }

    #[test]
    fn what_others_say_is_not_believed() {
        let forged = [(FORWARDED_FOR, "10.0.0.9"), (FORWARDED_PROTO, "https")];
        check("1.2.3.4", &forged, "1.2.3.4", false);
        check("::1", &forged, "::1", false);
    }

    #[test]
    fn what_a_client_made_up_before_its_proxy_is_passed_over() {
        check(PROXY, &[(FORWARDED_FOR, "6.6.6.6, 1.2.3.4")], "1.2.3.4", false);
        check(PROXY, &[(FORWARDED_FOR, "6.6.6.6"), (FORWARDED_FOR, "1.2.3.4")], "1.2.3.4", false);
        check(PROXY, &[(FORWARDED_FOR, "6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4", false);
        check(PROXY, &[(FORWARDED_FOR, "10.0.0.3, 10.0.0.2")], "10.0.0.3", false);
        check(PROXY, &[(FORWARDED_FOR, "6.6.6.6, nonsense")], PROXY, false);
        check(PROXY, &[(FORWARDED_FOR, "6.6.6.6, nonsense, 10.0.0.2")], "10.0.0.2", false);
        check(PROXY, &[(FORWARDED_PROTO, "https, http")], PROXY, false);
        check(PROXY, &[(FORWARDED_PROTO, "https"), (FORWARDED_PROTO, "http")], PROXY, false);
    }

    #[test]
    fn nobody_is_trusted_unless_told_so() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_PROTO, "https".parse().unwrap());
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(Proxies::new(&[]).peer(here, &headers), Peer::plain(here));
    }
}
