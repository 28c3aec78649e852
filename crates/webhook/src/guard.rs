//! Which addresses a webhook may reach. Tenants write URLs; none of them may reach what only this
//! process can: loopback, private networks, a cloud's metadata service.
//!
//! The check is on the address that is dialled, not on the text of the URL: names are checked after
//! they are resolved (so a name that changes its mind is caught), literals after the URL parser has
//! read every decimal, octal or mapped spelling.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// The guard would not let the request out. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{url} is neither http nor https with a host: correct the route's webhook_url")]
    Url { url: String },
    #[error(
        "the host {host} leads to {address}, which is not a public address: use a public host, or let the operator \
         add the range to webhook.allow_private"
    )]
    Address { host: String, address: IpAddr },
}

/// The rule: public addresses, the operator's allow-list, and the operator's own hosts.
#[derive(Debug, Clone)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
    trusted: Arc<HashSet<String>>,
}

impl Guard {
    /// `trusted` holds `host` (any port) or `host:port`.
    pub fn new(allowed: Vec<IpNet>, trusted: HashSet<String>) -> Self {
        let trusted = trusted.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { allowed: allowed.into(), trusted: Arc::new(trusted) }
    }

    /// Is this one of the operator's own hosts, which may be anywhere?
    pub fn trusts(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.trusted.contains(host) || self.trusted.contains(&format!("{host}:{port}"))
    }

    /// What can be said before a name is resolved: the scheme, and a literal address (which the
    /// connector dials without asking any resolver).
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Url { url: without_secrets(url) });
        }
        let address = match url.host() {
            None => return Err(Refused::Url { url: without_secrets(url) }),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        if self.permits(address) {
            return Ok(());
        }
        Err(Refused::Address { host: url.host_str().unwrap_or_default().to_owned(), address })
    }

    /// May this address be dialled for a host that is not trusted?
    pub fn permits(&self, address: IpAddr) -> bool {
        let inner = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address) || net.contains(&inner)) || is_public(inner)
    }

    fn keep_permitted(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Refused> {
        let (kept, dropped): (Vec<_>, Vec<_>) = found.into_iter().partition(|addr| self.permits(addr.ip()));
        match dropped.first() {
            Some(addr) if kept.is_empty() => {
                Err(Refused::Address { host: host.to_owned(), address: addr.ip() })
            }
            _ => Ok(kept),
        }
    }
}

/// The guard at the resolver: the connector only ever sees addresses that passed.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept = guard.keep_permitted(name.as_str(), found)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only on URLs that cannot carry a login, which then have nothing to hide.
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown.to_string()
}

const fn v4(a: u8, b: u8, c: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), len)
}

const fn v6(a: u16, b: u16, c: u16, len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), len)
}

/// IANA's special-purpose ranges; link-local holds the metadata service 169.254.169.254.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// `::/16` holds the unspecified address, loopback and the old IPv4-compatible form; 2002::/16 and
/// 2001::/32 tunnel to any IPv4 address; `fd00:ec2::254` is metadata inside fc00::/7.
const SPECIAL_V6: [Ipv6Net; 12] = [
    v6(0, 0, 0, 16),
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    v6(0x2001, 0, 0, 23),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x2002, 0, 0, 16),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
    v6(0xfec0, 0, 0, 10),
    v6(0xff00, 0, 0, 8),
];

const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => !SPECIAL_V6.iter().any(|net| net.contains(&address)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn guard(allowed: &[&str], trusted: &[&str]) -> Guard {
        Guard::new(
            allowed.iter().map(|net| net.parse().unwrap()).collect(),
            trusted.iter().map(|host| (*host).to_owned()).collect(),
        )
    }

    #[test]
    fn every_spelling_of_an_inner_address_is_refused() {
        let guard = guard(&[], &[]);
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://0/",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://[ff02::1]/",
            "http://10.1.2.3/",
            "http://100.64.0.1/",
            "http://172.31.255.255/",
            "http://192.168.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "data:text/plain,x",
        ] {
            assert!(guard.check_url(&url.parse().unwrap()).is_err(), "{url} was let through");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        let guard = guard(&[], &[]);
        for url in [
            "http://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "http://[::ffff:8.8.8.8]/",
            "https://example.com/x",
        ] {
            assert_eq!(guard.check_url(&url.parse().unwrap()), Ok(()), "{url}");
        }
    }

    #[test]
    fn the_allow_list_opens_its_range_only() {
        let guard = guard(&["10.1.0.0/16"], &[]);
        assert!(guard.check_url(&"http://10.1.2.3/".parse().unwrap()).is_ok());
        assert!(guard.check_url(&"http://[::ffff:10.1.2.3]/".parse().unwrap()).is_ok());
        assert!(guard.check_url(&"http://10.2.2.3/".parse().unwrap()).is_err());
    }

    #[test]
    fn trust_is_by_host_or_by_host_and_port() {
        let guard = guard(&[], &["n8n.internal", "127.0.0.1:5678"]);
        assert!(guard.trusts(&"http://N8N.internal:99/x".parse().unwrap()));
        assert!(guard.trusts(&"http://127.0.0.1:5678/x".parse().unwrap()));
        assert!(!guard.trusts(&"http://127.0.0.1:5679/x".parse().unwrap()));
        assert!(!guard.trusts(&"http://evil.n8n.internal/x".parse().unwrap()));
    }

    #[test]
    fn a_name_keeps_its_public_addresses_and_is_refused_without_any() {
        let guard = guard(&[], &[]);
        let inner: SocketAddr = "10.0.0.1:0".parse().unwrap();
        let outer: SocketAddr = "8.8.8.8:0".parse().unwrap();
        assert_eq!(guard.keep_permitted("h", vec![inner, outer]), Ok(vec![outer]));
        assert_eq!(
            guard.keep_permitted("h", vec![inner]),
            Err(Refused::Address { host: "h".to_owned(), address: inner.ip() })
        );
    }
}
