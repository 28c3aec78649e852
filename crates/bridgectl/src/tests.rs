#![allow(clippy::unwrap_used, reason = "tests")]

use clap::{CommandFactory, Parser};
use serde_json::json;

use super::*;
use crate::canned::Canned;

/// They ask the bridge nothing, or only the database, the broker or Jaeger.
const ELSEWHERE: [&str; 8] = [
    "admin bootstrap",
    "completions",
    "exit-codes",
    "key rotate signing",
    "migrate",
    "roles apply",
    "routes",
    "trace",
];

#[test]
fn the_flags_do_not_contradict_each_other() {
    Cli::command().debug_assert();
}

fn leaves(command: &clap::Command, above: &str, into: &mut Vec<String>) {
    for verb in command.get_subcommands() {
        let name = format!("{above}{}", verb.get_name());
        if verb.has_subcommands() { leaves(verb, &format!("{name} "), into) } else { into.push(name) }
    }
}

#[test]
fn every_verb_says_which_routes_it_asks() {
    let mut verbs = Vec::new();
    leaves(&Cli::command(), "", &mut verbs);
    for verb in &verbs {
        let asks = routes::ALL.iter().any(|line| line.verb == verb);
        assert_ne!(asks, ELSEWHERE.contains(&verb.as_str()), "{verb}: name its routes in routes.rs");
    }
    for line in routes::ALL {
        assert!(
            verbs.iter().any(|verb| verb == line.verb),
            "routes.rs names {}, which is no verb",
            line.verb
        );
    }
}

#[test]
fn every_exit_code_is_documented() {
    let documented: serde_json::Value = serde_json::from_str(&failure::exit_codes_json()).unwrap();
    let codes: Vec<u64> =
        documented.as_array().unwrap().iter().map(|line| line["code"].as_u64().unwrap()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14]);
    let guide = include_str!("../../../docs/bridgectl.md");
    for code in codes {
        assert!(guide.contains(&format!("| {code} |")), "docs/bridgectl.md does not say what {code} means");
    }
    assert_eq!((Exit::Conflict as u8, Exit::EndedExpired as u8), (6, 14));
}

/// The verb's answer, or its exit code and what it says.
async fn said(bridge: &Canned, line: &str, json: bool) -> Result<String, (u8, String)> {
    let cli = Cli::try_parse_from(std::iter::once("bridgectl").chain(line.split(' '))).unwrap();
    let client = &bridge.client;
    let done = match cli.verb {
        Verb::Status(of) => status::run(client, of, json).await,
        Verb::Route(verb) => route::run(client, verb, json).await,
        Verb::Execution(verb) => execution::run(client, verb, json).await,
        Verb::Replay(args) => bulk::run(client, bulk::Kind::Replay, args, json).await,
        Verb::Cancel(args) => bulk::run(client, bulk::Kind::Cancel, args, json).await,
        Verb::Job(verb) => job::run(client, verb, json).await,
        Verb::Dlq(verb) => dlq::run(client, verb, json).await,
        Verb::Hold(args) => hold::set(client, args, json).await,
        Verb::Release(args) => hold::release(client, args, json).await,
        Verb::Holds(of) => hold::list(client, of, json).await,
        _ => panic!("{line} does not only ask the bridge"),
    };
    done.map_err(|failure| (failure.exit as u8, failure.to_string()))
}

const ID: &str = "019aa5c1-0000-7000-8000-000000000001";

#[tokio::test]
async fn the_parts_of_a_path_stay_in_it() {
    let bridge = Canned::with([(
        200,
        json!({ "route": {}, "workflow_id": "crm/sync", "changed": true, "in_effect": true }),
    )])
    .await;
    said(&bridge, "route show crm/sync --tenant acme", false).await.unwrap();
    said(&bridge, "route delete --type a/b?c", false).await.unwrap();
    said(&bridge, "route show --default", false).await.unwrap();
    insta::assert_snapshot!(bridge.asked(), @"
    GET /pulsar/workflows/crm%2Fsync?tenant_id=acme
    DELETE /pulsar/types/a%2Fb%3Fc
    GET /pulsar/default-route
    ");
}

#[tokio::test]
async fn a_route_is_changed_field_by_field() {
    let present = json!({ "workflow_id": "w", "route": { "lane": "short", "retry": { "max_attempts": 3 } }, "outcome": "changed" });
    let bridge = Canned::with([(200, present)]).await;
    said(&bridge, "route set w --lane ai --active false --field retry.max_attempts=5", false).await.unwrap();
    insta::assert_snapshot!(bridge.asked(), @r#"
    GET /pulsar/workflows/w
    PUT /pulsar/workflows/w
      {"is_active":false,"lane":"ai","retry":{"max_attempts":5}}
    "#);
    let missing = Canned::with([
        (404, json!({})),
        (201, json!({ "workflow_id": "w", "route": {}, "outcome": "created" })),
    ])
    .await;
    said(&missing, "route set w --priority 9", false).await.unwrap();
    assert!(missing.asked().ends_with(r#"{"priority":9}"#), "{}", missing.asked());
    let (code, _) = said(&missing, "route set w", false).await.unwrap_err();
    assert_eq!(code, 2);
}

#[tokio::test]
async fn an_apply_shows_the_difference_and_sends_the_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.yml");
    std::fs::write(&file, "tenant: acme\nworkflows:\n  w: {lane: ai}\n").unwrap();
    let there = json!({ "workflows": [{ "workflow_id": "w", "route": { "lane": "short" } },
        { "workflow_id": "old", "route": {} }], "types": [] });
    let applied =
        json!({ "dry_run": true, "created": [], "changed": ["workflows.w"], "deleted": [], "unchanged": [] });
    let bridge = Canned::with([(200, there), (200, applied)]).await;
    let line = format!("route apply -f {} --dry-run", file.display());
    insta::assert_snapshot!(said(&bridge, &line, false).await.unwrap(), @r#"
    ~ workflows.w
        lane: "short" -> "ai"
    1 more are not in the file and stay (--prune deletes them)
    would be: 0 created, 1 changed, 0 deleted, 0 unchanged; nothing was changed
    "#);
    let asked = bridge.asked();
    assert!(
        asked.starts_with(
            "GET /pulsar/workflows?tenant_id=acme&limit=1000\nPUT /pulsar/workflows?tenant_id=acme\n"
        ),
        "{asked}"
    );
    assert!(asked.contains(r#""dry_run":true"#), "{asked}");
    let (code, what) = said(&bridge, &format!("{line} --tenant bravo"), false).await.unwrap_err();
    assert!(code == 2 && what.contains("is for tenant acme"), "{code} {what}");
}

#[tokio::test]
async fn all_pages_become_one_list() {
    let row = |id: &str| json!({ "execution_id": id, "workflow_id": "w", "lane": "short", "state": "failed", "accepted_at": "2026-11-21T07:22:55Z" });
    let bridge = Canned::with([
        (200, json!({ "executions": [row("b")], "next_cursor": "c1", "partial": true })),
        (200, json!({ "executions": [row("a")] })),
    ])
    .await;
    let all = said(&bridge, "execution list --all --state failed --lane short", true).await.unwrap();
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    assert_eq!((all["executions"].as_array().unwrap().len(), &all["partial"]), (2, &json!(false)));
    insta::assert_snapshot!(bridge.asked(), @"
    GET /pulsar/executions?state=failed&lane=short&limit=1000
    GET /pulsar/executions?state=failed&lane=short&limit=1000&cursor=c1
    ");
}

#[tokio::test]
async fn waiting_asks_until_it_has_ended_and_the_code_says_how() {
    let running = json!({ "execution_id": ID, "state": "running" });
    let succeeded = json!({ "execution_id": ID, "state": "succeeded", "evidence": "callback", "result": { "ok": true },
        "content_type": "application/json" });
    let bridge =
        Canned::with([(202, running.clone()), (503, json!({ "detail": "busy" })), (200, succeeded)]).await;
    let line = format!("execution wait {ID}");
    let text = said(&bridge, &line, false).await.unwrap();
    assert!(text.contains("succeeded (by callback)") && text.ends_with(r#"{"ok":true}"#), "{text}");
    assert_eq!(bridge.asked().lines().next().unwrap(), format!("GET /pulsar/executions/{ID}/result?wait=30"));
    let failed = Canned::with([(200, json!({ "execution_id": ID, "state": "dead_lettered" }))]).await;
    assert_eq!(said(&failed, &line, false).await.unwrap_err().0, 12);
    let forever = Canned::with([(202, running)]).await;
    let (code, what) = said(&forever, &format!("{line} --timeout 1"), true).await.unwrap_err();
    assert!(code == 10 && what.contains("has not ended yet"), "{code} {what}");
    let gone = Canned::with([(410, json!({ "detail": "the result is kept no longer" }))]).await;
    assert_eq!(said(&gone, &line, false).await.unwrap_err().0, 1);
}

#[tokio::test]
async fn many_are_counted_confirmed_and_watched() {
    let job = |state: &str, done: u64, failed: u64| json!({ "job_id": "j1", "kind": "replay", "state": state, "total": 3, "done": done, "skipped": 0, "failed": failed });
    let counted = json!({ "dry_run": true, "count": 3, "partial": false });
    let bridge = Canned::with([
        (200, counted.clone()),
        (202, job("running", 0, 0)),
        (200, job("running", 1, 0)),
        (200, job("done", 3, 0)),
    ])
    .await;
    let line = "replay --state dead_lettered --confirm 3 --per-second 20";
    let text = said(&bridge, line, false).await.unwrap();
    assert!(text.contains("done, 3 of 3 seen"), "{text}");
    insta::assert_snapshot!(bridge.asked(), @r#"
    POST /pulsar/replay
      {"dry_run":true,"filter":{"state":["dead_lettered"]}}
    POST /pulsar/replay
      {"dry_run":false,"expect":3,"filter":{"state":["dead_lettered"]},"per_second":20.0}
    GET /pulsar/jobs/j1
    GET /pulsar/jobs/j1
    "#);
    let other = Canned::with([(200, counted.clone())]).await;
    let (code, what) = said(&other, "replay --state dead_lettered --confirm 4", false).await.unwrap_err();
    assert!(code == 2 && what.contains("nothing was done"), "{code} {what}");
    assert_eq!(
        said(&other, "replay --yes", false).await.unwrap_err().0,
        2,
        "without a filter nothing is meant"
    );
    let partly = Canned::with([(200, counted), (202, job("running", 0, 0)), (200, job("done", 2, 1))]).await;
    assert_eq!(said(&partly, "replay --state failed --yes", false).await.unwrap_err().0, 1);
}

#[tokio::test]
async fn an_illegal_act_has_a_code_of_its_own() {
    let ended = json!({ "detail": "execution 1 is succeeded and cannot be cancelled any more; what it allows is: replay" });
    let bridge = Canned::with([(409, ended)]).await;
    let (code, what) =
        said(&bridge, &format!("execution cancel {ID} --reason mistake"), false).await.unwrap_err();
    assert!(code == 6 && what.contains("what it allows is: replay"), "{code} {what}");
    insta::assert_snapshot!(bridge.asked(), @r#"
    POST /pulsar/executions/019aa5c1-0000-7000-8000-000000000001/cancel
      {"reason":"mistake"}
    "#);
}

#[tokio::test]
async fn a_replay_whose_answer_is_lost_can_be_repeated_without_a_second_one() {
    let published = json!({ "execution_id": ID, "status": "accepted", "tenant_id": "acme", "workflow_id": "w", "lane": "short" });
    let away = json!({ "detail": "the database is out of reach" });
    let bridge = Canned::with([(503, away), (200, published)]).await;
    let (code, what) = said(&bridge, &format!("dlq replay {ID} --tenant acme"), false).await.unwrap_err();
    let (_, again) = what.split_once("bridgectl ").unwrap();
    assert!(
        code == 5 && again.starts_with(&format!("dlq replay {ID} --tenant acme --idempotency-key ")),
        "{what}"
    );
    said(&bridge, again, false).await.unwrap();
    said(&bridge, &format!("execution replay {ID}"), false).await.unwrap();
    let asked = bridge.asked();
    let keys: Vec<&str> = asked.lines().filter_map(|line| line.strip_prefix("  once: ")).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] == keys[1] && keys[1] != keys[2], "{asked}");
}

#[tokio::test]
async fn a_tenant_that_asks_for_the_status_is_told_its_own() {
    let own = json!({ "tenant_id": "acme", "now": "2026-11-21T12:00:00Z", "live": 2 });
    let bridge = Canned::with([(403, json!({})), (200, own)]).await;
    assert!(said(&bridge, "status", false).await.unwrap().contains("2 executions have not ended"));
    assert_eq!(bridge.asked(), "GET /pulsar/admin/status\nGET /pulsar/status");
}

#[tokio::test]
async fn dead_letters_and_holds_ask_for_what_the_flags_say() {
    let answer = json!({ "dead_letters": [], "holds": [], "execution_id": ID, "changed": true, "hold_id": "h", "reason": "r",
        "outcome": "created", "in_effect": true, "released": 1 });
    let bridge = Canned::with([(200, answer)]).await;
    for line in [
        "dlq list --lane ai --workflow w --reason payload_gone --discarded --limit 5",
        &format!("dlq discard {ID} --note known"),
        "hold h --lane ai --host crm.example.com --reason maintenance",
        "release h",
        "holds --tenant acme",
    ] {
        said(&bridge, line, false).await.unwrap();
    }
    insta::assert_snapshot!(bridge.asked(), @r#"
    GET /pulsar/dead-letters?lane=ai&workflow_id=w&reason=payload_gone&discarded=true&limit=5
    POST /pulsar/dead-letters/019aa5c1-0000-7000-8000-000000000001/discard
      {"note":"known"}
    PUT /pulsar/holds/h
      {"host":"crm.example.com","lane":"ai","reason":"maintenance"}
    DELETE /pulsar/holds/h
    GET /pulsar/holds?tenant_id=acme
    "#);
}
