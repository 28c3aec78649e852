//! Everything that must not get in, for the built-in issuer and for an outside one alike.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::issuer::{Issuer, OUT_AUDIENCE};
use crate::lab::{Lab, but, config, sign};

/// Changes of a good token, each with the reason it is refused for.
fn changes(now: i64) -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("claims", "aud", json!("another"), "audience"),
        ("claims", "aud", json!(["another", "and another"]), "audience"),
        ("claims", "aud", json!([]), "audience"),
        ("claims", "aud", Value::Null, "audience"),
        ("claims", "aud", json!({ "x": 1 }), "malformed"),
        ("claims", "iss", json!("https://elsewhere.example"), "issuer"),
        ("claims", "iss", Value::Null, "issuer"),
        ("claims", "iss", json!(7), "malformed"),
        ("claims", "exp", Value::Null, "no_expiry"),
        ("claims", "exp", json!(now), "expired"),
        ("claims", "exp", json!(now - 3600), "expired"),
        ("claims", "exp", json!(-1), "expired"),
        ("claims", "exp", json!((now + 900).to_string()), "malformed"),
        ("claims", "iat", json!(now + 61), "not_yet"),
        ("claims", "iat", json!(1e18), "not_yet"),
        ("claims", "nbf", json!(now + 3600), "not_yet"),
        ("header", "alg", json!("none"), "algorithm"),
        ("header", "alg", json!("None"), "algorithm"),
        ("header", "alg", json!(""), "algorithm"),
        ("header", "alg", json!("HS256"), "algorithm"),
        ("header", "alg", json!("RS512"), "algorithm"),
        ("header", "alg", Value::Null, "malformed"),
        ("header", "crit", json!(["exp"]), "critical"),
        ("header", "crit", json!([]), "critical"),
        ("header", "kid", json!("unknown"), "kid"),
        ("header", "kid", json!(7), "malformed"),
        ("header", "typ", json!("logout+jwt"), "type"),
        ("header", "typ", json!("id_token"), "type"),
    ]
}

/// Every change, and the good token at the end: it was not the lab that refused.
async fn all(lab: &Lab, header: &Value, claims: &Value, make: impl Fn(&Value, &Value) -> String) {
    for (part, field, to, wanted) in changes(claims["iat"].as_i64().unwrap()) {
        let token = match part {
            "header" => make(&but(header, field, to.clone()), claims),
            _ => make(header, &but(claims, field, to.clone())),
        };
        assert_eq!(lab.why(&token).await, wanted, "{field} = {to}");
    }
    let good = make(header, claims);
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    for (bad, wanted) in [
        (format!("{head}.{body}."), "malformed"),
        (format!("{head}.{body}"), "malformed"),
        (format!("{head}..{signature}"), "malformed"),
        (format!(".{body}.{signature}"), "malformed"),
        (format!("{good}.{signature}"), "malformed"),
        (format!("{good}="), "signature"),
        (format!("{head}.{body}.AAAA"), "signature"),
        (format!("{head}.{body}.!"), "signature"),
        ("a.b.c".to_owned(), "malformed"),
        ("junk".to_owned(), "malformed"),
        ("A".repeat(8193), "too_long"),
        ("A".repeat(65_536), "too_long"),
    ] {
        assert_eq!(lab.why(&bad).await, wanted, "{bad:.80}");
    }
    // Within the leeway.
    let ahead = claims["iat"].as_i64().unwrap() + 60;
    let early = but(&but(claims, "iat", json!(ahead)), "nbf", json!(ahead as f64 + 0.5));
    lab.bearer(&make(header, &early)).await.unwrap();
    lab.bearer(&good).await.unwrap();
}

#[tokio::test]
async fn tokens_in_the_name_of_the_built_in_issuer() {
    let lab = Lab::new();
    let (header, claims) = (lab.header(), lab.claims());
    all(&lab, &header, &claims, |header, claims| lab.sign(header, claims)).await;
    for (field, to, wanted) in
        [("kid", Value::Null, "kid"), ("typ", json!("JWT"), "type"), ("typ", Value::Null, "type")]
    {
        assert_eq!(lab.why(&lab.sign(&but(&header, field, to), &claims)).await, wanted);
    }
    assert_eq!(lab.why(&lab.sign(&header, &but(&claims, "sub", Value::Null))).await, "subject");
    assert_eq!(lab.why(&lab.sign(&header, &but(&claims, "sub", json!("svc_nobody000000")))).await, "revoked");
    // An API key's id is no client.
    assert_eq!(lab.why(&lab.sign(&header, &but(&claims, "sub", json!(lab.key.id())))).await, "revoked");
}

#[tokio::test]
async fn tokens_in_the_name_of_an_outside_issuer() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    let header = json!({ "alg": "RS256", "kid": "rsa", "typ": "JWT" });
    let claims = issuer.claims(&lab);
    all(&lab, &header, &claims, |header, claims| issuer.sign("rsa", header, claims)).await;
    assert_eq!(lab.why(&issuer.sign("rsa", &header, &but(&claims, "sub", Value::Null))).await, "subject");
    lab.bearer(&issuer.sign("rsa", &header, &but(&claims, "aud", json!(OUT_AUDIENCE)))).await.unwrap();
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    let public = lab.pair.public_pem();
    let x = lab.pair.jwk("one")["x"].as_str().unwrap().to_owned();
    let modulus = issuer.jwk("rsa")["n"].as_str().unwrap().to_owned();
    for secret in [public, x, modulus] {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let own = sign(
            &json!({ "alg": "HS256", "kid": "one", "typ": "at+jwt" }),
            &lab.claims(),
            &key,
            Algorithm::HS256,
        );
        assert_eq!(lab.why(&own).await, "algorithm");
        let outside =
            sign(&json!({ "alg": "HS256", "kid": "rsa" }), &issuer.claims(&lab), &key, Algorithm::HS256);
        assert_eq!(lab.why(&outside).await, "algorithm");
    }
}

#[tokio::test]
async fn a_key_signs_only_for_its_own_issuer() {
    let issuer = Issuer::start().await;
    let lab = Lab::with(config(vec![issuer.entry()]));
    let _running = issuer.run(&lab).await;
    // The outside issuer's key in our name, and ours in its name.
    let forged = issuer.sign("ed", &but(&lab.header(), "kid", json!("ed")), &lab.claims());
    assert_eq!(lab.why(&forged).await, "kid");
    let forged = issuer.sign("ed", &lab.header(), &lab.claims());
    assert_eq!(lab.why(&forged).await, "signature");
    let forged = lab.sign(&json!({ "alg": "EdDSA", "kid": "ed" }), &issuer.claims(&lab));
    assert_eq!(lab.why(&forged).await, "signature");
    // A key of another family under the kid of this one.
    let forged = issuer.sign("p256", &json!({ "alg": "ES256", "kid": "rsa" }), &issuer.claims(&lab));
    assert_eq!(lab.why(&forged).await, "kid");
}

#[tokio::test]
async fn a_header_with_a_field_twice_is_refused() {
    use base64::Engine as _;
    let lab = Lab::new();
    let good = lab.sign(&lab.header(), &lab.claims());
    let head = r#"{"alg":"EdDSA","alg":"none","kid":"one","typ":"at+jwt"}"#;
    let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(head);
    let token = format!("{head}.{}", good.split_once('.').unwrap().1);
    assert_eq!(lab.why(&token).await, "malformed");
}
