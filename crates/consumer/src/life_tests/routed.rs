//! What routes and holds make of an execution between its message and its webhook.

use bridge_fire::Aim;
use bridge_protocol::BodyShape;
use tokio::time::Instant;

use super::*;

fn hold(world: &World, host: Option<&str>) -> Hold {
    Hold {
        tenant: world.tenant.clone(),
        id: "maintenance".to_owned(),
        workflow: None,
        lane: None,
        host: host.map(str::to_owned),
        reason: "n8n moves".to_owned(),
    }
}

fn aim(world: &World) -> Aim {
    world.works.hooks.aim(&world.tenant, WorkflowId::parse("plain").unwrap(), Lane::Short).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_parks_and_its_end_lets_go() {
    let world = world().await;
    let job = world.accept("plain", b"{}", None).await;
    world.route("other", Route::default(), vec![hold(&world, None)]);
    let parked = world.deliver(&job).await;
    assert_eq!((parked.state, parked.attempt, parked.parks, world.requests()), (State::Accepted, 0, 1, 0));
    let met = world.works.holds.list(Instant::now(), 9);
    assert_eq!(met, [(world.tenant.clone(), "maintenance".to_owned())]);

    // Of another host: it does not hold this one.
    world.route("other", Route::default(), vec![hold(&world, Some("elsewhere.test"))]);
    let all = Freed { tenant: world.tenant.clone(), workflow: None, lane: None };
    release(&world.works, &mut BTreeSet::from([all])).await;
    let due = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((due.parks, world.wait_of(&due)), (0, Duration::ZERO));
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);

    world.route("other", Route::default(), vec![hold(&world, Some(aim(&world).key.host()))]);
    let job = world.accept("plain", b"{}", None).await;
    assert_eq!(world.deliver(&job).await.parks, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_comes_while_a_slot_is_waited_for_holds() {
    let world = world().await;
    let narrow = Route { max_concurrency: Some(1), ..Route::default() };
    world.route("plain", narrow.clone(), vec![]);
    let job = world.accept("plain", b"{}", None).await;
    let taken = world.works.hooks.slot(&aim(&world), Instant::now()).await.unwrap();
    let waits = async {
        tokio::task::yield_now().await;
        world.route("plain", narrow, vec![hold(&world, None)]);
        drop(taken);
    };
    let (end, ()) = tokio::join!(attempt::run(&world.works, &job), waits);
    assert_eq!(end, End::Settled);
    let seen = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
    assert_eq!((seen.attempt, seen.parks, world.requests()), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_slot_goes_by_the_routes_of_the_end_of_the_wait() {
    let world = world().await;
    let narrow = Route { max_concurrency: Some(1), ..Route::default() };
    world.route("plain", narrow.clone(), vec![]);
    let job = world.accept("plain", b"1", None).await;
    let taken = world.works.hooks.slot(&aim(&world), Instant::now()).await.unwrap();
    let waits = async {
        tokio::task::yield_now().await;
        world.route("plain", Route { body: BodyShape::Payload, ..narrow }, vec![]);
        drop(taken);
    };
    let (end, ()) = tokio::join!(attempt::run(&world.works, &job), waits);
    assert_eq!((end, &world.last().1[..]), (End::Settled, &b"1"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_payload_is_sent_byte_for_byte_and_signed() {
    let world = world().await;
    world.route("plain", Route { body: BodyShape::Payload, ..Route::default() }, vec![]);
    let plain = br#"{ "n" : 1.50 }"#;
    let job = world.accept("plain", plain, None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let (headers, body) = world.last();
    assert_eq!(&body[..], plain);
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!((text("x-execution-id"), &*text("content-type")), (job.id.to_string(), "application/json"));
    let secret = [WebhookSecret::parse(SECRETS[0]).unwrap()];
    let at = text("webhook-timestamp").parse().unwrap();
    let (id, signature, tolerance) =
        (text("webhook-id"), text("webhook-signature"), Duration::from_secs(300));
    assert!(verify_webhook_signature(&secret, &id, at, &body, &signature, at, tolerance));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_sealed_as_its_payload_is() {
    let mut world = world().await;
    world.works.settings.seal_results = true;
    world.answer(r#"{"secret":"result"}"#);
    let key = world.data_key().await;
    world.look().await;
    let job = world.accept("plain", b"{}", Some(&key)).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    let stored = world.works.store.result(&job.tenant, job.id).await.unwrap().unwrap().body.unwrap().body;
    assert_eq!(stored.data_key, Some(key.id));
    let opened = key.open_result(&job.tenant, job.id, stored.bytes.clone()).unwrap();
    assert_eq!(&opened[..], br#"{"secret":"result"}"#);
    // It cannot be put in the payload's place.
    assert!(key.open(&job.tenant, job.id, stored.bytes).is_err());
}
