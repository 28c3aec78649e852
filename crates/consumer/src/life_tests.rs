//! Messages of tenants in every state, on a real Postgres and a real webhook; only the broker is left out.
//! `scripts/test` starts the server and names it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bars;
mod callbacks;
mod routed;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_protocol::{
    Completion, ExecutionId, Hold, Lane, PayloadHash, Reason, Route, State, WebhookSecret, WorkflowId,
    verify_webhook_signature,
};
use bridge_service::clock::entropy;
use bridge_service::payload_key::DataKey;
use bridge_service::vault::Purpose;
use bridge_service::{Directory, OutgoingCredential, Vault};
use bridge_store::TenantState;
use bytes::Bytes;

use self::world::{MASTER, SECRETS, World, actor, random, world};
use crate::attempt;
use crate::job::{End, Job};
use crate::payload::LargePayloads;
use crate::release::{Freed, release};

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_parked_and_let_go_when_it_resumes() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    world.state(TenantState::Suspended).await;
    world.look().await;
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));
    assert!(world.wait_of(&parked) > Duration::from_secs(60), "{:?}", parked.due_at);

    let all = Freed { tenant: world.tenant.clone(), workflow: None, lane: None };
    let mut waiting = BTreeSet::from([all.clone()]);
    release(&world.works, &mut waiting).await;
    let held = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((held.parks, waiting.len()), (1, 0), "suspended still");

    world.state(TenantState::Active).await;
    world.look().await;
    release(&world.works, &mut BTreeSet::from([all])).await;
    let due = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((due.parks, world.wait_of(&due)), (0, Duration::ZERO));
    let done = world.deliver(&job).await;
    assert_eq!((done.state, done.attempt, world.requests()), (State::Succeeded, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_tenant_is_drained() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    world.works.store.mark_deleting(&actor(), &world.tenant).await.unwrap();
    world.look().await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_live_secret_signs() {
    let world = world().await;
    let id = random();
    let sealed =
        world.vault.seal(&Purpose::WebhookSecret(&world.tenant, id), SECRETS[1].as_bytes(), entropy());
    let overlap = Duration::from_secs(3600);
    world.works.store.add_webhook_secret(&actor(), &world.tenant, id, sealed, overlap).await.unwrap();
    world.look().await;
    let job = world.accept("plain", b"{\"n\":1}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let (headers, body) = world.last();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let at = text("webhook-timestamp").parse().unwrap();
    let signatures: Vec<String> = text("webhook-signature").split(' ').map(str::to_owned).collect();
    assert_eq!(signatures.len(), 2);
    // The newest signs first.
    for (secret, signature) in SECRETS.iter().rev().zip(signatures) {
        let secret = [WebhookSecret::parse(secret).unwrap()];
        let tolerance = Duration::from_secs(300);
        assert!(verify_webhook_signature(&secret, &text("webhook-id"), at, &body, &signature, at, tolerance));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_credential_nothing_is_sent_and_no_attempt_is_spent() {
    let world = world().await;
    let job = world.accept("guarded", b"{}", None).await;
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));

    world.credential(&OutgoingCredential::Basic { user: "n8n".to_owned(), password: "p".to_owned() }).await;
    world.look().await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    assert_eq!(world.last().0["authorization"], "Basic bjhuOnA=");

    // Replaced: the next request carries the new one, and never the old.
    world
        .credential(&OutgoingCredential::Jwt { secret: "0123456789abcdef0123456789abcdef".to_owned() })
        .await;
    world.look().await;
    let job = world.accept("guarded", b"{}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let (headers, _) = world.last();
    assert!(headers["authorization"].to_str().unwrap().starts_with("Bearer ey"));
    assert!(headers.contains_key("webhook-signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_payload_arrives_plain_even_under_a_key_that_is_a_moment_old() {
    let world = world().await;
    // Made after the directory was loaded.
    let key = world.data_key().await;
    let small = world.accept("plain", b"{\"n\":1}", Some(&key)).await;
    let large = [b"\"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat();
    let large = (world.accept("plain", &large, Some(&key)).await, large);
    let (one, two) = tokio::join!(world.deliver(&small), world.deliver(&large.0));
    assert_eq!((one.state, two.state), (State::Succeeded, State::Succeeded), "{one:?} {two:?}");
    let bodies: Vec<Bytes> = world.seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    for plain in [&b"{\"n\":1}"[..], &large.1] {
        let end = [b"\"payload\":", plain, b"}"].concat();
        assert!(bodies.iter().any(|body| body.ends_with(&end)));
    }
    assert_eq!(world.deliver(&world.accept("plain", b"{}", None).await).await.state, State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_dead_lettered_and_says_why() {
    let world = world().await;
    let key = world.data_key().await;
    let new = || ExecutionId::new(world.works.hooks.clock.now(), &mut entropy());
    let moved = world.accept_as(new(), Some(new()), "plain", b"{}", Some(&key)).await;
    let destroyed = world.accept("plain", b"{}", Some(&key)).await;
    let unknown = world.accept("plain", b"{}", Some(&DataKey::new(random(), &[1; 32]))).await;
    let gone = world.accept("plain", b"{}", None).await;
    world.sql("DELETE FROM payloads WHERE id = 'ID'", &gone);
    let mut forged = world.accept("plain", b"{}", Some(&key)).await;
    forged.psh = PayloadHash::of(b"another");

    let dead_of = async |job: &Job, reason: Reason, why: &str| {
        let execution = world.deliver(job).await;
        assert_eq!(execution.state, State::DeadLettered, "{execution:?}");
        assert_eq!(execution.reason.as_deref(), Some(reason.as_str()));
        assert!(execution.error.as_deref().unwrap().contains(why), "{execution:?}");
    };
    let dead = async |job: &Job, why: &str| dead_of(job, Reason::PayloadUnreadable, why).await;
    dead_of(&gone, Reason::PayloadGone, "row is gone").await;
    dead(&moved, "does not open").await;
    dead(&unknown, "is not known").await;
    dead(&forged, "not the one that was signed").await;
    world.works.store.destroy_data_keys(&actor(), &world.tenant).await.unwrap();
    world.look().await;
    dead(&destroyed, "was destroyed").await;
    assert_eq!(world.requests(), 0);
}
