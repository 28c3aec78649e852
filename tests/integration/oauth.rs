//! Who calls: our own tokens, an outside issuer's, and what is refused.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_protocol::Scope;
use bridge_tests::{Api, ChaosProxy, World, eventually};
use http::StatusCode;
use serde_json::{Value, json};

use crate::access_matrix::service_account;

async fn world() -> anyhow::Result<World> {
    let world = World::build().tenants(2).start().await?;
    let made = world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    anyhow::ensure!(made.status.is_success(), "{made:?}");
    Ok(world)
}

async fn publish(api: &Api) -> anyhow::Result<StatusCode> {
    Ok(api.publish(json!({ "workflow_id": "w", "payload": {} })).await?.status)
}

fn token_of(answer: &bridge_tests::Answer) -> String {
    answer.json["access_token"].as_str().unwrap_or_else(|| panic!("no token in {answer:?}")).to_owned()
}

#[tokio::test]
async fn a_service_account_logs_in_publishes_and_is_revoked() -> anyhow::Result<()> {
    let world = world().await?;
    let (client, secret) = service_account(&world, &world.tenant(), "publish read").await?;
    let login = world.api.login(&client, &secret, "publish").await?;
    assert_eq!((login.status, &login.json["token_type"]), (StatusCode::OK, &json!("Bearer")), "{login:?}");
    assert_eq!(login.headers["cache-control"], "no-store");
    let narrow = world.api.with_token(&token_of(&login));
    assert_eq!(publish(&narrow).await?, StatusCode::ACCEPTED);
    let refused = narrow.get("/pulsar/executions").await?;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "read was not asked for");
    assert!(refused.json["detail"].as_str().unwrap().contains("read"), "{refused:?}");

    for (what, client, secret, scope, error) in [
        ("a wrong secret", client.as_str(), "nps_wrong", "publish", "invalid_client"),
        ("an unknown client", "svc_nobody000000", secret.as_str(), "publish", "invalid_client"),
        ("a scope that was not given", client.as_str(), secret.as_str(), "payload", "invalid_scope"),
    ] {
        let answer = world.api.login(client, secret, scope).await?;
        assert_eq!(answer.json["error"], error, "{what}: {answer:?}");
        let unauthorized = error == "invalid_client";
        assert_eq!(answer.status == StatusCode::UNAUTHORIZED, unauthorized, "{what}: {answer:?}");
        assert_eq!(answer.headers.contains_key("www-authenticate"), unauthorized, "{what}");
    }

    let revoked = world.admin().delete(&format!("/pulsar/clients/{client}")).await?;
    assert_eq!((revoked.status, &revoked.json["in_effect"]), (StatusCode::OK, &json!(true)), "{revoked:?}");
    assert_eq!(publish(&narrow).await?, StatusCode::UNAUTHORIZED, "a token outlived its client");
    assert_eq!(world.api.login(&client, &secret, "publish").await?.status, StatusCode::UNAUTHORIZED);
    world.finish().await
}

#[tokio::test]
async fn revocation_reaches_every_replica_within_five_seconds() -> anyhow::Result<()> {
    let world = world().await?;
    let (mut second, environment) = world.another(bridge_tests::daemon::PUBLISHER);
    second.start_ready(&bridge_tests::world::borrowed(&environment)).await?;
    let (client, secret) = service_account(&world, &world.tenant(), "publish").await?;
    let other = Api::new(second.url(), &world.tenants[0].id, "", Default::default());
    let token = eventually("the second publisher to know the client", async || {
        let answer = other.login(&client, &secret, "publish").await.map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(token_of(&answer)) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let other = other.with_token(&token);
    assert_eq!(publish(&other).await?, StatusCode::ACCEPTED);
    let asked = std::time::Instant::now();
    let revoked = world.admin().delete(&format!("/pulsar/clients/{client}")).await?;
    assert_eq!(revoked.json["in_effect"], true, "{revoked:?}");
    assert_eq!(publish(&other).await?, StatusCode::UNAUTHORIZED, "in effect, it was said");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    second.leave().await?;
    Ok(())
}

/// Its connections to Postgres neither carry anything any more nor break: it cannot learn of the revocation, and so lets
/// nobody in.
#[tokio::test]
async fn a_replica_that_hears_nothing_of_a_revocation_refuses_within_five_seconds() -> anyhow::Result<()> {
    let world = world().await?;
    let mut database: url::Url = bridge_tests::parts::shared("BRIDGE_TEST_DATABASE_URL").parse()?;
    database.set_path(&world.sql.one("SELECT current_database()").await?);
    let (proxy, url) = ChaosProxy::before(database.as_str()).await?;
    let (mut second, mut environment) = world.another(bridge_tests::daemon::PUBLISHER);
    environment.push(("DATABASE_URL", url));
    second.start_ready(&bridge_tests::world::borrowed(&environment)).await?;
    let key = world.registrar.new_key(vec![world.tenant()], Scope::Publish.into()).await?;
    let other = world.api.at(&second.url()).with_token(&key);
    // Refused for what it says, once its sender was let in: that asks no database.
    let status = async || anyhow::Ok(other.publish(json!({})).await?.status);
    eventually("the second publisher to know the key", async || match status().await {
        Ok(StatusCode::BAD_REQUEST) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    proxy.stall();
    let revoked = std::time::Instant::now();
    // Its answer waits for every replica.
    let revoking = {
        let (admin, path) = (world.admin(), format!("/pulsar/clients/{}", &key[..16]));
        tokio::spawn(async move { admin.delete(&path).await })
    };
    let mut seen = StatusCode::BAD_REQUEST;
    while seen == StatusCode::BAD_REQUEST && revoked.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = status().await?;
    }
    assert_eq!(seen, StatusCode::SERVICE_UNAVAILABLE);
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    let revoked = revoking.await??;
    assert_eq!((revoked.status, &revoked.json["in_effect"]), (StatusCode::OK, &json!(false)), "{revoked:?}");
    proxy.pass();
    eventually("it to hear of the revocation", async || match status().await {
        Ok(StatusCode::UNAUTHORIZED) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    second.leave().await?;
    world.finish().await
}

#[tokio::test]
async fn a_rotated_secret_and_a_rotated_issuer_key_overlap() -> anyhow::Result<()> {
    let world = world().await?;
    let (client, old) = service_account(&world, &world.tenant(), "publish").await?;
    let before = world.api.with_token(&token_of(&world.api.login(&client, &old, "publish").await?));
    let rotated = world.admin().post(&format!("/pulsar/clients/{client}/rotate"), &json!({})).await?;
    let new = rotated.json["client_secret"].as_str().unwrap_or_else(|| panic!("{rotated:?}")).to_owned();
    assert_ne!(old, new);
    for secret in [&old, &new] {
        assert_eq!(world.api.login(&client, secret, "publish").await?.status, StatusCode::OK);
    }
    let gone = json!({ "overlap_seconds": 0 });
    world.admin().post(&format!("/pulsar/clients/{client}/rotate"), &gone).await?;
    eventually("the first secret to be refused", async || {
        let answer = world.api.login(&client, &old, "publish").await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(publish(&before).await?, StatusCode::UNAUTHORIZED, "a token ends with the secret that got it");

    let last = json!({ "overlap_seconds": 60 });
    let last = world.admin().post(&format!("/pulsar/clients/{client}/rotate"), &last).await?;
    let last = last.json["client_secret"].as_str().unwrap_or_else(|| panic!("{last:?}")).to_owned();
    let before = world.api.with_token(&token_of(&world.api.login(&client, &last, "publish").await?));
    let keys = world.api.get("/.well-known/jwks.json").await?.json["keys"].as_array().unwrap().len();
    world.admin().post("/pulsar/keys/rotate", &json!({ "key": "issuer" })).await?;
    eventually("the new key to be published", async || {
        let jwks = world.api.get("/.well-known/jwks.json").await.map_err(|error| error.to_string())?;
        if jwks.json["keys"].as_array().unwrap().len() == keys + 1 {
            Ok(())
        } else {
            Err(jwks.json.to_string())
        }
    })
    .await;
    assert_eq!(publish(&before).await?, StatusCode::ACCEPTED, "a token of the old key");
    world.finish().await
}

fn part(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[tokio::test]
async fn broken_and_forged_tokens_are_refused_alike() -> anyhow::Result<()> {
    let world = world().await?;
    let (client, secret) = service_account(&world, &world.tenant(), "publish").await?;
    let good = token_of(&world.api.login(&client, &secret, "publish").await?);
    let parts: Vec<&str> = good.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{good}") };
    let read =
        |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let with = |json: &Value, key: &str, value: Value| {
        let mut json = json.clone();
        json[key] = value;
        part(&json)
    };
    let (header, body) = (read(head), read(claims));
    let none = format!("{}.{claims}.", with(&header, "alg", json!("none")));
    let other_scope = format!("{head}.{}.{signature}", with(&body, "scope", json!("publish admin")));
    let later = format!("{head}.{}.{signature}", with(&body, "exp", json!(4_000_000_000u64)));
    let unknown = format!("{}.{claims}.{signature}", with(&header, "kid", json!("nobodys")));
    let hmac = format!("{}.{claims}.{signature}", with(&header, "alg", json!("HS256")));
    let long = format!("{head}.{claims}.{}", "A".repeat(64 * 1024));
    let mut bodies = Vec::new();
    for token in [none, other_scope, later, unknown, hmac, format!("{head}.{claims}"), "x".to_owned()] {
        let answer =
            world.api.with_token(&token).publish(json!({ "workflow_id": "w", "payload": {} })).await?;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}: {answer:?}");
        assert!(answer.headers.contains_key("www-authenticate"));
        bodies.push(answer.json.to_string());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the answer tells what was wrong: {bodies:?}");
    let long = world.api.with_token(&long).publish(json!({ "workflow_id": "w", "payload": {} })).await?;
    assert!(matches!(long.status.as_u16(), 401 | 431), "{long:?}");
    let header = [("authorization", format!("Bearer {good}")), ("authorization", format!("Bearer {good}"))];
    let twice = world.api.call_as(&header, http::Method::GET, "/pulsar/executions", None).await?;
    assert_eq!(twice.status, StatusCode::UNAUTHORIZED, "two credentials");
    assert_eq!(publish(&world.api.with_token(&good)).await?, StatusCode::ACCEPTED);
    world.finish().await
}

#[tokio::test]
async fn the_token_route_is_limited() -> anyhow::Result<()> {
    let world = World::build().set("auth.token_requests_per_minute", "5").start().await?;
    let mut last = world.api.login("svc_nobody000000", "nps_guess", "publish").await?;
    for _ in 0..10 {
        last = world.api.login("svc_nobody000000", "nps_guess", "publish").await?;
    }
    assert_eq!(last.status, StatusCode::TOO_MANY_REQUESTS, "{last:?}");
    assert!(last.headers.contains_key("retry-after"));
    eventually("the refused logins to be counted", async || {
        let listed = world.admin().get("/pulsar/audit/refusals").await.map_err(|error| error.to_string())?;
        let logins = listed.json["refusals"].as_array().cloned().unwrap_or_default();
        let logins = logins.iter().any(|line| line["kind"] == "login" && line["count"].as_u64() > Some(1));
        if logins { Ok(()) } else { Err(listed.json.to_string()) }
    })
    .await;
    world.finish().await
}

#[tokio::test]
async fn every_kind_of_refused_login_is_counted() -> anyhow::Result<()> {
    let world = World::build().tenants(2).set("auth.token_requests_per_minute", "8").start().await?;
    let (client, secret) = service_account(&world, &world.tenant(), "publish").await?;
    world.api.call_as(&[], http::Method::GET, "/pulsar/executions", None).await?;
    let reader =
        world.api.with_token(&world.registrar.new_key(vec![world.tenant()], Scope::Read.into()).await?);
    world.directory_is_current().await;
    assert_eq!(publish(&reader).await?, StatusCode::FORBIDDEN);
    let foreign = format!("/pulsar/executions?tenant_id={}", world.tenants[1].id);
    assert_eq!(reader.get(&foreign).await?.status, StatusCode::FORBIDDEN);
    let execution = world.api.fire("w").await?;
    world.api.until(&execution, "succeeded").await;
    let own = &world.tenants[0].id;
    for token in ["x", "cb_1_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let path = format!("/pulsar/executions/{execution}/result?tenant_id={own}&token={token}");
        let answer = world.api.post(&path, &json!({ "status": "success" })).await?;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    world.api.with_token("x").post_text("/oauth2/token", "grant_type=client_credentials", &form).await?;
    for _ in 0..10 {
        world.api.login(&client, &format!("{secret}x"), "publish").await?;
    }
    eventually("all of them to be counted", async || {
        let listed = world.admin().get("/pulsar/audit/refusals").await.map_err(|error| error.to_string())?;
        let lines = listed.json["refusals"].as_array().cloned().unwrap_or_default();
        let missing: Vec<_> = [
            ("missing", "unknown"),
            ("missing_scope", "npb_"),
            ("foreign_tenant", "npb_"),
            ("callback_token", "unknown"),
            ("callback_token", own),
            ("client_incomplete", "unknown"),
            ("client_secret", &client),
            ("too_many", "unknown"),
        ]
        .into_iter()
        .filter(|(reason, subject)| {
            !lines.iter().any(|line| {
                line["kind"] == "login"
                    && line["reason"] == *reason
                    && line["subject"].as_str().is_some_and(|text| text.starts_with(subject))
            })
        })
        .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are not in {lines:?}")) }
    })
    .await;
    world.finish().await
}

/// A real oidc-provider, started by scripts/test.
#[tokio::test]
async fn an_outside_issuers_tokens_are_taken_for_the_tenant_they_name() -> anyhow::Result<()> {
    let issuer = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_ISSUER");
    let audience = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_AUDIENCE");
    let tenant = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_TENANT");
    let entry = json!([{ "issuer": issuer, "audience": audience, "tenant_claim": "tenant_id",
        "tenants": { (tenant.as_str()): "__OWN__" } }]);
    let world = World::build()
        .tenants(2)
        .publisher_environment_of_tenant("BRIDGE_AUTH__ISSUERS", &entry.to_string())
        .start()
        .await?;
    let client = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_CLIENT_ID");
    let token = outside_token(&client, &audience, "publish read").await?;
    let own = world.api.with_token(&token);
    eventually("the issuer's keys to be there", async || {
        let status = publish(&own).await.map_err(|error| error.to_string())?;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let foreign = json!({ "workflow_id": "w", "payload": {}, "tenant_id": world.tenants[1].id });
    assert_eq!(own.publish(foreign).await?.status, StatusCode::FORBIDDEN);
    assert_eq!(own.post("/pulsar/clients", &json!({})).await?.status, StatusCode::FORBIDDEN);
    let elsewhere = outside_token(&client, "https://somebody.else", "publish").await?;
    assert_eq!(
        publish(&world.api.with_token(&elsewhere)).await?,
        StatusCode::UNAUTHORIZED,
        "another audience"
    );

    // The issuer changes its keys: the next token names one that nobody has seen.
    let http = bridge_tests::http_client();
    let rotated = http.post(format!("{issuer}/rotate")).send().await?;
    assert!(rotated.status().is_success(), "{rotated:?}");
    let fresh = world.api.with_token(&outside_token(&client, &audience, "publish").await?);
    eventually("the issuer's new key to be taken", async || {
        let status = publish(&fresh).await.map_err(|error| error.to_string())?;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    world.finish().await
}

/// Of one of the clients in scripts/lib/oidc.sh.
pub async fn outside_token(client: &str, audience: &str, scope: &str) -> anyhow::Result<String> {
    let issuer = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_ISSUER");
    let secret = bridge_tests::parts::shared("BRIDGE_TEST_OIDC_CLIENT_SECRET");
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "client_credentials"), ("scope", scope), ("resource", audience)])
        .finish();
    let answer = bridge_tests::http_client()
        .post(format!("{issuer}/token"))
        .basic_auth(client, Some(secret))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await?;
    let text = answer.text().await?;
    let json: Value = serde_json::from_str(&text)?;
    Ok(json["access_token"].as_str().ok_or_else(|| anyhow::anyhow!("no token: {text}"))?.to_owned())
}
