use bridge_protocol::{
    Claims, ExecutionId, Forged, Lane, PayloadHash, Rejection, Stale, TenantId, TopicNames, VERSION,
};
use proptest::prelude::*;
use rand::SeedableRng;

use crate::{KEYS, at, keyring};

const NOW: i64 = 1_763_712_000;

fn claims(tenant: &TenantId, topic: &str, seed: u64) -> Claims {
    let mut rng = rand::rngs::SmallRng::seed_from_u64(seed);
    Claims {
        v: VERSION,
        iss: "n8n-pulsar-bridge".into(),
        aud: topic.into(),
        sub: ExecutionId::new(at(NOW), &mut rng),
        tid: tenant.clone(),
        iat: NOW,
        exp: NOW + 86_400,
        jti: format!("{seed:x}"),
        att: 1,
        psh: PayloadHash::of(&seed.to_le_bytes()),
    }
}

/// Every bit of a message, under both algorithms: 8 changes a byte, none left out.
#[test]
fn every_single_bit_change_is_rejected() {
    let names = TopicNames::default();
    let tenant = TenantId::parse("acme").unwrap();
    let topic = names.topic(&tenant, Lane::Long);
    for kid in KEYS {
        let keyring = keyring(kid);
        let good = keyring.sign(&claims(&tenant, &topic, 7)).unwrap().into_bytes();
        assert!(keyring.verify(&good, &topic, &names, at(NOW)).is_ok());
        let head = good.iter().position(|b| *b == b'.').unwrap();
        for bit in 0..good.len() * 8 {
            let mut changed = good.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let rejection = keyring
                .verify(&changed, &topic, &names, at(NOW))
                .expect_err(&format!("{kid}: bit {bit} was changed and accepted"));
            // Only a changed header may look like another key; nothing may be judged by its claims.
            let fitting = match rejection {
                Rejection::Forged(Forged::Junk | Forged::Signature) => true,
                Rejection::Stale(Stale::UnknownKey) | Rejection::Forged(Forged::Algorithm) => bit / 8 < head,
                _ => false,
            };
            assert!(fitting, "{kid}: bit {bit} changed gives {rejection:?}");
        }
    }
}

#[test]
fn every_truncation_and_every_added_byte_is_rejected() {
    let names = TopicNames::default();
    let tenant = TenantId::parse("acme").unwrap();
    let topic = names.topic(&tenant, Lane::Ai);
    for kid in KEYS {
        let keyring = keyring(kid);
        let good = keyring.sign(&claims(&tenant, &topic, 1)).unwrap().into_bytes();
        for length in 0..good.len() {
            assert!(
                keyring.verify(&good[..length], &topic, &names, at(NOW)).is_err(),
                "{kid}: {length} bytes"
            );
        }
        for byte in 0..=255 {
            let longer = [good.as_slice(), &[byte]].concat();
            assert!(keyring.verify(&longer, &topic, &names, at(NOW)).is_err(), "{kid}: byte {byte} added");
        }
    }
}

#[test]
fn a_message_lives_until_exp_and_leeway() {
    let names = TopicNames::default();
    let tenant = TenantId::parse("acme").unwrap();
    let topic = names.topic(&tenant, Lane::Short);
    let keyring = keyring(KEYS[0]);
    let mut claims = claims(&tenant, &topic, 2);
    for (exp, now, lives) in
        [(NOW, NOW + 60, true), (NOW, NOW + 61, false), (i64::MAX, NOW, true), (i64::MIN, NOW, false)]
    {
        claims.exp = exp;
        let message = keyring.sign(&claims).unwrap();
        let verified = keyring.verify(message.as_bytes(), &topic, &names, at(now));
        assert_eq!(verified.is_ok(), lives, "exp {exp}, now {now}");
    }
}

fn tenant() -> impl Strategy<Value = TenantId> {
    "[a-z0-9][a-z0-9-]{0,62}".prop_map(|text| TenantId::parse(&text).unwrap())
}

fn lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(Lane::ALL)
}

proptest! {
    #[test]
    fn a_message_is_accepted_on_its_own_topic_only(
        (mine, other) in (tenant(), tenant()), (lane, to) in (lane(), lane()),
        key in 0usize..2, seed: u64, partition: u16, dead_letter: bool,
    ) {
        let names = TopicNames::default();
        let keyring = keyring(KEYS[key]);
        let home = names.topic(&mine, lane);
        let claims = claims(&mine, &home, seed);
        let message = keyring.sign(&claims).unwrap();
        let verify = |topic: &str| keyring.verify(message.as_bytes(), topic, &names, at(NOW));
        let partition = format!("{home}-partition-{partition}");
        prop_assert_eq!(verify(&home), Ok(claims.clone()));
        prop_assert_eq!(verify(&partition), Ok(claims));

        for tenant in [&mine, &other] {
            let away = if dead_letter { names.dead_letter(tenant, to) } else { names.topic(tenant, to) };
            if away != home {
                prop_assert_eq!(verify(&away), Err(Rejection::Forged(Forged::Audience)));
            }
        }
    }

    #[test]
    fn a_message_that_names_another_tenant_is_rejected(
        mine in tenant(), other in tenant(), lane in lane(), key in 0usize..2, seed: u64,
    ) {
        prop_assume!(mine != other);
        let names = TopicNames::default();
        let keyring = keyring(KEYS[key]);
        let topic = names.topic(&mine, lane);
        let message = keyring.sign(&claims(&other, &topic, seed)).unwrap();
        let verified = keyring.verify(message.as_bytes(), &topic, &names, at(NOW));
        prop_assert_eq!(verified, Err(Rejection::Forged(Forged::Tenant)));
    }

    #[test]
    fn garbage_is_rejected_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let names = TopicNames::default();
        let verified = keyring(KEYS[0]).verify(&bytes, "persistent://a/workflows/x", &names, at(NOW));
        prop_assert!(verified.is_err());
    }
}
