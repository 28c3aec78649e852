use std::collections::HashSet;

use bridge_protocol::{
    ExecutionId, Lane, Reason, TenantId, TopicAddress, TopicNames, WorkflowId, logical_topic,
};
use proptest::prelude::*;
use rand::SeedableRng;
use uuid::Uuid;

use crate::at;

#[test]
fn tenant_ids() {
    for good in ["a", "0", "acme", "acme-2", "a-", &"a".repeat(63)] {
        assert_eq!(TenantId::parse(good).unwrap().as_str(), good);
    }
    for bad in ["", "-a", "Acme", "a.b", "a_b", "a b", "a/b", "ä", "a\0", &"a".repeat(64)] {
        assert!(TenantId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn workflow_ids() {
    let longest = "a".repeat(200);
    for good in ["a", "order-sync", "v1/orders/:id", "A.b_c~d", "0", "a...", longest.as_str()] {
        assert_eq!(WorkflowId::parse(good).unwrap().as_str(), good);
    }
    let too_long = "a".repeat(201);
    for bad in [
        "",
        "/a",
        "a/",
        "a//b",
        "a/../b",
        "a/./b",
        "a/..",
        ".a",
        "-a",
        ":a",
        "a b",
        "a?b",
        "a#b",
        "a%2fb",
        "a\\b",
        "ä",
        "a\0",
        too_long.as_str(),
    ] {
        assert!(WorkflowId::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn execution_ids_are_version_7_and_carry_their_time() {
    let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
    let id = ExecutionId::new(at(1_763_712_000), &mut rng);
    assert_eq!(id.created_at(), at(1_763_712_000));
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(ExecutionId::from_uuid(id.uuid()), Some(id));
    assert_eq!(serde_json::from_str::<ExecutionId>(&format!("\"{id}\"")).unwrap(), id);
    assert!(ExecutionId::new(at(1_763_712_001), &mut rng) > id);
    assert_eq!(ExecutionId::from_uuid(Uuid::from_u128(0)), None);
    for bad in [
        "",
        "6f1f4f0e-3c1a-4a57-9d0e-0b6f5f0d9c11",
        &id.uuid().simple().to_string(),
        &id.uuid().braced().to_string(),
        &format!("{id} "),
    ] {
        assert!(bad.parse::<ExecutionId>().is_err(), "{bad:?}");
    }
}

#[test]
fn default_topics_are_the_documented_ones() {
    let names = TopicNames::default();
    let tenant = TenantId::parse("dealscale").unwrap();
    assert_eq!(names.check(), Ok(()));
    assert_eq!(
        Lane::ALL.iter().map(|lane| names.topic(&tenant, *lane)).collect::<Vec<_>>(),
        [
            "persistent://dealscale/workflows/dealscale.workflow.short",
            "persistent://dealscale/workflows/dealscale.workflow.long",
            "persistent://dealscale/workflows/dealscale.ai.inference",
            "persistent://dealscale/workflows/dealscale.analytics.events",
        ]
    );
    assert_eq!(
        names.dead_letter(&tenant, Lane::Ai),
        "persistent://dealscale/workflows/dealscale.deadletter.dealscale.ai.inference"
    );
}

#[test]
fn foreign_topics_have_no_address() {
    let names = TopicNames::default();
    for topic in [
        "",
        "persistent://acme/workflows",
        "persistent://acme/workflows/",
        "persistent://acme/workflows/other",
        "persistent://acme/other/dealscale.workflow.long",
        "persistent://acme/workflowsx/dealscale.workflow.long",
        "persistent://ACME/workflows/dealscale.workflow.long",
        "persistent:///workflows/dealscale.workflow.long",
        "non-persistent://acme/workflows/dealscale.workflow.long",
        "persistent://acme/workflows/dealscale.workflow.long-partition-",
        "persistent://acme/workflows/dealscale.workflow.long-partition-x",
        "persistent://acme/workflows/dealscale.deadletter.dealscale.deadletter.dealscale.workflow.long",
    ] {
        assert_eq!(names.parse(topic), None, "{topic}");
    }
}

#[test]
fn a_template_that_does_not_lead_back_is_refused() {
    let default = TopicNames::default;
    for names in [
        TopicNames { short: "x".into(), long: "x".into(), ..default() },
        TopicNames { dead_letter_prefix: String::new(), ..default() },
        TopicNames {
            short: "dl.long".into(),
            long: "long".into(),
            dead_letter_prefix: "dl.".into(),
            ..default()
        },
        TopicNames { ai: "ai-partition-1".into(), ..default() },
        TopicNames { ai: String::new(), ..default() },
        TopicNames { ai: "a/b".into(), ..default() },
        TopicNames { namespace: String::new(), ..default() },
    ] {
        assert!(names.check().is_err(), "{names:?}");
    }
}

#[test]
fn names_and_codes_lead_back() {
    let names: HashSet<&str> = Lane::ALL.iter().map(|lane| lane.as_str()).collect();
    assert_eq!(names, HashSet::from(["short", "long", "ai", "analytics"]));
    for lane in Lane::ALL {
        assert_eq!(lane.as_str().parse(), Ok(*lane));
        assert_eq!(Lane::from_code(lane.code()), Some(*lane));
        assert_eq!(serde_json::to_string(lane).unwrap(), format!("\"{lane}\""));
    }
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(*reason));
    }
    assert_eq!(Lane::from_code(4), None);
    assert_eq!(
        "fast".parse::<Lane>().unwrap_err().to_string(),
        "\"fast\" is not a known lane; use one of short, long, ai, analytics"
    );
}

proptest! {
    #[test]
    fn topics_lead_back(
        tenant in "[a-z0-9][a-z0-9-]{0,62}", namespace in "[a-z][a-z0-9._-]{0,20}",
        parts in prop::collection::hash_set("[a-z0-9][a-z0-9._-]{0,20}", 5),
        lane in prop::sample::select(Lane::ALL), dead_letter: bool, partition in prop::option::of(any::<u32>()),
    ) {
        let tenant = TenantId::parse(&tenant).unwrap();
        let mut parts = parts.into_iter();
        let mut part = || parts.next().unwrap();
        let names = TopicNames {
            namespace, short: part(), long: part(), ai: part(), analytics: part(), dead_letter_prefix: part(),
        };
        prop_assume!(names.check().is_ok());
        let topic = if dead_letter { names.dead_letter(&tenant, lane) } else { names.topic(&tenant, lane) };
        let received = match partition {
            Some(n) => format!("{topic}-partition-{n}"),
            None => topic.clone(),
        };
        prop_assert_eq!(logical_topic(&received), &topic);
        prop_assert_eq!(names.parse(&received), Some(TopicAddress { tenant, lane, dead_letter }));
    }

    #[test]
    fn parsing_a_topic_never_panics(text in ".{0,80}") {
        let _ = TopicNames::default().parse(&text);
        let _ = (TenantId::parse(&text), WorkflowId::parse(&text), text.parse::<ExecutionId>());
    }
}
