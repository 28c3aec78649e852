//! Results and callbacks, as far as they are refused before the database is asked.

use super::world::{ACME, READER, Setup, get, post, world};

const RESULT: &str = "/pulsar/executions/01890a5d-ac96-774b-bcce-b302099a8057/result";

#[tokio::test]
async fn a_callback_without_its_token_is_told_nothing() {
    let world = world(Setup::default()).await;
    let token = format!("cb_1_{}", "A".repeat(43));
    let mut told = Vec::new();
    for path in [
        RESULT.to_owned(),
        format!("{RESULT}?tenant_id=acme"),
        format!("{RESULT}?tenant_id=acme&token=cb_1_short"),
        format!("{RESULT}?token={token}"),
        format!("/pulsar/executions/junk/result?tenant_id=acme&token={token}"),
    ] {
        // Also with a good credential: it is not what counts here.
        let answer = world.send(post(&path, ACME, r#"{"status":"success"}"#)).await;
        assert_eq!(answer.problem(), (401, "/problems/bad-callback-token"), "{path}");
        told.push(answer.detail().to_owned());
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    // Whose token it is the database says, before the body is looked at; here there is none.
    let whole = format!("{RESULT}?tenant_id=acme&token={token}");
    assert_eq!(
        world.send(post(&whole, "", r#"{"status":"done"}"#)).await.problem(),
        (503, "/problems/database-unavailable")
    );
}

#[tokio::test]
async fn a_callback_is_not_refused_for_good_by_a_publisher_that_knows_no_tenants_yet() {
    let world = world(Setup { loaded: false, ..Setup::default() }).await;
    let path = format!("{RESULT}?tenant_id=acme&token=cb_1_{}", "A".repeat(43));
    let answer = world.send(post(&path, "", r#"{"status":"success"}"#)).await;
    assert_eq!(answer.problem(), (503, "/problems/not-ready"));
    assert_eq!(answer.header("retry-after"), "2");
}

#[tokio::test]
async fn a_result_needs_its_scope_and_a_wait_that_can_be_read() {
    let world = world(Setup::default()).await;
    assert_eq!(world.send(get(RESULT, READER)).await.problem(), (403, "/problems/missing-scope"));
    let soon = world.send(get(&format!("{RESULT}?wait=soon"), ACME)).await;
    assert_eq!(soon.problem(), (400, "/problems/invalid-request"));
    let soon =
        world.send(post("/pulsar/publish?wait=soon", ACME, r#"{"workflow_id":"w","payload":1}"#)).await;
    assert_eq!(soon.problem(), (400, "/problems/invalid-request"));
}

#[tokio::test]
async fn who_may_not_wait_is_told_before_anything_is_written() {
    let world = world(Setup::default()).await;
    let places: Vec<_> = std::iter::from_fn(|| world.app.waiters.place().ok()).collect();
    assert_eq!(places.len(), 10);
    let full = (503, "/problems/too-many-waiters");
    assert_eq!(world.send(get(&format!("{RESULT}?wait=1"), ACME)).await.problem(), full);
    let body = r#"{"workflow_id":"w","payload":1}"#;
    assert_eq!(world.send(post("/pulsar/publish?wait=1", ACME, body)).await.problem(), full);
}
