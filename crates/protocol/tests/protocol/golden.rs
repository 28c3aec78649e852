use bridge_protocol::{Claims, Rejection, TopicNames};
use serde::Deserialize;

use crate::{KEYS, at, keyring};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    name: String,
    #[serde(rename = "note")]
    _note: String,
    received_from: String,
    now: i64,
    header: String,
    claims: Claims,
    resigning_yields_the_same_bytes: bool,
    message: String,
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

fn accepted() -> Vec<Accepted> {
    serde_json::from_str(include_str!("../vectors/accepted.json")).unwrap()
}

#[test]
fn accepted_vectors_are_accepted() {
    for vector in accepted() {
        let verified = keyring(KEYS[0]).verify(
            vector.message.as_bytes(),
            &vector.received_from,
            &TopicNames::default(),
            at(vector.now),
        );
        assert_eq!(verified, Ok(vector.claims), "{}", vector.name);
    }
}

#[test]
fn signing_again_yields_the_same_bytes() {
    let mut signed = 0;
    for vector in accepted().iter().filter(|vector| vector.resigning_yields_the_same_bytes) {
        let header: serde_json::Value = serde_json::from_str(&vector.header).unwrap();
        let keyring = keyring(header["kid"].as_str().unwrap());
        assert_eq!(keyring.sign(&vector.claims).unwrap(), vector.message, "{}", vector.name);
        signed += 1;
    }
    assert!(signed >= 5, "only {signed} vectors were signed again");
}

#[test]
fn rejected_vectors_are_rejected_for_their_reason() {
    let vectors: Vec<Rejected> = serde_json::from_str(include_str!("../vectors/rejected.json")).unwrap();
    let mut reasons = std::collections::BTreeSet::new();
    for vector in vectors {
        let verified = keyring(KEYS[0]).verify(
            vector.message.as_bytes(),
            &vector.received_from,
            &TopicNames::default(),
            at(vector.now),
        );
        let rejection = verified.expect_err(&vector.name);
        let kind = match rejection {
            Rejection::Forged(_) => "forged",
            Rejection::Stale(_) => "stale",
        };
        assert_eq!((kind, rejection.reason()), (&*vector.kind, &*vector.reason), "{}", vector.name);
        assert_eq!(rejection.is_forged(), kind == "forged");
        reasons.insert(rejection.reason());
    }
    assert_eq!(reasons.len(), 10, "every reason has a vector; there are only {reasons:?}");
}
