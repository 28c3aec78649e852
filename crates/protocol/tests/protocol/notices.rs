//! Notices on the dead-letter topics: signed like messages, and never taken for one.

use bridge_protocol::{
    Claims, ExecutionId, Forged, Keyring, Lane, MAX_MESSAGE_BYTES, Notice, PayloadHash, Rejection, SignError,
    Stale, TenantId, TopicNames,
};
use serde::Deserialize;
use serde_json::json;

use crate::{KEYS, at, keyring};

const NOW: i64 = 1_763_712_000;
const EXECUTION: &str = "019aa56d-6000-7c3e-8b1d-2f6e4a9c0d11";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[serde(rename = "note")]
    _note: String,
    received_from: String,
    now: i64,
    kid: String,
    claims: Notice,
    message: String,
}

#[test]
fn golden_notices_are_accepted_and_signed_to_the_same_bytes() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../vectors/notices.json")).unwrap();
    assert!(vectors.len() >= 3);
    for Vector { name, received_from, now, kid, claims, message, .. } in vectors {
        let keyring = keyring(&kid);
        assert_eq!(keyring.sign(&claims).unwrap(), message, "{name}");
        let names = TopicNames::default();
        let verified = keyring.verify_notice(message.as_bytes(), &received_from, &names, at(now));
        assert_eq!(verified, Ok(claims), "{name}");
        let as_work = keyring.verify(message.as_bytes(), &received_from, &names, at(now));
        assert_eq!(as_work, Err(Rejection::Forged(Forged::Junk)), "{name}");
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rejected {
    name: String,
    #[serde(rename = "note")]
    _note: String,
    received_from: String,
    now: i64,
    kind: String,
    reason: String,
    message: String,
}

#[test]
fn rejected_notices_are_rejected_for_their_reason() {
    let vectors: Vec<Rejected> =
        serde_json::from_str(include_str!("../vectors/rejected_notices.json")).unwrap();
    assert!(vectors.len() >= 10);
    for vector in vectors {
        let names = TopicNames::default();
        let verified = keyring(KEYS[0]).verify_notice(
            vector.message.as_bytes(),
            &vector.received_from,
            &names,
            at(vector.now),
        );
        let rejection = verified.expect_err(&vector.name);
        let kind = if rejection.is_forged() { "forged" } else { "stale" };
        assert_eq!((kind, rejection.reason()), (&*vector.kind, &*vector.reason), "{}", vector.name);
    }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn notice(topic: &str) -> Notice {
    let detail = json!({ "attempts": 5, "error": "the webhook answered 500" });
    Notice {
        v: 1,
        iss: "test".to_owned(),
        aud: topic.to_owned(),
        sub: Some(EXECUTION.parse::<ExecutionId>().unwrap()),
        tid: tenant(),
        iat: NOW,
        exp: NOW + 60,
        jti: "n-1".to_owned(),
        kind: "dead_lettered".to_owned(),
        reason: "attempts_exhausted".to_owned(),
        detail: detail.as_object().unwrap().clone(),
    }
}

fn verify(keyring: &Keyring, message: &str, topic: &str, now: i64) -> Result<Notice, Rejection> {
    keyring.verify_notice(message.as_bytes(), topic, &TopicNames::default(), at(now))
}

#[test]
fn a_notice_is_good_on_its_own_dead_letter_topic_only() {
    let names = TopicNames::default();
    let topic = names.dead_letter(&tenant(), Lane::Ai);
    for kid in KEYS {
        let keyring = keyring(kid);
        let message = keyring.sign(&notice(&topic)).unwrap();
        assert_eq!(verify(&keyring, &message, &topic, NOW), Ok(notice(&topic)));
        assert_eq!(verify(&keyring, &message, &format!("{topic}-partition-2"), NOW), Ok(notice(&topic)));
        let audience = Err(Rejection::Forged(Forged::Audience));
        let other = TenantId::parse("globex").unwrap();
        for elsewhere in [
            names.topic(&tenant(), Lane::Ai),
            names.dead_letter(&tenant(), Lane::Long),
            names.dead_letter(&other, Lane::Ai),
        ] {
            assert_eq!(verify(&keyring, &message, &elsewhere, NOW), audience, "{elsewhere}");
        }
        // Signed for a lane's topic it is no notice, whatever it says.
        let work = names.topic(&tenant(), Lane::Ai);
        let message = keyring.sign(&notice(&work)).unwrap();
        assert_eq!(verify(&keyring, &message, &work, NOW), audience);
        let foreign = Notice { tid: other, ..notice(&topic) };
        let message = keyring.sign(&foreign).unwrap();
        assert_eq!(verify(&keyring, &message, &topic, NOW), Err(Rejection::Forged(Forged::Tenant)));
    }
}

#[test]
fn a_notice_ages_and_is_bound_by_its_signature() {
    let topic = TopicNames::default().dead_letter(&tenant(), Lane::Long);
    let keyring = keyring(KEYS[1]);
    let message = keyring.sign(&notice(&topic)).unwrap();
    assert!(verify(&keyring, &message, &topic, NOW + 120).is_ok());
    let stale = Err(Rejection::Stale(Stale::Expired));
    assert_eq!(verify(&keyring, &message, &topic, NOW + 121), stale);
    let mut bytes = message.clone().into_bytes();
    for at in 0..bytes.len() {
        bytes[at] ^= 1;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        assert!(verify(&keyring, &changed, &topic, NOW).is_err(), "byte {at}");
        bytes[at] ^= 1;
    }
}

#[test]
fn work_is_never_taken_for_a_notice() {
    let topic = TopicNames::default().dead_letter(&tenant(), Lane::Long);
    let claims = Claims {
        v: 1,
        iss: "test".to_owned(),
        aud: topic.clone(),
        sub: EXECUTION.parse().unwrap(),
        tid: tenant(),
        iat: NOW,
        exp: NOW + 60,
        jti: "m-1".to_owned(),
        att: 1,
        psh: PayloadHash::of(b"{}"),
    };
    let keyring = keyring(KEYS[0]);
    let message = keyring.sign(&claims).unwrap();
    assert_eq!(verify(&keyring, &message, &topic, NOW), Err(Rejection::Forged(Forged::Junk)));
}

#[test]
fn a_notice_that_no_reader_would_take_is_not_signed() {
    let mut notice = notice("persistent://acme/workflows/x");
    notice.detail.insert("head".to_owned(), json!("x".repeat(MAX_MESSAGE_BYTES)));
    assert!(matches!(keyring(KEYS[0]).sign(&notice), Err(SignError::TooLong(_))));
}
