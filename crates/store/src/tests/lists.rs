//! Lists: what they find, page by page, and by which index.

use bridge_protocol::{Reason, State};

use super::*;
use crate::{DeadLetterFilter, Filter, connect, dead_letters, lists};

/// Of acme as many, and half of them beside of globex; a thousandth is rare. From yesterday into today.
const MANY: i64 = 25_000;

async fn filled() -> TestStore {
    let t = accepting().await;
    let id = |tenant: &str, n: &str| {
        format!(
            "(lpad(to_hex(((extract(epoch FROM date_trunc('day', now())) * 1000)::int8 - {MANY} / 2 + {n})), 12, '0') || '70008000' || lpad(to_hex({n} * 2 + ('{tenant}' = 'acme')::int), 12, '0'))::uuid"
        )
    };
    for (tenant, step) in [("acme", 1), ("globex", 2)] {
        t.sql(&format!(
            "INSERT INTO executions (tenant_id, id, lane, state, attempt, workflow_id, decided_by, decided_because, psh, metadata, reason, finished_at, due_at)
             SELECT '{tenant}', {id}, n % 4, n % 9, 1, 'w' || n % 5, 'default', '', '', jsonb_build_object('n', n % 10, 'rare', n % 1000 = 77),
               CASE WHEN n % 9 = 6 THEN CASE WHEN n % 2 = 0 THEN 'attempts_exhausted' ELSE 'permanent_answer' END END, now(), now()
             FROM generate_series(0, {MANY} - 1, {step}) n",
            id = id(tenant, "n")
        ))
        .await;
    }
    t.sql(
        "INSERT INTO dead_letters (tenant_id, execution_id, lane, workflow_id, reason, attempt)
         SELECT tenant_id, id, lane, workflow_id, reason, attempt FROM executions WHERE state = 6",
    )
    .await;
    t.sql("ANALYZE").await;
    t
}

async fn all(t: &TestStore, condition: &str) -> Vec<Uuid> {
    let mut connection = PgConnection::connect(&t.url).await.unwrap();
    let sql = format!("SELECT id FROM executions WHERE tenant_id = 'acme' AND {condition} ORDER BY id DESC");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap()
}

/// All pages, one after the other, and how many of them were cut.
async fn pages(t: &TestStore, filter: &Filter, limit: u16) -> (Vec<Uuid>, usize) {
    let (mut found, mut cut, mut before) = (Vec::new(), 0, None);
    loop {
        let listing = t.store.list(&tenant(), filter, before, limit).await.unwrap();
        assert!(listing.rows.len() <= usize::from(limit));
        assert!(listing.partial || listing.next.is_none() || listing.rows.len() == usize::from(limit));
        cut += usize::from(listing.partial);
        found.extend(listing.rows.iter().map(|row| row.id.uuid()));
        let Some(next) = listing.next else { return (found, cut) };
        assert!(before.is_none_or(|before| next < before), "the cursor stands still");
        before = Some(next);
        // What is accepted meanwhile is newer than any page.
        t.accepted().await;
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat() {
    let t = filled().await;
    let of = |workflow: &str| Some(WorkflowId::parse(workflow).unwrap());
    let middle = ExecutionId::from_uuid(all(&t, "true").await[MANY as usize / 2]).unwrap().created_at();
    let metadata = |text: &str| Some(text.to_owned());
    let (states, lane) = (vec![State::Running, State::Succeeded], Some(Lane::Short));
    let at = format!("'{}'::timestamptz", middle.to_rfc3339());
    let since = format!(
        "('x' || left(replace(id::text, '-', ''), 12))::bit(48)::int8 >= (extract(epoch FROM {at}) * 1000)::int8"
    );
    let cases: Vec<(Filter, &str, u16, usize)> = vec![
        (Filter::default(), "true", 1_000, 0),
        (Filter { workflow: of("w3"), ..Filter::default() }, "workflow_id = 'w3'", 700, 0),
        (Filter { states: states.clone(), ..Filter::default() }, "state IN (1, 4)", 500, 0),
        (Filter { states, lane, ..Filter::default() }, "state IN (1, 4) AND lane = 0", 333, 0),
        (Filter { states: vec![State::DeadLettered], ..Filter::default() }, "state = 6", 300, 0),
        (
            Filter {
                states: vec![State::DeadLettered],
                reason: Some(Reason::PermanentAnswer),
                workflow: of("w1"),
                ..Filter::default()
            },
            "state = 6 AND reason = 'permanent_answer' AND workflow_id = 'w1'",
            100,
            0,
        ),
        (
            Filter { reason: Some(Reason::AttemptsExhausted), ..Filter::default() },
            "reason = 'attempts_exhausted'",
            250,
            0,
        ),
        (
            Filter { metadata: metadata("{\"n\": 7}"), ..Filter::default() },
            "metadata @> '{\"n\": 7}'",
            400,
            0,
        ),
        (Filter { since: Some(middle), ..Filter::default() }, &since, 1_000, 0),
        // Few among many: the windows end before the pages are full.
        (
            Filter { metadata: metadata("{\"rare\": true}"), ..Filter::default() },
            "metadata @> '{\"rare\": true}'",
            50,
            2,
        ),
        (
            Filter { metadata: metadata("{\"rare\": true}"), workflow: of("w2"), ..Filter::default() },
            "metadata @> '{\"rare\": true}' AND workflow_id = 'w2'",
            5,
            0,
        ),
        (Filter { metadata: metadata("{\"none\": 1}"), ..Filter::default() }, "false", 10, 2),
    ];
    for (filter, condition, limit, cut) in cases {
        let expected = all(&t, condition).await;
        let (found, cuts) = pages(&t, &filter, limit).await;
        assert!(found == expected, "{condition}: {} of {}", found.len(), expected.len());
        assert_eq!(cuts, cut, "{condition}");
        let exact = expected.len() as u64;
        // Those that were accepted while the pages were read.
        let (count, more) = t.store.count(&tenant(), &filter, 1_000_000).await.unwrap();
        let now = all(&t, condition).await.len() as u64;
        assert_eq!((count, more), (now, false), "{condition}");
        if exact > 10 {
            assert_eq!(t.store.count(&tenant(), &filter, 10).await.unwrap(), (10, true), "{condition}");
        }
    }
    let until = Filter { until: Some(middle), ..Filter::default() };
    let since = Filter { since: Some(middle), ..Filter::default() };
    let (old, _) = pages(&t, &until, 1_000).await;
    let (new, _) = pages(&t, &since, 1_000).await;
    let everything = all(&t, "true").await;
    // Both sides of a moment are the whole.
    assert_eq!(everything[everything.len() - old.len()..], old);
    assert!(new.iter().all(|id| !old.contains(id)));
    let nothing = Filter { since: Some(middle), until: Some(middle), ..Filter::default() };
    assert_eq!(pages(&t, &nothing, 10).await, (vec![], 0));
}

#[tokio::test]
async fn a_tenant_sees_its_own_only() {
    let t = filled().await;
    let foreign = Filter { workflow: Some(WorkflowId::parse("w1").unwrap()), ..Filter::default() };
    for filter in
        [Filter::default(), foreign, Filter { states: vec![State::DeadLettered], ..Filter::default() }]
    {
        let mine = t.store.list(&tenant(), &filter, None, 1_000).await.unwrap();
        let theirs = t.store.list(&named("globex"), &filter, None, 1_000).await.unwrap();
        assert!(mine.rows.iter().all(|row| !theirs.rows.contains(row)));
        assert!(t.store.list(&named("nobody"), &filter, None, 10).await.unwrap().rows.is_empty());
        assert_eq!(t.store.count(&named("nobody"), &filter, 10).await.unwrap(), (0, false));
    }
    let theirs = t.store.dead_letters(&named("globex"), &DeadLetterFilter::default(), None, 1).await.unwrap();
    let id = theirs.rows[0].id;
    assert_eq!(t.store.dead_letter(&tenant(), id).await.unwrap(), None);
    assert_eq!(t.store.discard(&actor(), &tenant(), id, "not mine").await.unwrap(), None);
    assert!(t.store.dead_letter(&named("globex"), id).await.unwrap().unwrap().discarded.is_none());
}

/// The plan as the connections of the lists make it.
async fn plan(t: &TestStore, sql: &str, arguments: &str) -> String {
    let options = connect::list_options(&StoreConfig::new(t.url.clone())).unwrap();
    let mut connection = connect::connect(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE p AS {sql}"))).execute(&mut connection).await.unwrap();
    let explained = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE p({arguments})");
    let lines: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explained)).fetch_all(&mut connection).await.unwrap();
    lines.join("\n")
}

/// Of each row that a node of the plan gave: how many there were at most.
fn most_rows(plan: &str) -> u64 {
    let counts =
        plan.split("rows=").skip(1).filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    counts.filter_map(|count| count.parse().ok()).max().unwrap_or_default()
}

#[tokio::test]
async fn lists_are_flat() {
    let t = filled().await;
    let any = "'acme', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '00000000-0000-0000-0000-000000000000'";
    let none = "'{}', NULL, NULL, NULL";
    let newest = all(&t, "true").await;
    let (until, since) = (newest[MANY as usize / 3], newest[MANY as usize / 3 + 200]);
    let range = format!("'acme', '{until}', '{since}'");
    // What is listed, by which index, and how many rows a node of the plan may give for a page of 50.
    let cases = [
        (lists::list_sql(false), format!("{any}, NULL, {none}, 51"), "_pkey", 60),
        (lists::list_sql(true), format!("{any}, 'w3', {none}, 51"), "workflow_id_tenant_id_id_idx", 60),
        (
            lists::list_sql(false),
            format!("{any}, NULL, '{{3}}', NULL, NULL, '{{\"rare\": true}}', 51"),
            "_pkey",
            10_000,
        ),
        (
            lists::list_sql(true),
            format!("{any}, 'w3', '{{3}}', NULL, NULL, NULL, 51"),
            "workflow_id_tenant_id_id_idx",
            10_000,
        ),
        (dead_letters::scan_sql(), format!("{any}, NULL, NULL, NULL, true, 51"), "dead_letters_pkey", 60),
        (lists::count_sql(false), format!("{any}, NULL, {none}"), "_pkey", 10_000),
        (lists::count_sql(true), format!("{any}, 'w3', {none}"), "workflow_id_tenant_id_id_idx", 10_000),
        // From a time to another one, however much lies before and behind it: the range holds 200.
        (lists::list_sql(false), format!("{range}, NULL, {none}, 51"), "_pkey", 60),
        (lists::list_sql(true), format!("{range}, 'w3', {none}, 51"), "workflow_id_tenant_id_id_idx", 60),
        (
            lists::list_sql(false),
            format!("{range}, NULL, '{{3}}', NULL, NULL, '{{\"rare\": true}}', 51"),
            "_pkey",
            200,
        ),
        (lists::count_sql(false), format!("{range}, NULL, {none}"), "_pkey", 200),
        (lists::count_sql(true), format!("{range}, 'w3', {none}"), "workflow_id_tenant_id_id_idx", 60),
        (dead_letters::scan_sql(), format!("{range}, NULL, NULL, NULL, true, 51"), "dead_letters_pkey", 60),
    ];
    // Neither does it depend on the statistics: a new day has none.
    for statistics in [true, false] {
        if !statistics {
            t.sql("DELETE FROM pg_statistic WHERE starelid::regclass::text ~ '^(executions|dead_letters)'")
                .await;
        }
        for (sql, arguments, index, most) in &cases {
            let plan = plan(&t, sql, arguments).await;
            assert!(plan.contains("Index Scan Backward using") && plan.contains(index), "{plan}");
            assert!(!plan.contains("Seq Scan on") && !plan.contains("Bitmap"), "{plan}");
            // The count sorts the ids of its window for the last of them, nothing else is sorted.
            assert!(sql.starts_with("WITH") || !plan.contains("Sort"), "{plan}");
            assert!(most_rows(&plan) <= *most, "{plan}");
        }
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_put_away() {
    let t = filled().await;
    let (s, acme) = (&t.store, &tenant());
    let newest = s.dead_letters(acme, &DeadLetterFilter::default(), None, 3).await.unwrap();
    assert_eq!((newest.rows.len(), newest.partial), (3, false));
    let dead = &newest.rows[1];
    t.sql(&format!(
        "UPDATE executions SET http_status = 422, error = 'no such field' WHERE id = '{}'",
        dead.id
    ))
    .await;
    let shown = s.dead_letter(acme, dead.id).await.unwrap().unwrap();
    assert_eq!((shown.http_status, shown.error.as_deref()), (Some(422), Some("no such field")));
    assert_eq!(s.dead_letters(acme, &DeadLetterFilter::default(), None, 3).await.unwrap().rows[1], shown);

    let lines = t.number("SELECT count(*) FROM audit_log").await;
    assert_eq!(s.discard(&actor(), acme, dead.id, "the order was cancelled").await.unwrap(), Some(true));
    assert_eq!(s.discard(&actor(), acme, dead.id, "again").await.unwrap(), Some(false));
    assert_eq!(t.number("SELECT count(*) FROM audit_log").await, lines + 1);
    let put_away = s.dead_letter(acme, dead.id).await.unwrap().unwrap().discarded.unwrap();
    assert_eq!((put_away.by.as_str(), put_away.note.as_str()), ("svc_root", "the order was cancelled"));
    let left = s.dead_letters(acme, &DeadLetterFilter::default(), None, 3).await.unwrap();
    assert!(left.rows.iter().all(|row| row.id != dead.id));
    let with = DeadLetterFilter { include_discarded: true, ..DeadLetterFilter::default() };
    assert_eq!(s.dead_letters(acme, &with, None, 3).await.unwrap().rows[1].id, dead.id);
    // The execution stays what it is.
    let filter = Filter { states: vec![State::DeadLettered], ..Filter::default() };
    assert_eq!(s.list(acme, &filter, None, 3).await.unwrap().rows[1].id, dead.id);

    let narrow = DeadLetterFilter {
        lane: Some(Lane::Long),
        reason: Some(Reason::AttemptsExhausted),
        ..DeadLetterFilter::default()
    };
    let (mut seen, mut before) = (0, None);
    loop {
        let page = s.dead_letters(acme, &narrow, before, 100).await.unwrap();
        assert!(page.rows.iter().all(|row| row.lane == Lane::Long && row.reason == "attempts_exhausted"));
        seen += page.rows.len() as i64;
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let lane = Lane::Long.code();
    let expected = format!(
        "SELECT count(*) FROM dead_letters WHERE tenant_id = 'acme' AND lane = {lane} AND reason = 'attempts_exhausted' AND discarded_at IS NULL"
    );
    assert_eq!(seen, t.number(&expected).await);
    let overview = s.overview(Some(acme)).await.unwrap();
    assert_eq!(
        overview.dead_letters as i64,
        t.number("SELECT count(*) - 1 FROM dead_letters WHERE tenant_id = 'acme'").await
    );
}

#[test]
fn a_filter_is_kept_as_it_was_given() {
    let filter = jobs::new_job("acme").filter;
    let json = serde_json::to_value(&filter).unwrap();
    assert_eq!(json["states"], serde_json::json!(["dead_lettered"]));
    assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), filter);
    assert_eq!(serde_json::to_string(&Filter::default()).unwrap(), "{}");
    assert!(serde_json::from_str::<Filter>("{\"state\": []}").is_err());
}
