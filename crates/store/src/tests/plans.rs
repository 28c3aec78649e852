//! Every statement that names a day's partition is prepared, and the hot ones are explained: which partitions they
//! touch, by which index, and whether their updates stay HOT.

use bridge_protocol::Evidence;

use super::*;
use crate::{
    Day, accept, callback, cancel, cancel_one, claim as claiming, connect, finish as finishing, reschedule,
    timers,
};

async fn connection(t: &TestStore) -> PgConnection {
    connect::connect(&connect::batch_options(&StoreConfig::new(t.url.clone())).unwrap()).await.unwrap()
}

/// The generic plan, as the batchers' connections use it.
pub async fn plan(t: &TestStore, sql: &str, arguments: &str) -> String {
    let mut connection = connection(t).await;
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE p AS {sql}"))).execute(&mut connection).await.unwrap();
    let explained = format!("EXPLAIN (COSTS OFF) EXECUTE p({arguments})");
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explained)).fetch_all(&mut connection).await.unwrap();
    lines.join("\n")
}

pub fn assert_day_only(plan: &str, day: Day) {
    let suffix = day.suffix();
    assert!(!plan.contains("Seq Scan on"), "{plan}");
    for word in plan.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if let Some(other) = word.strip_prefix("executions_").or_else(|| word.strip_prefix("payloads_")) {
            assert!(other.starts_with(&suffix), "{word} in a plan for {suffix}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn hot_statements_touch_one_day_by_its_key() {
    let t = accepting().await;
    let day = Day::at(now());
    let keys = "ARRAY['acme'], ARRAY['01a1fb67-1800-7000-8000-000000000000']::uuid[]";
    let one = "'acme', '01a1fb67-1800-7000-8000-000000000000'";
    let none = |n: usize| vec!["NULL"; n].join(", ");
    let key = format!("using executions_{}_pkey", day.suffix());
    for (sql, arguments) in [
        (claiming::sql(day), format!("{keys}, {}", none(6))),
        (finishing::sql(day), format!("{keys}, {}", none(12))),
        (finishing::now_sql(day), keys.to_owned()),
        (reschedule::sql(day), format!("{keys}, {}", none(8))),
        (cancel::cancel_sql(day), keys.replace("ARRAY['acme']", "'acme'")),
        (callback::token_sql(day), format!("{one}, NULL, NULL")),
        (callback::lock_sql(day), one.to_owned()),
        (callback::end_sql(day), format!("{one}, {}", none(11))),
        (cancel_one::end_sql(day), format!("{one}, NULL")),
        (timers::join_sql(day), format!("NULL, {keys}")),
        (timers::move_sql(day), format!("NULL, {keys}, {}", none(3))),
        (timers::end_sql(day), format!("NULL, {keys}, {}", none(2))),
    ] {
        let plan = plan(&t, &sql, &arguments).await;
        assert_day_only(&plan, day);
        assert!(plan.to_lowercase().contains(&key), "not by its key:\n{plan}");
    }
    let accepting = plan(&t, &accept::sql(day), &format!("{keys}, {}", none(22))).await;
    assert_day_only(&accepting, day);
    let repeat = plan(&t, &callback::repeat_sql(day), &format!("{one}, NULL, NULL")).await;
    assert!(repeat.contains(&key), "{repeat}");
}

/// As it is checked when this is built, by how it begins and ends.
fn prepared(beginning: &str, end: &str) -> String {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.sqlx");
    let texts = std::fs::read_dir(directory).unwrap().map(|entry| {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["query"].as_str().unwrap().to_owned()
    });
    let mut found: Vec<String> =
        texts.filter(|query| query.starts_with(beginning) && query.ends_with(end)).collect();
    assert_eq!(found.len(), 1, "{beginning}: {found:#?}");
    found.remove(0)
}

#[tokio::test]
async fn one_execution_its_attempts_and_its_result_are_found_by_their_keys() {
    let t = accepting().await;
    let day = Day::at(now());
    let id = t.accepted().await.id;
    let one = format!("'acme', '{}'", id.uuid());
    let execution = prepared("SELECT e.id, e.workflow_id, e.lane", "e.tenant_id = $1 AND e.id = $2");
    let attempts = prepared("SELECT id, attempt", "tenant_id = $1 AND id = $2 ORDER BY attempt");
    let result = prepared("SELECT e.state, e.evidence", "e.tenant_id = $1 AND e.id = $2");
    for (sql, arguments, tables) in [
        (execution, one.clone(), &["executions", "dead_letters"][..]),
        (attempts, one.clone(), &["attempts"]),
        (result, format!("{one}, 7"), &["executions", "results"]),
    ] {
        let plan = plan(&t, &sql, &arguments).await;
        assert!(!plan.contains("Seq Scan on executions") && !plan.contains("Bitmap"), "{plan}");
        for table in tables {
            let key = if *table == "dead_letters" {
                "using dead_letters_pkey".to_owned()
            } else {
                format!("using {table}_{}_pkey", day.suffix())
            };
            assert!(plan.contains(&key), "{table} not by {key}:\n{plan}");
            // Of the other days' tables nothing is looked at.
            assert!(plan.matches(&format!("on {table}_")).count() <= 1, "{table}:\n{plan}");
        }
    }
}

#[tokio::test]
async fn timers_are_taken_in_the_order_of_their_only_index() {
    let t = accepting().await;
    let plan = plan(&t, timers::TAKE, "500").await;
    assert!(plan.contains("Index Scan using timers_pkey"), "{plan}");
    assert!(!plan.contains("Sort"), "{plan}");
    let indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = 'timers'";
    assert_eq!(t.number(indexes).await, 1);
    // HOT is lost by an index that so much as mentions a column that claim and finish change.
    let mentioned = "SELECT count(*) FROM pg_indexes WHERE tablename LIKE 'executions%' AND indexdef ~ '(state|lease_until|due_at)'";
    assert_eq!(t.number(mentioned).await, 0);
}

#[tokio::test]
async fn claim_and_finish_are_hot_updates() {
    let t = accepting().await;
    let lives = 3_000;
    let ids: Vec<ExecutionId> =
        futures::future::join_all((0..lives).map(async |_| t.accepted().await.id)).await;
    let claims: Vec<Claim> = ids.iter().map(|id| claim(*id, 1)).collect();
    futures::future::join_all(claims.iter().map(|claim| t.claimed(claim.clone()))).await;
    let ended = claims.iter().map(|claim| {
        let ending = Ending::Succeeded { evidence: Evidence::Response, result: None };
        t.store.finish(finish(claim, ending), PATIENCE)
    });
    for done in futures::future::join_all(ended).await {
        assert_eq!(done.unwrap(), crate::Finished::Done);
    }
    let table = format!("executions_{}", Day::at(now()).suffix());
    let of = |column: &str| format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = '{table}'");
    // The server's sessions report their counts within a second after they fall idle.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while t.number(&of("n_tup_upd")).await < 2 * lives {
        assert!(tokio::time::Instant::now() < deadline, "the statistics never showed all updates");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (updates, hot) = (t.number(&of("n_tup_upd")).await, t.number(&of("n_tup_hot_upd")).await);
    assert!(hot * 100 >= updates * 60, "{hot} of {updates} updates were HOT");
    t.assert_every_live_execution_has_its_timer().await;
}
