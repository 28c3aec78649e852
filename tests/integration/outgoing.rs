//! Credentials that go out with a webhook, and addresses that stay out of reach.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bridge_tests::{World, eventually};
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const JWT_SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

#[tokio::test]
async fn each_kind_of_credential_goes_out_and_never_comes_back() -> anyhow::Result<()> {
    let kinds = [
        ("header", json!({ "kind": "header", "name": "X-N8N-Key", "value": "open sesame" })),
        ("basic", json!({ "kind": "basic", "user": "bridge", "password": "open sesame" })),
        ("bearer", json!({ "kind": "bearer", "token": "open-sesame" })),
        ("jwt", json!({ "kind": "jwt", "secret": JWT_SECRET })),
    ];
    let mut building = World::build();
    for (name, _) in &kinds {
        building = building.route(name, &format!("credential = {name:?}"));
    }
    let world = building.start().await?;
    for (name, body) in &kinds {
        let put = world.api.put(&format!("/pulsar/credentials/{name}"), body).await?;
        assert_eq!((put.status, &put.json["in_effect"]), (StatusCode::CREATED, &json!(true)), "{put:?}");
        let again = world.api.get(&format!("/pulsar/credentials/{name}")).await?;
        assert_eq!(again.json["kind"], *name, "{again:?}");
        assert!(!again.json.to_string().contains("sesame") && !again.json.to_string().contains(JWT_SECRET));
    }
    for (name, _) in &kinds {
        let id = world.api.fire(name).await?;
        world.api.until(&id, "succeeded").await;
        let fired = world.endpoint.fired_of(&id).remove(0);
        assert!(fired.headers.contains_key("webhook-signature"), "{name}");
        match *name {
            "header" => assert_eq!(fired.headers["x-n8n-key"], "open sesame"),
            "basic" => {
                let expected = format!("Basic {}", STANDARD.encode("bridge:open sesame"));
                assert_eq!(fired.headers["authorization"], expected);
            }
            "bearer" => assert_eq!(fired.headers["authorization"], "Bearer open-sesame"),
            _ => {
                let claims = checked(fired.headers["authorization"].strip_prefix("Bearer ").unwrap());
                assert_eq!(claims["execution_id"], id);
                assert_eq!(claims["tenant_id"], world.tenants[0].id);
                let digest: String =
                    Sha256::digest(&fired.body).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(claims["body_sha256"], digest);
            }
        }
    }
    world.finish().await
}

/// The claims of an HS256 token, as n8n checks it.
fn checked(token: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(JWT_SECRET.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()), signature);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_route_whose_credential_is_missing_waits_for_it() -> anyhow::Result<()> {
    let world = World::build().route("w", "credential = \"later\"").start().await?;
    let id = world.api.fire("w").await?;
    let parked = format!("executions WHERE id = '{id}' AND parks > 0 AND attempt = 0");
    eventually("it to be parked", async || match world.sql.count(&parked).await {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let put = json!({ "kind": "bearer", "token": "here-now" });
    world.api.put("/pulsar/credentials/later", &put).await?;
    world.api.until(&id, "succeeded").await;
    assert_eq!(world.endpoint.fired_of(&id)[0].headers["authorization"], "Bearer here-now");
    world.finish().await
}

#[tokio::test]
async fn bad_credentials_are_refused_with_their_field() -> anyhow::Result<()> {
    let world = World::start().await?;
    for (what, name, body, field) in [
        (
            "one of our own headers",
            "x",
            json!({ "kind": "header", "name": "webhook-signature", "value": "v" }),
            "name",
        ),
        (
            "a header of the connection",
            "x",
            json!({ "kind": "header", "name": "Connection", "value": "v" }),
            "name",
        ),
        ("a line break", "x", json!({ "kind": "header", "name": "x-k", "value": "a\r\nb" }), "value"),
        ("a short secret", "x", json!({ "kind": "jwt", "secret": "short" }), "secret"),
        ("an unknown kind", "x", json!({ "kind": "digest" }), "kind"),
        ("an odd name", "No%20Name", json!({ "kind": "bearer", "token": "t" }), "name"),
    ] {
        let answer = world.api.put(&format!("/pulsar/credentials/{name}"), &body).await?;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {answer:?}");
        assert_eq!(answer.fields(), [field], "{what}: {answer:?}");
        assert!(!answer.json.to_string().contains("a\\r"), "{what}");
    }
    world.finish().await
}

#[tokio::test]
async fn inner_addresses_are_refused_in_every_spelling_and_the_operators_hosts_are_not() -> anyhow::Result<()>
{
    let spellings = [
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/",
        "http://[64:ff9b::7f00:1]/",
    ];
    let mut building = World::build();
    for (number, url) in spellings.iter().enumerate() {
        building = building.route(&format!("spelling-{number}"), &format!("webhook_url = {url:?}"));
    }
    let world = building.start().await?;
    for (number, url) in spellings.iter().enumerate() {
        let id = world.api.fire(&format!("spelling-{number}")).await?;
        world.api.expect(&id, "dead_lettered");
        let dead = world.api.until(&id, "dead_lettered").await;
        assert_eq!(dead["reason"], "blocked_address", "{url}: {dead}");
    }
    // The endpoint of the tests is on 127.0.0.1 too: it is the operator's own default URL.
    let id = world.api.fire("w").await?;
    world.api.until(&id, "succeeded").await;
    world.finish().await
}
