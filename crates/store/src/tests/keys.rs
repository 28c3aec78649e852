//! Secrets and keys: how they follow each other, and how one goes for ever.

use super::admin::issuer_key;
use super::*;
use crate::{Outcome, SealedAt};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_destroyed_data_key_stays_destroyed() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    let (first, second, third) = (id(), id(), id());
    s.add_data_key(a, acme, first, vec![1]).await.unwrap();
    s.add_data_key(a, acme, second, vec![2]).await.unwrap();
    let keys = s.directory().await.unwrap().data_keys;
    assert_eq!(
        keys.iter().filter(|key| key.retired_at.is_none()).map(|key| key.id).collect::<Vec<_>>(),
        [second]
    );
    let before = s.sealed().await.unwrap();
    assert_eq!(s.destroy_data_keys(a, acme).await.unwrap().value, 2);
    // Neither its own id again, nor a new master key, nor another destruction brings one back.
    for id in [first, second] {
        let again = s.add_data_key(a, acme, id, vec![3]).await.unwrap();
        assert_eq!(again.outcome, Outcome::Unchanged);
    }
    let again: Vec<_> = before.into_iter().map(|blob| (blob, vec![9])).collect();
    assert_eq!(s.reseal(a, &again).await.unwrap().value, 0);
    s.add_data_key(a, acme, third, vec![4]).await.unwrap();
    assert_eq!(s.destroy_data_keys(a, acme).await.unwrap().value, 1);
    let keys = s.directory().await.unwrap().data_keys;
    assert_eq!(keys.len(), 3, "who meets their payloads can be told");
    assert!(keys.iter().all(|key| key.sealed.is_none() && key.retired_at.is_some()));
    assert_eq!(s.sealed().await.unwrap(), []);
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let half = "UPDATE data_keys SET sealed = 'x'";
    assert!(sqlx::query(half).execute(&mut connection).await.is_err(), "the schema refuses it too");
}

#[tokio::test]
async fn at_most_two_webhook_secrets_live() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    let ids: Vec<Uuid> = (0..3).map(|_| id()).collect();
    for id in &ids {
        s.add_webhook_secret(a, acme, *id, vec![1], HOUR).await.unwrap();
    }
    let mut live = s.directory().await.unwrap().webhook_secrets;
    live.sort_by_key(|row| row.created_at);
    assert_eq!(live.iter().map(|row| row.id).collect::<Vec<_>>(), ids[1..]);
    assert!(live[0].ends_at.is_some() && live[1].ends_at.is_none());
    let last = id();
    s.add_webhook_secret(a, acme, last, vec![1], Duration::ZERO).await.unwrap();
    let live = s.directory().await.unwrap().webhook_secrets;
    assert_eq!(live.iter().map(|row| row.id).collect::<Vec<_>>(), [last]);
}

#[tokio::test]
async fn issuer_keys_overlap_and_go() {
    let t = open().await;
    let (s, a) = (&t.store, &actor());
    s.add_issuer_key(a, &issuer_key("k1"), HOUR).await.unwrap();
    s.add_issuer_key(a, &issuer_key("k2"), HOUR).await.unwrap();
    let kids = async || {
        let keys = s.directory().await.unwrap().issuer_keys;
        keys.into_iter().map(|key| (key.kid, key.retires_at.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(kids().await, [("k2".to_owned(), false), ("k1".to_owned(), true)]);
    t.sql("UPDATE issuer_keys SET retires_at = now() WHERE kid = 'k1'").await;
    assert_eq!(kids().await, [("k2".to_owned(), false)]);
    // Two rotations at once leave one key that is not retired.
    let (k3, k4) = (issuer_key("k3"), issuer_key("k4"));
    let (one, two) = tokio::join!(s.add_issuer_key(a, &k3, HOUR), s.add_issuer_key(a, &k4, HOUR));
    one.unwrap();
    two.unwrap();
    assert_eq!(kids().await.iter().filter(|(_, retires)| !retires).count(), 1);
    // After a leak nothing older verifies, also what had an end of its own.
    s.add_issuer_key(a, &issuer_key("k5"), Duration::ZERO).await.unwrap();
    assert_eq!(kids().await, [("k5".to_owned(), false)]);
}

#[tokio::test]
async fn what_changed_meanwhile_is_not_resealed() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    t.tenant("acme").await;
    s.put_webhook_credential(a, acme, "crm", "header", vec![1]).await.unwrap();
    s.put_webhook_credential(a, acme, "erp", "header", vec![2]).await.unwrap();
    let again: Vec<_> = s.sealed().await.unwrap().into_iter().map(|blob| (blob, vec![9])).collect();
    s.put_webhook_credential(a, acme, "erp", "header", vec![3]).await.unwrap();
    assert_eq!(s.reseal(a, &again).await.unwrap().value, 1);
    let mut blobs: Vec<_> = s.sealed().await.unwrap().into_iter().map(|b| (b.at, b.sealed)).collect();
    blobs.sort_by_key(|(_, sealed)| sealed.clone());
    let at = |name: &str| SealedAt::WebhookCredential(tenant(), name.to_owned());
    assert_eq!(blobs, [(at("erp"), vec![3]), (at("crm"), vec![9])]);
}
