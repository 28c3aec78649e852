use std::time::Instant;

use bridge_protocol::TopicNames;

use crate::{KEYS, at, keyring};

/// `cargo test --release -p bridge-protocol -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement for a release build"]
#[allow(clippy::disallowed_methods, reason = "measures the wall clock")]
fn speed() {
    const ROUNDS: u32 = 20_000;
    let names = TopicNames::default();
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors/accepted.json")).unwrap();
    let claims: bridge_protocol::Claims = serde_json::from_value(vectors[0]["claims"].clone()).unwrap();
    let now = at(claims.iat);
    for kid in KEYS {
        let keyring = keyring(kid);
        let message = keyring.sign(&claims).unwrap();
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(keyring.sign(std::hint::black_box(&claims)).unwrap());
        }
        let sign = begun.elapsed() / ROUNDS;
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let message = std::hint::black_box(message.as_bytes());
            std::hint::black_box(keyring.verify(message, &claims.aud, &names, now).unwrap());
        }
        println!("{kid}: sign {sign:?}, verify {:?}, {} bytes", begun.elapsed() / ROUNDS, message.len());
    }
}
