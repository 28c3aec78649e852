//! Postgres commits, and the answer is lost on the way back. Each batched statement then runs again and must
//! recognise its own work.

use bridge_protocol::{Completion, Evidence, Mode, State, TenantId};
use bridge_store::{
    Accepted, ClaimAnswer, Claimed, Ending, Finish, Finished, NativeClaim, NewExecution, Report, Reported,
    Reschedule, Store, StoreConfig, Why,
};
use bridge_tests::seed::{self, PATIENCE};
use bridge_tests::{Answer, Api, ChaosProxy, Sql, World, parts, unique};
use bytes::Bytes;
use chrono::Utc;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// A store whose connections lead through a proxy, and the same database seen directly.
struct Behind {
    proxy: ChaosProxy,
    store: Store,
    sql: Sql,
    tenant: TenantId,
}

impl Behind {
    async fn new() -> anyhow::Result<Self> {
        let server = Sql::new(parts::shared("BRIDGE_TEST_DATABASE_URL"));
        let url = server.create_database(&unique("bridge-test")).await?;
        let (proxy, through) = ChaosProxy::before(&url).await?;
        // One connection a statement: the test knows which one is cut.
        let store = Store::open(StoreConfig { batch_connections: 1, ..StoreConfig::new(through) })?;
        store.migrate(Utc::now()).await?;
        let sql = Sql::new(url);
        let tenant = seed::new_tenant(&sql).await?;
        Ok(Self { proxy, store, sql, tenant })
    }

    async fn accepted(&self) -> anyhow::Result<bridge_protocol::ExecutionId> {
        let execution = seed::new_execution(&self.tenant);
        let id = execution.id;
        assert_eq!(self.store.accept(execution, PATIENCE).await?, Accepted::New);
        Ok(id)
    }

    async fn claimed(&self, claim: &bridge_store::Claim) -> anyhow::Result<Claimed> {
        match self.store.claim(claim.clone(), PATIENCE).await? {
            ClaimAnswer::Claimed(claimed) => Ok(*claimed),
            refused => anyhow::bail!("{refused:?}"),
        }
    }

    /// An execution in the hands of attempt 1.
    async fn running(&self) -> anyhow::Result<bridge_store::Claim> {
        let claim = seed::claim(&self.tenant, self.accepted().await?, 1);
        self.claimed(&claim).await?;
        Ok(claim)
    }

    /// The same for a transaction of several statements.
    async fn lose_commit<T>(
        &mut self,
        transaction: impl Future<Output = T>,
        committed: &str,
    ) -> anyhow::Result<T> {
        self.proxy.lose_answer_to_commit();
        self.watch(transaction, committed).await
    }

    /// Runs `statement`, loses its answer, looks at the database while nobody can reach it, and lets it run again.
    async fn lose<T>(&mut self, statement: impl Future<Output = T>, committed: &str) -> anyhow::Result<T> {
        self.proxy.lose_next_answer();
        self.watch(statement, committed).await
    }

    async fn watch<T>(&mut self, statement: impl Future<Output = T>, committed: &str) -> anyhow::Result<T> {
        let proxy = &mut self.proxy;
        let sql = &self.sql;
        let meanwhile = async {
            proxy.lost().await?;
            anyhow::ensure!(sql.count(committed).await? == 1, "not committed: {committed}");
            proxy.pass();
            anyhow::Ok(())
        };
        let (outcome, watched) = tokio::join!(statement, meanwhile);
        watched?;
        Ok(outcome)
    }
}

#[tokio::test]
async fn an_accept_whose_answer_is_lost_is_accepted_once() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    behind.accepted().await?;
    let execution = seed::new_execution(&behind.tenant);
    let row = format!("executions WHERE id = '{}' AND state = 0", execution.id);
    let timer = format!("timers WHERE execution_id = '{}'", execution.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.accept(execution, PATIENCE), &row).await?;
    assert_eq!(outcome?, Accepted::New);
    assert_eq!((behind.sql.count(&row).await?, behind.sql.count(&timer).await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn an_accept_with_a_key_whose_answer_is_lost_is_its_own_owner() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    behind.accepted().await?;
    let mut execution = seed::new_execution(&behind.tenant);
    execution.idempotency = Some(bridge_store::Idempotency { key: "order-7".to_owned(), digest: [7; 32] });
    let row = format!("executions WHERE id = '{}'", execution.id);
    let (store, again) = (behind.store.clone(), seed::new_execution(&behind.tenant));
    let owner = execution.id;
    let again = NewExecution { idempotency: execution.idempotency.clone(), ..again };
    let outcome = behind.lose(store.accept(execution, PATIENCE), &row).await?;
    assert_eq!(outcome?, Accepted::New, "its own key is not in its way");
    assert_eq!(behind.store.accept(again, PATIENCE).await?, Accepted::Replayed(owner));
    Ok(())
}

#[tokio::test]
async fn a_native_accept_whose_answer_is_lost_is_still_its_publishers_to_fire() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    behind.accepted().await?;
    let claim_id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let execution = NewExecution {
        mode: Mode::Native,
        native: Some(NativeClaim { claim_id, lease: Duration::from_secs(60) }),
        ..seed::new_execution(&behind.tenant)
    };
    let row = format!("executions WHERE id = '{}' AND state = 1 AND attempt = 1", execution.id);
    let timer = format!("timers WHERE execution_id = '{}'", execution.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.accept(execution, PATIENCE), &row).await?;
    assert_eq!(outcome?, Accepted::New);
    assert_eq!((behind.sql.count(&row).await?, behind.sql.count(&timer).await?), (1, 1));
    Ok(())
}

#[tokio::test]
async fn a_wait_whose_answer_is_lost_waits_and_so_does_its_report() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    let token = [7; 32];
    let wait = |claim: &bridge_store::Claim| Reschedule {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: 1,
        after: Duration::from_secs(3600),
        why: Why::Wait { claim_id: claim.claim_id, http_status: Some(202), n8n_execution_id: None },
    };
    let running = async |behind: &Behind| -> anyhow::Result<bridge_store::Claim> {
        let new = NewExecution { completion: Completion::Callback, ..seed::new_execution(&behind.tenant) };
        let id = new.id;
        assert_eq!(behind.store.accept(new, PATIENCE).await?, Accepted::New);
        let claim =
            bridge_store::Claim { callback_digest: Some(token), ..seed::claim(&behind.tenant, id, 1) };
        behind.claimed(&claim).await?;
        Ok(claim)
    };
    let warm = running(&behind).await?;
    assert_eq!(behind.store.reschedule(wait(&warm), PATIENCE).await?, Finished::Done);
    let claim = running(&behind).await?;
    let row = format!("executions WHERE id = '{}' AND state = 2", claim.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.reschedule(wait(&claim), PATIENCE), &row).await?;
    assert_eq!(outcome?, Finished::Done);
    let timers = format!("timers WHERE execution_id = '{}'", claim.id);
    assert_eq!(behind.sql.count(&timers).await?, 1);

    // Of the report whoever sent it hears nothing, and sends it again.
    let report = Report {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: 1,
        token_digest: token,
        report_digest: [9; 32],
        success: true,
        result: None,
        error: None,
        n8n_execution_id: None,
    };
    let ended = format!("executions WHERE id = '{}' AND state = 4", claim.id);
    let store = behind.store.clone();
    let told = behind.lose_commit(store.report(report.clone()), &ended).await?;
    assert!(matches!(told, Ok(Reported::Repeated(State::Succeeded)) | Err(_)), "{told:?}");
    assert_eq!(behind.store.report(report.clone()).await?, Reported::Repeated(State::Succeeded));
    let other = Report { report_digest: [8; 32], ..report };
    assert_eq!(behind.store.report(other).await?, Reported::Conflict(State::Succeeded));
    assert_eq!(behind.sql.count(&timers).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_returned_unchanged() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    behind.running().await?;
    let claim = seed::claim(&behind.tenant, behind.accepted().await?, 1);
    let row = format!("executions WHERE id = '{}' AND state = 1 AND attempt = 1", claim.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.claim(claim.clone(), PATIENCE), &row).await?;
    let ClaimAnswer::Claimed(claimed) = outcome? else { panic!("its own claim was refused") };
    assert_eq!(claimed.attempt, 1);
    let payload = bridge_store::StoredPayload { bytes: br#"{"lead": 7}"#.as_slice().into(), data_key: None };
    assert_eq!(claimed.payload, bridge_store::Payload::Here(payload));
    assert_eq!(behind.sql.count(&row).await?, 1, "one attempt");
    let other = seed::claim(&behind.tenant, claim.id, 1);
    assert!(matches!(behind.store.claim(other, PATIENCE).await?, ClaimAnswer::Refused(_)));
    Ok(())
}

#[tokio::test]
async fn a_finish_whose_answer_is_lost_is_done() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    let finish = |claim: &bridge_store::Claim| Finish {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: 1,
        claim_id: claim.claim_id,
        ending: Ending::Succeeded {
            evidence: Evidence::Response,
            result: Some(bridge_store::ResultBody {
                content_type: Some("application/json".to_owned()),
                body: Bytes::from_static(b"{}"),
                truncated: false,
                data_key: None,
            }),
        },
        http_status: Some(200),
        error: None,
        n8n_execution_id: None,
    };
    let warm = behind.running().await?;
    assert_eq!(behind.store.finish(finish(&warm), PATIENCE).await?, Finished::Done);
    let claim = behind.running().await?;
    let row = format!("executions WHERE id = '{}' AND state = 4", claim.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.finish(finish(&claim), PATIENCE), &row).await?;
    assert_eq!(outcome?, Finished::Done);
    let left = behind.sql.count(&format!("timers WHERE execution_id = '{}'", claim.id)).await?;
    let results = behind.sql.count(&format!("results WHERE id = '{}'", claim.id)).await?;
    assert_eq!((left, results), (0, 1));
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_whose_answer_is_lost_is_announced_once() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    let finish = |claim: &bridge_store::Claim| Finish {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: 1,
        claim_id: claim.claim_id,
        ending: Ending::DeadLettered(bridge_protocol::Reason::PermanentAnswer),
        http_status: Some(400),
        error: Some("400".to_owned()),
        n8n_execution_id: None,
    };
    let warm = behind.running().await?;
    assert_eq!(behind.store.finish(finish(&warm), PATIENCE).await?, Finished::Done);
    let claim = behind.running().await?;
    let row = format!("dead_letters WHERE execution_id = '{}'", claim.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.finish(finish(&claim), PATIENCE), &row).await?;
    assert_eq!(outcome?, Finished::Done);
    assert_eq!(behind.sql.count(&format!("notices WHERE execution_id = '{}'", claim.id)).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_retry_whose_answer_is_lost_is_one_attempt_and_one_timer() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    let retry = |claim: &bridge_store::Claim| Reschedule {
        tenant: claim.tenant.clone(),
        id: claim.id,
        attempt: 1,
        after: Duration::from_secs(60),
        why: Why::Retry { claim_id: claim.claim_id, http_status: Some(500), error: Some("500".to_owned()) },
    };
    let warm = behind.running().await?;
    assert_eq!(behind.store.reschedule(retry(&warm), PATIENCE).await?, Finished::Done);
    let claim = behind.running().await?;
    let row = format!("executions WHERE id = '{}' AND state = 3 AND attempt = 1", claim.id);
    let store = behind.store.clone();
    let outcome = behind.lose(store.reschedule(retry(&claim), PATIENCE), &row).await?;
    assert_eq!(outcome?, Finished::Done);
    let timers = behind.sql.count(&format!("timers WHERE execution_id = '{}'", claim.id)).await?;
    let attempts = behind.sql.count(&format!("attempts WHERE id = '{}'", claim.id)).await?;
    assert_eq!((timers, attempts), (1, 1));
    assert!(behind.store.live_without_timer().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_park_whose_answer_is_lost_leaves_one_timer_and_spends_no_attempt() -> anyhow::Result<()> {
    let mut behind = Behind::new().await?;
    let park = |id| Reschedule {
        tenant: behind.tenant.clone(),
        id,
        attempt: 1,
        after: Duration::from_secs(60),
        why: Why::Park { longest: Duration::from_secs(300) },
    };
    let (warm, id) = (behind.accepted().await?, behind.accepted().await?);
    let (warm, lost) = (park(warm), park(id));
    assert_eq!(behind.store.reschedule(warm, PATIENCE).await?, Finished::Done);
    let row = format!("executions WHERE id = '{id}' AND parks = 1");
    let store = behind.store.clone();
    let outcome = behind.lose(store.reschedule(lost, PATIENCE), &row).await?;
    assert_eq!(outcome?, Finished::Done);
    assert_eq!(behind.sql.count(&format!("timers WHERE execution_id = '{id}'")).await?, 1);
    assert_eq!(
        behind.sql.one(&format!("SELECT state, attempt FROM executions WHERE id = '{id}'")).await?,
        "0|0"
    );
    assert!(behind.store.live_without_timer().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_network_that_says_nothing_is_given_up_and_the_row_is_told() -> anyhow::Result<()> {
    let behind = Behind::new().await?;
    behind.accepted().await?;
    behind.proxy.stall();
    let outcome = behind.store.accept(seed::new_execution(&behind.tenant), Duration::from_millis(700)).await;
    assert!(matches!(outcome, Err(bridge_store::WriteError::Unavailable { .. })), "{outcome:?}");
    behind.proxy.cut();
    behind.accepted().await?;
    Ok(())
}

/// Does it once with the answer lost on its way from the publisher to whoever asks, and once more.
async fn asked_twice<T>(
    proxy: &mut ChaosProxy,
    ask: impl AsyncFn() -> Result<Answer, T>,
) -> anyhow::Result<Answer>
where
    T: std::error::Error + Send + Sync + 'static,
{
    proxy.lose_next_answer();
    let (lost, seen) = tokio::join!(ask(), proxy.lost());
    seen?;
    anyhow::ensure!(lost.is_err(), "the answer came through");
    proxy.pass();
    Ok(ask().await?)
}

#[tokio::test]
async fn whoever_lost_the_publishers_answer_asks_again_and_nothing_is_done_twice() -> anyhow::Result<()> {
    // A lease that a busy machine does not outrun.
    let build = World::build().route("short", "mode = \"native\"").set("consumer.lease_margin_ms", "30000");
    let world = build.start().await?;
    let (mut proxy, url) = ChaosProxy::before(&world.publisher.url()).await?;
    let api: Api = world.api.at(url.trim_end_matches('/'));
    let body =
        |workflow: &str, key: &str| json!({ "workflow_id": workflow, "payload": {}, "idempotency_key": key });

    // Fired by the publisher itself, fired through the queue, and waited for.
    for (path, workflow, key) in [
        ("/pulsar/publish", "short", "a"),
        ("/pulsar/publish?wait=20", "long", "b"),
        ("/pulsar/publish", "long", "c"),
    ] {
        let answer = asked_twice(&mut proxy, async || api.post(path, &body(workflow, key)).await).await?;
        assert_eq!((answer.status, &answer.json["replayed"]), (StatusCode::OK, &json!(true)), "{answer:?}");
        world.api.until(&answer.id(), "succeeded").await;
        let made = format!("executions WHERE workflow_id = '{workflow}'");
        assert_eq!(world.sql.count(&made).await?, if key == "c" { 2 } else { 1 }, "{key}");
        assert_eq!(world.endpoint.fired_of(&answer.id()).len(), 1, "{key}");
    }

    // A report, from its workflow.
    let mut asked = body("reported", "d");
    asked["completion"] = json!("callback");
    let id = world.api.accepted(asked).await?;
    let fired = world.endpoint.wait_for_execution(&id, 1).await.remove(0);
    world.api.until(&id, "waiting").await;
    let path = fired.headers["x-callback-url"].replace(&world.publisher.url(), "");
    let report = json!({ "status": "success", "result": { "n": 1 } });
    let ask = async || api.call_as(&[], Method::POST, &path, Some(&report)).await;
    let answer = asked_twice(&mut proxy, ask).await?;
    assert_eq!((answer.status, &answer.json["state"]), (StatusCode::OK, &json!("succeeded")), "{answer:?}");
    let result: Value = world.api.get(&format!("/pulsar/executions/{id}/result")).await?.json;
    assert_eq!(result["result"], json!({ "n": 1 }), "{result}");
    assert_eq!(world.duplicates(), []);
    world.finish().await
}
