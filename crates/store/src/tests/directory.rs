//! The directory as one whole.

use super::admin::{credential, issuer_key};
use super::*;
use crate::{CredentialRecord, LiveMember, Member, TenantState};

#[tokio::test]
async fn the_directory_holds_what_lives() {
    let t = open().await;
    let (s, a) = (&t.store, &actor());
    t.tenant("acme").await;
    s.put_tenant(a, &named("umbra"), Some(TenantState::Suspended), None, None).await.unwrap();
    let live = credential("svc_1", &["acme", "umbra"], 1);
    s.create_credential(a, &live).await.unwrap();
    s.create_credential(a, &credential("svc_2", &["acme"], 2)).await.unwrap();
    s.revoke_credential(a, "svc_2").await.unwrap();
    let ended = CredentialRecord { expires_at: Some(now()), ..credential("svc_3", &["acme"], 3) };
    s.create_credential(a, &ended).await.unwrap();
    s.add_issuer_key(a, &issuer_key("k1"), Duration::ZERO).await.unwrap();
    let rows = s.directory().await.unwrap();
    assert_eq!(rows.revision, s.directory_revision().await.unwrap());
    assert_eq!(rows.credentials, [live]);
    assert_eq!(
        rows.tenants.iter().map(|row| (row.id.as_str(), row.state)).collect::<Vec<_>>(),
        [("acme", TenantState::Active), ("umbra", TenantState::Suspended)]
    );
    assert!((rows.now - now()).abs() < chrono::TimeDelta::minutes(1));
    assert_eq!(s.tenants(Some(&tenant()), 10).await.unwrap(), rows.tenants[1..]);
    assert_eq!(s.tenant(&tenant()).await.unwrap().as_ref(), rows.tenants.first());
    assert_eq!(s.tenant(&named("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_of_another_version_is_left_out_and_nothing_else() {
    let t = open().await;
    let (s, a) = (&t.store, &actor());
    for tenant in ["acme", "umbra"] {
        t.tenant(tenant).await;
        s.add_webhook_secret(a, &named(tenant), id(), vec![1], Duration::ZERO).await.unwrap();
        s.add_data_key(a, &named(tenant), id(), vec![1]).await.unwrap();
        s.put_webhook_credential(a, &named(tenant), "crm", "basic", vec![1]).await.unwrap();
    }
    for n in 1..5 {
        s.create_credential(a, &credential(&format!("svc_{n}"), &["acme"], n)).await.unwrap();
    }
    for bad in [
        "UPDATE tenants SET state = 9 WHERE id = 'umbra'",
        "UPDATE credentials SET scopes = scopes | 256 WHERE id = 'svc_1'",
        "UPDATE credentials SET kind = 9 WHERE id = 'svc_2'",
        "UPDATE credentials SET tenants = ARRAY['Not A Tenant'] WHERE id = 'svc_3'",
        "UPDATE webhook_secrets SET tenant_id = 'Not A Tenant' WHERE tenant_id = 'umbra'",
        "UPDATE data_keys SET tenant_id = 'Not A Tenant' WHERE tenant_id = 'umbra'",
        "UPDATE webhook_credentials SET tenant_id = 'Not A Tenant' WHERE tenant_id = 'umbra'",
    ] {
        t.sql(bad).await;
    }
    let rows = s.directory().await.unwrap();
    assert_eq!(rows.tenants.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(rows.credentials.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["svc_4"]);
    assert_eq!([rows.webhook_secrets.len(), rows.data_keys.len(), rows.webhook_credentials.len()], [1; 3]);
}

#[tokio::test]
async fn a_thousand_tenants_load_at_once() {
    let t = open().await;
    let store = &t.store;
    let started = std::time::Instant::now();
    let names: Vec<TenantId> = (0..1_000).map(|n| named(&format!("tenant-{n}"))).collect();
    for some in names.chunks(6) {
        let put = some.iter().map(async |name| {
            store.put_tenant(&actor(), name, None, None, Some((id(), vec![7; 100]))).await.unwrap();
            store.add_data_key(&actor(), name, id(), vec![8; 100]).await.unwrap();
        });
        futures::future::join_all(put).await;
    }
    let made = started.elapsed();
    t.sql("INSERT INTO credentials (id, kind, name, tenants, scopes, digest) SELECT 'svc_' || id, 0, id, ARRAY[id], 63, sha256(id::bytea) FROM tenants").await;
    let mut loads = Vec::new();
    for _ in 0..20 {
        let started = std::time::Instant::now();
        let rows = store.directory().await.unwrap();
        loads.push(started.elapsed());
        let all =
            [rows.tenants.len(), rows.credentials.len(), rows.webhook_secrets.len(), rows.data_keys.len()];
        assert_eq!(all, [1_000; 4]);
    }
    loads.sort();
    let looked = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(store.directory_revision().await.unwrap(), 2_001);
    }
    println!(
        "1,000 tenants: made with two keys each in {made:?}; loaded in {:?} (median), {:?} (worst); a look at the revision takes {:?}",
        loads[10],
        loads[19],
        looked.elapsed() / 100
    );
}

#[tokio::test]
async fn live_members_say_what_they_have_loaded() {
    let t = open().await;
    let member = |kind, detail| Member { id: id(), kind, version: "1", host: "here".to_owned(), detail };
    let full = serde_json::json!({ "keys": ["a", "b"], "masters": ["m1"], "directory": 7, "lanes": [] });
    t.store.beat(&member("consumer", full)).await.unwrap();
    t.store.beat(&member("publisher", serde_json::json!({}))).await.unwrap();
    let mut live = t.store.live_members(Duration::from_secs(15)).await.unwrap();
    live.sort_by_key(|member| member.kind.clone());
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let expected = |kind: &str, keys: &[&str], masters: &[&str], directory| LiveMember {
        kind: kind.to_owned(),
        host: "here".to_owned(),
        keys: texts(keys),
        masters: texts(masters),
        directory,
    };
    assert_eq!(live, [expected("consumer", &["a", "b"], &["m1"], 7), expected("publisher", &[], &[], 0)]);
    t.sql("UPDATE members SET seen_at = now() - interval '16 s'").await;
    assert_eq!(t.store.live_members(Duration::from_secs(15)).await.unwrap(), []);
}
