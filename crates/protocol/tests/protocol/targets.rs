//! Where a workflow is fired, and by which rules.

use std::time::Duration;

use bridge_protocol::{BodyShape, Defaults, Lane, OnUnknown, RouteTable, Target};

use crate::routing::{defaults, table, tenant, workflow};

fn target(table: &RouteTable, id: &str, lane: Lane) -> Target {
    table.target(&tenant(), &workflow(id), lane)
}

#[test]
fn targets() {
    let table = table(
        defaults(),
        &[
            (
                "own",
                r#"{"webhook_url": "https://hooks.example.com/{workflow_id}", "timeout_ms": 1500,
                    "callback_timeout_s": 60, "on_unknown": "dead_letter", "max_concurrency": 1, "is_active": false,
                    "credential": "n8n-login", "retry": {"max_attempts": 3}, "body": "payload", "priority": 9}"#,
            ),
            ("plain", "{}"),
        ],
    );
    let own = target(&table, "own", Lane::Ai);
    assert_eq!(own.url, "https://hooks.example.com/own");
    assert_eq!((own.timeout, own.callback_timeout), (Duration::from_millis(1500), Duration::from_secs(60)));
    assert_eq!((own.on_unknown, own.max_concurrency), (OnUnknown::DeadLetter, Some(1)));
    assert_eq!((own.retry.max_attempts, own.retry.base_ms), (3, 1000));
    assert!(!own.is_active);
    assert_eq!(
        (own.credential.as_deref(), own.body, own.priority),
        (Some("n8n-login"), BodyShape::Payload, 9)
    );

    for id in ["plain", "orders/new"] {
        let target = target(&table, id, Lane::Ai);
        assert_eq!(target.url, format!("http://n8n:5678/webhook/{id}"));
        assert_eq!(target.timeout, Duration::from_secs(120));
        assert_eq!((target.callback_timeout, target.body), (Duration::from_secs(3600), BodyShape::Envelope));
        assert!(target.is_active);
    }
}

#[test]
fn the_url_is_the_routes_the_override_the_tenants_default_the_operators_or_n8ns() {
    let overrides = [("ORDERS_NEW".to_owned(), "http://special/{workflow_id}".to_owned())].into();
    let whole = Defaults { n8n_base_url: Some("http://n8n:5678/".into()), overrides, ..defaults() };
    let url = |table: &RouteTable, id| target(table, id, Lane::Long).url;
    let bare = table(whole.clone(), &[]);
    assert_eq!(url(&bare, "orders/new"), "http://special/orders/new");
    let both = Defaults { default_url: "http://any/".into(), ..whole.clone() };
    assert_eq!(url(&table(both, &[]), "w"), "http://any/");
    let base_only = Defaults { default_url: String::new(), ..whole.clone() };
    assert_eq!(url(&table(base_only, &[]), "w"), "http://n8n:5678/webhook/w");
    let routed = table(
        whole,
        &[
            ("orders/new", "{}"),
            ("own", r#"{"webhook_url": "https://own.example/"}"#),
            ("default", r#"{"webhook_url": "https://tenant.example/{workflow_id}"}"#),
        ],
    );
    assert_eq!(url(&routed, "orders/new"), "http://special/orders/new");
    assert_eq!(url(&routed, "own"), "https://own.example/");
    assert_eq!(url(&routed, "w"), "https://tenant.example/w");
}

#[test]
fn a_workflows_route_leaves_open_what_the_tenants_default_says() {
    let table = table(
        defaults(),
        &[
            ("open", r#"{"priority": 1}"#),
            ("elsewhere", r#"{"webhook_url": "https://else.example/"}"#),
            (
                "default",
                r#"{"webhook_url": "https://t.example/", "credential": "login", "timeout_ms": 900, "max_concurrency": 2,
                    "priority": 8, "is_active": false}"#,
            ),
        ],
    );
    let open = target(&table, "open", Lane::Long);
    assert_eq!(
        (open.credential.as_deref(), open.timeout.as_millis(), open.max_concurrency),
        (Some("login"), 900, Some(2))
    );
    assert_eq!((open.priority, open.is_active), (1, true));
    // A login goes only where it was meant to go.
    assert_eq!(target(&table, "elsewhere", Lane::Long).credential, None);
    let unrouted = target(&table, "w", Lane::Long);
    assert_eq!(
        (unrouted.credential.as_deref(), unrouted.priority, unrouted.is_active),
        (Some("login"), 8, false)
    );
}

#[test]
fn a_login_meant_for_the_tenants_url_does_not_go_to_an_override() {
    let overrides = [("SPECIAL".to_owned(), "http://special/".to_owned())].into();
    let defaults = Defaults { overrides, ..defaults() };
    let login = |routes: &[(&str, &str)], id| {
        let table = table(defaults.clone(), routes);
        target(&table, id, Lane::Long).credential
    };
    let there = ("default", r#"{"webhook_url": "https://t.example/", "credential": "login"}"#);
    let anywhere = ("default", r#"{"credential": "login"}"#);
    for own in [None, Some(("special", "{}"))] {
        let with = |default| own.into_iter().chain([default]).collect::<Vec<_>>();
        assert_eq!(login(&with(there), "special"), None);
        assert_eq!(login(&with(there), "w").as_deref(), Some("login"));
        assert_eq!(login(&with(anywhere), "special").as_deref(), Some("login"));
    }
    assert_eq!(login(&[there, ("special", r#"{"credential": "own"}"#)], "special").as_deref(), Some("own"));
}
