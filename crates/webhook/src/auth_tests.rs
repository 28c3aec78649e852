#![allow(clippy::unwrap_used, reason = "tests")]

use jsonwebtoken::{DecodingKey, Validation};

use super::*;

const NOW: i64 = 1_800_000_000;

fn applied(auth: Auth<'_>) -> Result<HeaderMap, AuthError> {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant-id", HeaderValue::from_static("acme"));
    let minted = Minted {
        execution: "01934567-89ab-7cde-8f01-23456789abcd".parse().unwrap(),
        tenant: &TenantId::parse("acme").unwrap(),
        body: b"{\"payload\":1}",
        now: NOW,
    };
    auth.apply(&mut headers, &minted).map(|()| headers)
}

#[test]
fn fixed_logins_become_their_header() {
    let basic = applied(Auth::Basic { user: "n8n", password: "pä:ss" }).unwrap();
    assert_eq!(basic["authorization"], "Basic bjhuOnDDpDpzcw==");
    let bearer = applied(Auth::Bearer { token: "abc.def" }).unwrap();
    assert_eq!(bearer["authorization"], "Bearer abc.def");
    let header = applied(Auth::Header { name: "X-Api-Key", value: "k1" }).unwrap();
    assert_eq!(header["x-api-key"], "k1");
    assert!(header["x-api-key"].is_sensitive());
    assert_eq!(applied(Auth::Header { name: "authorization", value: "Key k" }).unwrap().len(), 2);
}

#[test]
fn a_login_never_replaces_what_the_bridge_says() {
    for name in [
        "Webhook-Id",
        "webhook-signature",
        "X-Tenant-Id",
        "x-execution-id",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "Content-Type",
        "content-length",
        "transfer-encoding",
        "HOST",
        "connection",
        "proxy-authorization",
        "user-agent",
    ] {
        let auth = Auth::Header { name, value: "x" };
        assert_eq!(auth.check(), Err(AuthError::Reserved(name.to_lowercase())));
        assert_eq!(applied(auth).unwrap_err(), AuthError::Reserved(name.to_lowercase()));
    }
}

#[test]
fn what_no_header_can_carry_is_refused_before_it_is_needed() {
    let cases = [
        (Auth::Header { name: "x y", value: "x" }, AuthError::Name("x y".to_owned())),
        (Auth::Header { name: "", value: "x" }, AuthError::Name(String::new())),
        (Auth::Header { name: "x-key", value: "a\r\nx-evil: 1" }, AuthError::Value),
        (Auth::Bearer { token: "a\nb" }, AuthError::Value),
        (Auth::Basic { user: "a:b", password: "c" }, AuthError::User),
        (Auth::Jwt { secret: "" }, AuthError::NoSecret),
    ];
    for (auth, expected) in cases {
        assert_eq!(auth.check(), Err(expected.clone()));
        assert_eq!(applied(auth).unwrap_err(), expected);
    }
}

#[test]
fn a_minted_token_names_its_request_and_lives_for_a_minute() {
    let auth = Auth::Jwt { secret: "n8n's passphrase" };
    assert_eq!(auth.check(), Ok(()));
    let headers = applied(auth).unwrap();
    let token = headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    let mut rules = Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    let read = |secret: &str| {
        let key = DecodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::decode::<serde_json::Value>(&token, &key, &rules)
    };
    let claims = read("n8n's passphrase").unwrap();
    assert_eq!(claims.header.typ.as_deref(), Some("JWT"));
    assert_eq!(
        claims.claims,
        serde_json::json!({
            "execution_id": "01934567-89ab-7cde-8f01-23456789abcd",
            "tenant_id": "acme",
            "body_sha256": "536d58551392d10c4bc2ad887f1c4f50d5ab021f6c04e62f42a417be26d5bc4c",
            "iat": NOW,
            "exp": NOW + 60,
        })
    );
    assert!(read("another").is_err());
}

#[test]
fn nothing_of_a_login_is_printed() {
    let shown = format!("{:?}", Auth::Basic { user: "u", password: "hunter2" });
    assert_eq!(shown, "Auth(basic)");
}
