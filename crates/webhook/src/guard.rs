//! Which addresses a webhook may reach. Tenants write URLs; none of them may reach what only this
//! process can: loopback, private networks, a cloud's metadata service.
//!
//! The check is on the address that is dialled, not on the text of the URL: names are checked after
//! they are resolved (so a name that changes its mind is caught), literals after the URL parser has
//! read every decimal, octal or mapped spelling.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::addresses::is_public;

/// The guard would not let the request out. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("{url} is neither http nor https with a host: correct the route's webhook_url")]
    Url { url: String },
    #[error("{url} holds a user name or a password: take them out and name a credential in the route")]
    Login { url: String },
    #[error(
        "the host {host} leads to an address that is not public: use a public host, or let the operator add its range \
         to webhook.allow_private or the host to webhook.allow_hosts"
    )]
    Address {
        host: String,
        /// Not in the text, which a tenant may read: it would show him what inner names lead to.
        address: IpAddr,
    },
    #[error(
        "the host {host} is the operator's own, of which routes may name what begins with {may}: correct the path, or let \
         the operator add the host to webhook.allow_hosts"
    )]
    Path { host: String, may: String },
}

/// Why a URL is not taken when somebody writes it down.
#[derive(Debug, thiserror::Error)]
pub enum NotWritable {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the host {host} is not known: correct it, or create its DNS record first")]
    Unknown { host: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the host {host} was not resolved within {limit:?}: try again, or correct it")]
    TimedOut { host: String, limit: Duration },
}

/// The rule: public addresses, the operator's allow-list, and the operator's own hosts.
#[derive(Clone)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
    trusted: Arc<HashSet<String>>,
    /// Beginnings of the operator's own URLs. Behind them lie webhooks; elsewhere on those hosts, who knows what.
    own: Arc<[Url]>,
    names: Arc<dyn Resolve>,
}

impl Guard {
    /// `trusted` holds `host` (any port) or `host:port`, an IPv6 address in brackets.
    pub fn new(allowed: Vec<IpNet>, trusted: HashSet<String>) -> Self {
        let trusted = trusted.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        let own = Arc::new([]);
        Self { allowed: allowed.into(), trusted: Arc::new(trusted), own, names: Arc::new(SystemNames) }
    }

    /// Of these hosts tenants may write down only what begins so; of other trusted hosts everything.
    #[must_use]
    pub fn with_own(self, own: Vec<Url>) -> Self {
        Self { own: own.into(), ..self }
    }

    /// Asks `names` instead of the system.
    #[must_use]
    pub fn resolving_with(self, names: Arc<dyn Resolve>) -> Self {
        Self { names, ..self }
    }

    /// Where names are looked up, unguarded.
    pub(crate) fn names(&self) -> Arc<dyn Resolve> {
        self.names.clone()
    }

    /// Is this a host that the operator named, which may be anywhere?
    pub fn trusts(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.trusted.contains(host) || self.trusted.contains(&format!("{host}:{port}"))
    }

    /// What can be said before a name is resolved: the scheme, a login, and a literal address (which the
    /// connector dials without asking any resolver).
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Url { url: without_secrets(url) });
        }
        // The client would turn it into a header of its own.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Login { url: without_secrets(url) });
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

    /// Everything that the URL's text says, whether somebody writes it down or it is about to be dialled: of a host that
    /// the operator named the path, of any other what [`Guard::check_url`] looks at.
    pub fn check_text(&self, url: &Url) -> Result<(), Refused> {
        if self.trusts(url) && matches!(url.scheme(), "http" | "https") {
            return self.check_own(url);
        }
        self.check_url(url)
    }

    /// For whoever takes a URL from a tenant: everything that can be known now. What the name leads to
    /// later is checked again whenever it is dialled.
    pub async fn check_written(&self, url: &Url, limit: Duration) -> Result<(), NotWritable> {
        self.check_text(url)?;
        match self.name_to_look_up(url) {
            Some(host) => self.check_name(host, limit).await,
            None => Ok(()),
        }
    }

    /// What text alone does not judge.
    pub fn name_to_look_up<'u>(&self, url: &'u Url) -> Option<&'u str> {
        match url.host() {
            Some(Host::Domain(host)) if !self.trusts(url) => Some(host),
            _ => None,
        }
    }

    /// Does the name lead to anything that may be dialled?
    pub async fn check_name(&self, host: &str, limit: Duration) -> Result<(), NotWritable> {
        let unknown = |source| NotWritable::Unknown { host: host.to_owned(), source };
        let name: Name = host.parse().map_err(|error| unknown(Box::new(error) as _))?;
        let found = tokio::time::timeout(limit, self.names.resolve(name)).await;
        let found = found.map_err(|_| NotWritable::TimedOut { host: host.to_owned(), limit })?;
        let found: Vec<_> = found.map_err(unknown)?.collect();
        if found.is_empty() {
            return Err(unknown("the resolver knows no address of it".into()));
        }
        self.keep_permitted(host, found)?;
        Ok(())
    }

    /// By host and port, as trust is: another scheme leads to the same listener.
    fn check_own(&self, url: &Url) -> Result<(), Refused> {
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default());
        let asked = place(url);
        let own: Vec<&Url> = self.own.iter().filter(|own| place(own) == asked).collect();
        if own.is_empty() || own.iter().any(|own| is_below(url.path(), own.path())) {
            return Ok(());
        }
        let may: Vec<&str> = own.iter().map(|own| own.path()).collect();
        Err(Refused::Path { host: url.host_str().unwrap_or_default().to_owned(), may: may.join(" or ") })
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

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("allowed", &self.allowed)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}

/// The guard at the resolver: the connector only ever sees addresses that passed.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = guard.names.resolve(name).await?.collect();
            let kept = guard.keep_permitted(&host, found)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// The system's resolver.
struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// A proxy may read an encoded slash as one, and climb by what stands between two of them.
fn is_below(path: &str, own: &str) -> bool {
    let Some(rest) = path.strip_prefix(own) else { return false };
    let whole = own.ends_with('/') || rest.is_empty() || rest.starts_with('/');
    let rest = rest.to_ascii_lowercase();
    whole && !["%2f", "%5c"].iter().any(|slash| rest.contains(slash))
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

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
