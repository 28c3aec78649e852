//! Administrative changes: each once, on the record, and nothing the second time.

use bridge_protocol::{Scope, Scopes};
use chrono::TimeDelta;

use super::*;
use crate::{
    AdminError, AuditFilter, CredentialKind, CredentialRecord, Outcome, SealedBlob, SealedIssuerKey,
    TenantLimits, TenantState,
};

/// Makes a change twice: the first steps revision and audit log once, the second leaves no trace. Gives the first.
macro_rules! twice {
    ($t:expr, $outcome:ident, $change:expr) => {{
        let (revision, lines) = $t.trail().await;
        let first = $change.await.unwrap();
        assert_eq!(first.outcome, Outcome::$outcome, "{}", stringify!($change));
        assert_eq!((first.revision, $t.trail().await), (revision + 1, (revision + 1, lines + 1)));
        let second = $change.await.unwrap();
        assert_eq!(second.outcome, Outcome::Unchanged, "{}", stringify!($change));
        assert_eq!((second.revision, $t.trail().await), (revision + 1, (revision + 1, lines + 1)));
        first
    }};
}

pub fn credential(id: &str, tenants: &[&str], digest: u8) -> CredentialRecord {
    CredentialRecord {
        id: id.to_owned(),
        kind: CredentialKind::ServiceAccount,
        name: "n8n".to_owned(),
        tenants: tenants.iter().map(|tenant| named(tenant)).collect(),
        scopes: Scopes::ALL_OF_TENANT,
        digest: [digest; 32],
        old: None,
        expires_at: None,
        revoked_at: None,
        // What a column keeps of it.
        created_at: chrono::DateTime::from_timestamp_micros(now().timestamp_micros()).unwrap(),
    }
}

pub fn issuer_key(kid: &str) -> SealedIssuerKey {
    SealedIssuerKey {
        kid: kid.to_owned(),
        sealed: kid.as_bytes().to_vec(),
        public_jwk: serde_json::json!({ "kid": kid }),
        created_at: now(),
        signs_from: now(),
        retires_at: None,
    }
}

#[tokio::test]
async fn each_change_is_made_once() {
    let t = open().await;
    let (s, a, acme) = (&t.store, &actor(), &tenant());
    let limits = TenantLimits {
        result_ttl_s: None,
        requests_per_second: Some(0.1),
        burst: Some(7),
        open_executions: Some(3_000_000_000),
        payload_bytes_per_day: None,
    };
    let put = async |state, limits| s.put_tenant(a, acme, state, limits, None).await;
    twice!(t, Created, put(None, None));
    twice!(t, Changed, put(Some(TenantState::Suspended), None));
    twice!(t, Changed, put(Some(TenantState::Active), None));
    assert_eq!(twice!(t, Changed, put(None, Some(limits.clone()))).value.limits, limits);
    let record = credential("svc_1", &["acme"], 1);
    twice!(t, Created, s.create_credential(a, &record));
    twice!(t, Changed, s.rotate_credential(a, "svc_1", [2; 32], Duration::from_secs(60)));
    twice!(t, Changed, s.revoke_credential(a, "svc_1"));
    let (secret, key) = (id(), id());
    twice!(t, Created, s.add_webhook_secret(a, acme, secret, vec![1], Duration::from_secs(60)));
    twice!(t, Created, s.add_data_key(a, acme, key, vec![2]));
    twice!(t, Created, s.put_webhook_credential(a, acme, "crm", "header", vec![3]));
    twice!(t, Changed, s.put_webhook_credential(a, acme, "crm", "basic", vec![3]));
    twice!(t, Created, s.add_issuer_key(a, &issuer_key("k1"), Duration::from_secs(60)));
    let again: Vec<(SealedBlob, Vec<u8>)> =
        s.sealed().await.unwrap().into_iter().map(|blob| (blob, vec![9])).collect();
    assert_eq!(again.len(), 4);
    assert_eq!(twice!(t, Changed, s.reseal(a, &again)).value, 4);
    assert!(s.sealed().await.unwrap().iter().all(|blob| blob.sealed == [9]));
    assert_eq!(twice!(t, Changed, s.destroy_data_keys(a, acme)).value, 1);
    twice!(t, Changed, s.delete_webhook_credential(a, acme, "crm"));
    twice!(t, Changed, s.mark_deleting(a, acme));
    t.calm().await;
    twice!(t, Changed, s.remove_tenant(a, acme));

    let log = s.audit(&AuditFilter { limit: 100, ..AuditFilter::default() }).await.unwrap();
    let actions: Vec<&str> = log.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "tenant.create",
            "tenant.suspend",
            "tenant.resume",
            "tenant.change",
            "client.create",
            "client.rotate",
            "client.revoke",
            "key.rotate",
            "key.rotate",
            "credential.put",
            "credential.put",
            "key.rotate",
            "key.rotate",
            "key.destroy",
            "credential.delete",
            "tenant.delete",
            "tenant.removed"
        ]
    );
    assert_eq!((log[3].actor.as_str(), log[3].source.as_deref()), ("svc_root", Some("10.0.0.7")));
    assert_eq!(log[3].before.as_ref().unwrap()["limits"]["burst"], serde_json::Value::Null);
    assert_eq!(log[3].after.as_ref().unwrap()["limits"]["burst"], 7);
    assert!(!format!("{log:?}").contains("digest"));
    let some = AuditFilter {
        tenant: Some(tenant()),
        action: Some("key.rotate".to_owned()),
        after_id: Some(log[7].id),
        limit: 10,
        ..AuditFilter::default()
    };
    let found = s.audit(&some).await.unwrap();
    assert_eq!(found.iter().map(|row| row.target.as_str()).collect::<Vec<_>>(), ["data"]);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_leaves_no_trace() {
    let t = open().await;
    let (s, a) = (&t.store, &actor());
    t.tenant("acme").await;
    s.create_credential(a, &credential("svc_1", &["acme"], 1)).await.unwrap();
    s.create_credential(a, &credential("svc_2", &["acme"], 2)).await.unwrap();
    s.revoke_credential(a, "svc_2").await.unwrap();
    t.tenant("gone").await;
    s.mark_deleting(a, &named("gone")).await.unwrap();
    let before = t.trail().await;
    let hour = Duration::from_secs(3600);
    let nobody = &named("nobody");
    for outcome in [
        s.create_credential(a, &credential("svc_3", &["acme", "nobody"], 3)).await.map(drop),
        s.rotate_credential(a, "svc_3", [3; 32], hour).await.map(drop),
        s.revoke_credential(a, "svc_3").await.map(drop),
        s.mark_deleting(a, nobody).await.map(drop),
        s.cancel_live(a, nobody).await.map(drop),
        s.add_webhook_secret(a, nobody, id(), vec![1], hour).await.map(drop),
        s.add_data_key(a, nobody, id(), vec![1]).await.map(drop),
        s.destroy_data_keys(a, nobody).await.map(drop),
        s.put_webhook_credential(a, nobody, "crm", "basic", vec![1]).await.map(drop),
        s.delete_webhook_credential(a, nobody, "crm").await.map(drop),
    ] {
        assert!(matches!(outcome, Err(AdminError::NotFound)), "{outcome:?}");
    }
    let gone = &named("gone");
    let both = CredentialRecord { scopes: Scope::Admin.into(), ..credential("svc_3", &["acme"], 3) };
    for outcome in [
        s.create_credential(a, &credential("svc_1", &["acme"], 9)).await.map(drop),
        s.create_credential(a, &credential("svc_3", &["gone"], 3)).await.map(drop),
        s.create_credential(a, &credential("svc_3", &[], 3)).await.map(drop),
        s.create_credential(a, &both).await.map(drop),
        s.rotate_credential(a, "svc_2", [3; 32], hour).await.map(drop),
        s.put_tenant(a, gone, Some(TenantState::Active), None, None).await.map(drop),
        s.put_tenant(a, &tenant(), Some(TenantState::Deleting), None, None).await.map(drop),
        s.add_webhook_secret(a, gone, id(), vec![1], hour).await.map(drop),
        s.add_data_key(a, gone, id(), vec![1]).await.map(drop),
        s.put_webhook_credential(a, gone, "crm", "basic", vec![1]).await.map(drop),
        s.remove_tenant(a, &tenant()).await.map(drop),
    ] {
        assert!(matches!(outcome, Err(AdminError::Conflict(_))), "{outcome:?}");
    }
    assert_eq!(t.trail().await, before);
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_recognises_itself() {
    let t = open().await;
    let secret = || Some((Uuid::from_u128(7), vec![1]));
    let put = async || t.store.put_tenant(&actor(), &tenant(), None, None, secret()).await.unwrap();
    assert_eq!(put().await.outcome, Outcome::Created);
    let trail = t.trail().await;
    assert_eq!(put().await.outcome, Outcome::Created);
    assert_eq!(t.trail().await, trail);
    let other = t.store.put_tenant(&actor(), &tenant(), None, None, Some((id(), vec![2]))).await.unwrap();
    assert_eq!(other.outcome, Outcome::Unchanged);
    assert_eq!(t.number("SELECT count(*) FROM webhook_secrets").await, 1);
}

#[tokio::test]
async fn changes_at_once_step_once_each_and_stay_in_order() {
    let t = open().await;
    let (store, before) = (&t.store, t.trail().await);
    let names: Vec<TenantId> = (0..60).map(|n| named(&format!("t{}", n % 20))).collect();
    let puts = names
        .iter()
        .map(async |name| store.put_tenant(&actor(), name, None, None, Some((id(), vec![1]))).await.unwrap());
    let done = futures::future::join_all(puts).await;
    let created = done.iter().filter(|done| done.outcome == Outcome::Created).count() as i64;
    assert_eq!(created, 20);
    assert_eq!(t.trail().await, (before.0 + 20, before.1 + 20));
    assert_eq!(t.number("SELECT count(*) FROM webhook_secrets").await, 20);
}

#[tokio::test]
async fn the_audit_log_is_append_only() {
    let t = open().await;
    t.store.write_audit(&actor(), "tenant.export", Some(&tenant()), "acme", None, None).await.unwrap();
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    for sql in [
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE id = 0",
        "TRUNCATE audit_log",
    ] {
        let error = sqlx::query(sql).execute(&mut connection).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
    }
    assert_eq!(t.number("SELECT count(*) FROM audit_log").await, 1);
}

#[tokio::test]
async fn the_first_admin_is_bootstrapped() {
    let t = open().await;
    assert!(!t.store.has_admin().await.unwrap());
    let admin = |id, digest| CredentialRecord { scopes: Scope::Admin.into(), ..credential(id, &[], digest) };
    t.store.create_credential(&actor(), &admin("svc_a", 1)).await.unwrap();
    t.store.create_credential(&actor(), &admin("svc_b", 2)).await.unwrap();
    assert!(t.store.has_admin().await.unwrap());
    let log = t.store.audit(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(
        log.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(),
        ["admin.bootstrap", "client.create"]
    );
    t.store.revoke_credential(&actor(), "svc_a").await.unwrap();
    t.store.revoke_credential(&actor(), "svc_b").await.unwrap();
    assert!(!t.store.has_admin().await.unwrap());
}

#[tokio::test]
async fn a_rotated_credential_has_two_secrets_for_a_while() {
    let t = open().await;
    t.tenant("acme").await;
    t.store.create_credential(&actor(), &credential("svc_1", &["acme"], 1)).await.unwrap();
    let rotate = async |digest, overlap| {
        t.store.rotate_credential(&actor(), "svc_1", [digest; 32], overlap).await.unwrap().value
    };
    let rotated = rotate(2, Duration::from_secs(3600)).await;
    let (old, until) = rotated.old.unwrap();
    assert_eq!((rotated.digest, old), ([2; 32], [1; 32]));
    let ahead = until - now();
    assert!(ahead > TimeDelta::minutes(59) && ahead < TimeDelta::minutes(61), "{ahead}");
    assert_eq!(rotate(3, Duration::ZERO).await.old, None, "no overlap: the old one is out at once");
    assert_eq!(t.store.credentials(Some(&tenant())).await.unwrap().len(), 1);
    assert_eq!(t.store.credentials(Some(&named("other"))).await.unwrap(), []);
}

#[tokio::test]
async fn what_many_notice_is_written_down_once() {
    let t = open().await;
    let [one, two, three] = ["1", "2", "3"].map(|kid| serde_json::json!({ "signing": kid }));
    let actor = actor();
    let write = async |before: &serde_json::Value, after: &serde_json::Value| {
        t.store.write_audit_once(&actor, "keyring.change", "messages", before, after).await.unwrap()
    };
    let ten = futures::future::join_all((0..10).map(|_| write(&one, &two))).await;
    assert_eq!(ten.into_iter().filter(|written| *written).count(), 1);
    assert!(write(&two, &three).await);
    assert!(!write(&one, &three).await);
    let filter =
        AuditFilter { action: Some("keyring.change".to_owned()), limit: 10, ..AuditFilter::default() };
    let rows = t.store.audit(&filter).await.unwrap();
    let moves: Vec<_> = rows.into_iter().map(|row| (row.before, row.after)).collect();
    assert_eq!(moves, [(Some(one), Some(two.clone())), (Some(two), Some(three))]);
}
