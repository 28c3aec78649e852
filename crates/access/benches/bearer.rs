//! What a caller's credential costs on the way of every request.

#![allow(clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/access/lab.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod lab;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use futures::FutureExt as _;
use jsonwebtoken::{Algorithm, EncodingKey};
use lab::{Lab, bearer, sign};
use serde_json::json;

fn bearers(criterion: &mut Criterion) {
    let lab = Lab::new();
    let check = |headers: &http::HeaderMap| lab.access.authenticate(headers).now_or_never().unwrap();
    let mut group = criterion.benchmark_group("bearer");

    let token = bearer(&lab.token(None));
    assert!(check(&token).is_ok());
    group.bench_function("cached_jwt", |bench| bench.iter(|| check(black_box(&token)).unwrap()));

    // As long as Keycloak's.
    let mut claims = lab.claims();
    claims["resource_access"] = json!("x".repeat(700));
    let long = bearer(&lab.sign(&lab.header(), &claims));
    assert!(check(&long).is_ok());
    group.bench_function("cached_jwt_long", |bench| bench.iter(|| check(black_box(&long)).unwrap()));

    let key = bearer(lab.key.expose());
    group.bench_function("api_key", |bench| bench.iter(|| check(black_box(&key)).unwrap()));

    let junk = bearer(&"A".repeat(64 << 10));
    group.bench_function("junk_64k_refused", |bench| bench.iter(|| check(black_box(&junk)).unwrap_err()));

    let junk = bearer(&"A".repeat(8 << 10));
    group.bench_function("junk_8k_refused", |bench| bench.iter(|| check(black_box(&junk)).unwrap_err()));

    let secret = EncodingKey::from_secret(b"secret");
    let hmac = json!({ "alg": "HS256", "kid": "one", "typ": "at+jwt" });
    let forged = bearer(&sign(&hmac, &lab.claims(), &secret, Algorithm::HS256));
    group.bench_function("wrong_algorithm_refused", |bench| {
        bench.iter(|| check(black_box(&forged)).unwrap_err());
    });

    // The dearest refusal: everything is right but the signature.
    let token = lab.token(None);
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = bearer(&format!("{signed}.{}", "A".repeat(86)));
    group.bench_function("wrong_signature_refused", |bench| {
        bench.iter(|| check(black_box(&forged)).unwrap_err());
    });
    group.finish();
}

criterion_group!(benches, bearers);
criterion_main!(benches);
