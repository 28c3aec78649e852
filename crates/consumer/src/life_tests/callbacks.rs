//! Executions whose workflow reports its result itself.

use bridge_protocol::CallbackToken;
use bridge_store::{Report, Reported};

use super::*;

/// Of the last request.
fn token(world: &World, job: &Job) -> CallbackToken {
    let (headers, body) = world.last();
    let url = headers["x-callback-url"].to_str().unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(envelope["callback_url"], url);
    let start = format!("http://bridge.test/pulsar/executions/{}/result?tenant_id=acme&token=", job.id);
    CallbackToken::parse(url.strip_prefix(&start).unwrap()).unwrap()
}

async fn report(world: &World, job: &Job, token: &CallbackToken, success: bool) -> Reported {
    let report = Report {
        tenant: job.tenant.clone(),
        id: job.id,
        attempt: token.attempt,
        token_digest: token.digest(),
        report_digest: [u8::from(success); 32],
        success,
        result: None,
        error: None,
        n8n_execution_id: None,
    };
    world.works.store.report(report).await.unwrap()
}

async fn callback_world() -> World {
    World { completion: Completion::Callback, ..world().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_n8ns_good_answer_its_callback_is_waited_for() {
    let world = callback_world().await;
    world.route("plain", Route { callback_timeout_s: 600, ..Route::default() }, vec![]);
    let job = world.accept("plain", b"{}", None).await;
    let waiting = world.deliver(&job).await;
    assert_eq!((waiting.state, waiting.attempt, waiting.http_status), (State::Waiting, 1, Some(200)));
    let wait = world.wait_of(&waiting);
    assert!(wait > Duration::from_secs(590) && wait <= Duration::from_secs(600), "{wait:?}");
    let token = token(&world, &job);
    assert_eq!(token.attempt, 1);
    assert_eq!(report(&world, &job, &token, true).await, Reported::Done(State::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_before_n8ns_own_answer_is_the_end() {
    for (success, state) in [(true, State::Succeeded), (false, State::Failed)] {
        let world = callback_world().await;
        world.pause();
        let job = world.accept("plain", b"{}", None).await;
        let reports = async {
            world.hook.asked.notified().await;
            let token = token(&world, &job);
            assert_eq!(report(&world, &job, &token, success).await, Reported::Done(state));
            world.hook.go.notify_one();
        };
        let (end, ()) = tokio::join!(attempt::run(&world.works, &job), reports);
        assert_eq!(end, End::Settled);
        let ended = world.works.store.execution(&job.tenant, job.id).await.unwrap().unwrap();
        assert_eq!(ended.state, state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_has_a_token_of_its_own() {
    let world = callback_world().await;
    world.fail();
    let job = world.accept("plain", b"{}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Retrying);
    let first = token(&world, &job);
    let job = Job { attempt: 2, ..job };
    assert_eq!(world.deliver(&job).await.state, State::Retrying);
    let second = token(&world, &job);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_ne!(first.digest(), second.digest());
    assert!(matches!(report(&world, &job, &first, false).await, Reported::NotCurrent { .. }));
    assert_eq!(report(&world, &job, &first, true).await, Reported::Done(State::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_when_nobody_said_where_callbacks_go() {
    let mut world = callback_world().await;
    world.works.settings.callback_base = None;
    let job = world.accept("plain", b"{}", None).await;
    let given_back = world.deliver(&job).await;
    assert_eq!((given_back.state, given_back.attempt, world.requests()), (State::Accepted, 0, 0));
    assert!(given_back.error.unwrap().contains("BRIDGE_CALLBACK_BASE_URL"));
    // Whose result is n8n's answer needs none.
    world.completion = Completion::Response;
    let job = world.accept("plain", b"{}", None).await;
    assert_eq!(world.deliver(&job).await.state, State::Succeeded);
    assert!(!world.last().0.contains_key("x-callback-url"));
}
