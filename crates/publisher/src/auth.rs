//! What a handler learns of its caller: who it is, which tenant it acts for, and where it calls from.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use bridge_access::{Caller, WhichTenant};
use bridge_protocol::TenantId;
use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bridge_service::serve::Peer;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use ipnet::IpNet;

use crate::app::{App, AppState};
use crate::parse::invalid;

/// The caller that the endpoint's need let in.
#[derive(Clone)]
pub struct Who(pub Arc<Caller>);

impl FromRequestParts<AppState> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        who(parts).map(|caller| Self(caller.clone()))
    }
}

fn who(parts: &Parts) -> Result<&Arc<Caller>, Problem> {
    parts.extensions.get::<Arc<Caller>>().ok_or_else(|| {
        tracing::error!(path = parts.uri.path(), "a route for everybody asks for its caller; give it a need");
        Problem::internal()
    })
}

/// The tenant a request acts for: the caller's own, or the one of several that `?tenant_id=` names.
pub struct ActsFor(pub TenantId);

impl FromRequestParts<AppState> for ActsFor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let caller = who(parts)?;
        let named = match named_tenant(parts.uri.query().unwrap_or_default()) {
            Some(named) => Some(TenantId::parse(&named).map_err(|error| {
                invalid(vec![FieldError { field: "tenant_id".into(), message: error.to_string() }])
            })?),
            None => None,
        };
        acts_for(app, caller, named.as_ref()).map(Self)
    }
}

fn named_tenant(query: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "tenant_id" && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// As [`tenant_of`]; whoever tries another's is counted.
pub fn acts_for(app: &App, caller: &Caller, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    tenant_of(caller, named).inspect_err(|problem| {
        if problem.status() == StatusCode::FORBIDDEN {
            app.tally.add("login", caller.counted_as(), "foreign_tenant");
        }
    })
}

/// The tenant a caller means. A foreign one gets the same answer whether it exists or not.
pub fn tenant_of(caller: &Caller, named: Option<&TenantId>) -> Result<TenantId, Problem> {
    caller.tenant(named).cloned().map_err(|which| match (which, named) {
        (WhichTenant::NameOne(own), _) => {
            let own: Vec<&str> = own.iter().map(TenantId::as_str).collect();
            let message = format!("is missing; the credential is for {}: name one of them", own.join(", "));
            invalid(vec![FieldError { field: "tenant_id".into(), message }])
        }
        (WhichTenant::Foreign, named) => foreign(named),
    })
}

fn foreign(named: Option<&TenantId>) -> Problem {
    let detail = match named {
        Some(named) => format!(
            "the credential is not for tenant {named}; leave tenant_id out, or use one of {named}'s own"
        ),
        None => "the credential is for no tenant; use a tenant's own".to_owned(),
    };
    let message = detail.clone();
    Problem::new(StatusCode::FORBIDDEN, "foreign-tenant", "Not your tenant", detail)
        .with_errors(vec![FieldError { field: "tenant_id".into(), message }])
}

/// Where a request comes from; None where there is no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub Option<IpAddr>);

impl FromRequestParts<AppState> for Source {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<Peer>();
        Ok(Self(peer.map(|peer| source(peer.0.ip().to_canonical(), &parts.headers, &app.trusted_proxies))))
    }
}

/// The nearest address that is no trusted proxy's: everything left of it in the header may be invented.
fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_proxy(&peer) {
        return peer;
    }
    let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = named.flat_map(|value| value.split(',')).collect();
    let mut nearest = peer;
    for hop in hops.into_iter().rev() {
        // Junk ends the chain: what stands before it cannot be trusted.
        let Some(address) = address(hop.trim()) else { break };
        nearest = address;
        if !is_proxy(&nearest) {
            break;
        }
    }
    nearest
}

/// Some proxies add the port.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn from(peer: &str, forwarded: &[&str]) -> String {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "127.0.0.1/32"].map(|net| net.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        source(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_say_where_a_request_comes_from() {
        assert_eq!(from("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(from("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(from("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(from("10.0.0.1", &["6.6.6.6, 198.51.100.1:4711", "10.1.1.1"]), "198.51.100.1");
        assert_eq!(from("10.0.0.1", &["6.6.6.6, junk, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(from("10.0.0.1", &["[2001:db8::1]:80"]), "2001:db8::1");
        assert_eq!(from("10.0.0.1", &["::ffff:198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_tenant_is_found_among_the_parameters() {
        assert_eq!(named_tenant("limit=1&tenant_id=ac%6De"), Some("acme".to_owned()));
        assert_eq!(named_tenant("tenant_id=&x"), None);
        assert_eq!(named_tenant(""), None);
    }
}
