//! What lets nothing leave: no secret to sign with, no key to open with, a suspension at the last moment.

use bridge_protocol::RetryPolicy;
use bridge_service::directory::{Snapshot, Tenant};

use super::*;

const OTHER_MASTER: &str = "b:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_secret_nothing_is_sent_and_no_attempt_is_spent() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    let before = world.works.hooks.directory.snapshot_full();
    let with = |tenant: Option<Tenant>| {
        let tenants = tenant.into_iter().map(|tenant| (tenant.id.clone(), Arc::new(tenant))).collect();
        Snapshot { tenants, revision: before.revision, ..Snapshot::default() }
    };
    world.works.hooks.directory.set(with(None));
    assert_eq!(world.deliver(&job).await.parks, 1);
    let bare = || Tenant::new(world.tenant.clone(), TenantState::Active, Default::default());
    world.works.hooks.directory.set(with(Some(bare())));
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 2, 0));

    let mut tenant = bare();
    tenant.webhook_secrets.push(WebhookSecret::parse(SECRETS[0]).unwrap());
    world.works.hooks.directory.set(with(Some(tenant)));
    let done = world.deliver(&job).await;
    assert_eq!((done.state, done.attempt, world.requests()), (State::Succeeded, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_master_key_of_its_data_key_an_execution_waits() {
    let mut world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    let (id, other) = (random(), Vault::from_text(OTHER_MASTER).unwrap());
    let purpose = Purpose::DataKey(&world.tenant, id);
    let sealed = other.seal(&purpose, DataKey::generate(entropy()).as_slice(), entropy());
    world.works.store.add_data_key(&actor(), &world.tenant, id, sealed).await.unwrap();
    world.look().await;
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));

    let both = Vault::from_text(&format!("{MASTER},{OTHER_MASTER}")).unwrap();
    world.works.hooks.directory = Directory::new(world.works.store.clone(), both);
    world.look().await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
}

/// The room of large payloads is the gate: what waits in it has been claimed, and not been sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_after_the_claim_lets_nothing_leave() {
    let mut world = World { completion: Completion::Callback, ..world().await };
    world.route("plain", once(), vec![]);
    world.works.large = LargePayloads::new(1);
    let large = [b"\"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat();
    let job = world.accept("plain", &large, None).await;
    let room = world.works.large.fill().await;
    let claimed = async {
        loop {
            let seen = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
            if seen.attempt == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        world.state(TenantState::Suspended).await;
        world.look().await;
        drop(room);
    };
    let (end, ()) = tokio::join!(attempt::run(&world.works, &job), claimed);
    assert_eq!(end, End::Settled);
    let given_back = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((given_back.state, given_back.attempt, world.requests()), (State::Accepted, 0, 0));
    assert_eq!((given_back.parks, given_back.attempts.len(), given_back.claimed_at), (1, 0, None));
    assert_eq!(given_back.error.as_deref(), Some("nothing was sent: the tenant is suspended"));
    assert!(world.wait_of(&given_back) > Duration::from_secs(30), "as after a parking");

    // Its only attempt is still there, under the same number.
    world.state(TenantState::Active).await;
    world.look().await;
    let all = Freed { tenant: world.tenant.clone(), workflow: None, lane: None };
    release(&world.works, &mut BTreeSet::from([all])).await;
    let due = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((due.parks, world.wait_of(&due)), (0, Duration::ZERO));
    let begun = world.deliver(&job).await;
    assert_eq!((begun.state, begun.attempt, begun.error, world.requests()), (State::Waiting, 1, None, 1));
}

fn once() -> Route {
    let retry = RetryPolicy { max_attempts: 1, ..RetryPolicy::default() };
    Route { retry, ..Route::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_for_its_payload_keeps_its_last_attempt() {
    let mut world = world().await;
    world.route("plain", Route { timeout_ms: Some(1_000), ..once() }, vec![]);
    // The lease leaves this long for the payload.
    world.works.settings.lease_margin = Duration::from_millis(300);
    world.works.large = LargePayloads::new(1);
    let job = world.accept("plain", &[b"\"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat(), None).await;
    let room = world.works.large.fill().await;
    let given_back = world.deliver(&job).await;
    assert_eq!((given_back.state, given_back.attempt, world.requests()), (State::Accepted, 0, 0));
    assert!(given_back.error.unwrap().contains("large_payload_bytes"));
    drop(room);
    world.works.settings.lease_margin = Duration::from_secs(30);
    let done = world.deliver(&job).await;
    assert_eq!((done.state, done.attempt, world.requests()), (State::Succeeded, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_hint_spends_nothing_of_what_is_held() {
    let world = world().await;
    let hold = Hold {
        tenant: world.tenant.clone(),
        id: "maintenance".to_owned(),
        workflow: Some(WorkflowId::parse("plain").unwrap()),
        lane: None,
        host: None,
        reason: "n8n moves".to_owned(),
    };
    world.route("plain", once(), vec![hold]);
    let job = world.accept("plain", b"{}", None).await;
    let misled = Job { hint: Some(WorkflowId::parse("other").unwrap()), ..job };
    let given_back = world.deliver(&misled).await;
    assert_eq!((given_back.state, given_back.attempt, given_back.parks), (State::Accepted, 0, 1));
    assert_eq!((given_back.attempts.len(), world.requests()), (0, 0));
}
