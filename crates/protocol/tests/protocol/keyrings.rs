use bridge_protocol::{Claims, Keyring, KeyringError, SignError, TopicNames};

use crate::{KEYRING, at, keyring};

fn faults(text: &str) -> Vec<String> {
    Keyring::from_toml(text).expect_err("must not load").faults
}

#[test]
fn a_keyring_says_what_it_can_do() {
    let ring = keyring("2026-ed");
    assert!(ring.can_sign());
    assert_eq!(ring.signing_kid(), Some("2026-ed"));
    assert_eq!(ring.kids(), ["2026-hs", "2026-ed"], "a retired key is not accepted");
    assert_eq!(ring.kids_with_secrets(), ["2026-hs", "2026-ed"]);
    assert_eq!(format!("{ring:?}"), r#"Keyring { kids: ["2026-hs", "2026-ed"], signing: Some("2026-ed") }"#);
}

#[test]
fn any_key_that_can_sign_may_be_chosen_and_a_retired_one_may_not() {
    let ring = keyring("2026-hs");
    assert_eq!(ring.kids_with_secrets(), ["2026-hs", "2026-ed"]);
    let claims = serde_json::from_str::<serde_json::Value>(include_str!("../vectors/accepted.json")).unwrap();
    let claims: Claims = serde_json::from_value(claims[0]["claims"].clone()).unwrap();
    let message = keyring("2026-ed").sign(&claims).unwrap();
    let verified = ring.verify(message.as_bytes(), &claims.aud, &TopicNames::default(), at(claims.iat));
    assert_eq!(verified, Ok(claims.clone()));
    assert_eq!(ring.sign_with("2026-hs", &claims).unwrap(), ring.sign(&claims).unwrap());
    assert_eq!(
        ring.sign_with("2026-ed", &claims).unwrap(),
        keyring("2026-ed").sign(&claims).unwrap(),
        "EdDSA signs the same way each time"
    );
    for kid in ["2025-old", "nobody"] {
        assert!(matches!(ring.sign_with(kid, &claims), Err(SignError::NotASigner(named)) if named == kid));
    }
}

#[test]
fn a_consumer_needs_the_public_half_only() {
    let pem = KEYRING.split("public_pem = \"\"\"").nth(1).unwrap().split("\"\"\"").next().unwrap();
    let text = format!("[[keys]]\nkid = \"2026-ed\"\nalg = \"EdDSA\"\npublic_pem = '''{pem}'''\n");
    let ring = Keyring::from_toml(&text).unwrap();
    assert!(!ring.can_sign() && ring.kids_with_secrets().is_empty());
    assert_eq!(ring.signing_kid(), None);
    let claims = serde_json::from_str::<serde_json::Value>(include_str!("../vectors/accepted.json")).unwrap();
    let claims: Claims = serde_json::from_value(claims[0]["claims"].clone()).unwrap();
    assert!(matches!(ring.sign(&claims), Err(SignError::NoSigningKey)));

    assert_eq!(
        faults(&format!("signing = \"2026-ed\"\n{text}")),
        ["signing names \"2026-ed\", which has no private_pem"]
    );
}

#[test]
fn every_fault_is_told_at_once() {
    let KeyringError { faults } = Keyring::from_toml(
        r#"
        signing = "gone"
        [[keys]]
        kid = "short"
        alg = "HS256"
        secret = "c2hvcnQ="
        [[keys]]
        kid = "short"
        alg = "RS256"
        [[keys]]
        kid = "text"
        alg = "HS256"
        secret = "!!"
        [[keys]]
        kid = "none"
        alg = "HS256"
        [[keys]]
        kid = "bad kid"
        alg = "HS256"
        [[keys]]
        kid = "pem"
        alg = "EdDSA"
        public_pem = "no pem"
        [[keys]]
        kid = "mixed"
        alg = "EdDSA"
        secret = "AAAA"
        "#,
    )
    .unwrap_err();
    assert_eq!(
        faults,
        [
            "key \"short\": the secret has 5 bytes; it needs at least 32",
            "kid \"short\" is there twice; every key needs its own",
            "key \"short\": alg \"RS256\" is not supported; use HS256 or EdDSA",
            "key \"text\": the secret is not base64",
            "key \"none\": HS256 needs a secret",
            "key \"bad kid\": a kid is 1 to 64 letters, digits and . _ -",
            "key \"pem\": public_pem is not an Ed25519 public key (SPKI, \"BEGIN PUBLIC KEY\")",
            "key \"mixed\": EdDSA takes public_pem and private_pem, not a secret",
            "signing names \"gone\", which is not among the keys",
        ]
    );
}

#[test]
fn a_retired_key_does_not_sign() {
    let text = KEYRING.replace("signing = \"2026-hs\"", "signing = \"2025-old\"");
    assert_eq!(
        faults(&text),
        ["signing names \"2025-old\", which is retired; name a key that is still accepted"]
    );
}

#[test]
fn halves_of_different_pairs_are_refused() {
    let text = KEYRING.replace("BCIEIJ1hsZ3v", "BCIEIJ1hsZ3w");
    assert_ne!(text, KEYRING);
    let faults = faults(&text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("halves of one Ed25519 pair"), "{faults:?}");
}

#[test]
fn an_empty_and_a_broken_file_say_what_to_do() {
    assert_eq!(faults(""), ["it holds no [[keys]]; add at least one"]);
    let broken = faults("signing = \"x\"\n[[keys]]\nkid = \"x\"\nalg = \"HS256\"\nsecret = VERYSECRET\n");
    assert!(broken[0].contains("(line 5)"), "{broken:?}");
    assert!(!broken[0].contains("VERYSECRET"), "{broken:?}");
    assert!(faults("[[keys]]\nkid = \"x\"\nalg = \"HS256\"\nsekret = \"x\"\n")[0].contains("sekret"));
}
