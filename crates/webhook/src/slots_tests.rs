#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::breaker::BreakerConfig;

fn slots(limits: SlotLimits) -> Slots {
    Slots::new(limits, Breakers::new(BreakerConfig { failures: 1, ..BreakerConfig::default() }))
}

fn key(tenant: &str, workflow: &str, url: &str) -> SlotKey {
    let tenant = TenantId::parse(tenant).unwrap();
    SlotKey::new(&tenant, &workflow.parse().unwrap(), Lane::Short, &url.parse().unwrap())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

async fn refused(slots: &Slots, key: &SlotKey) -> NoSlotReason {
    slots.acquire(key, Some(1), 5, soon()).await.unwrap_err().reason
}

#[tokio::test(start_paused = true)]
async fn each_cap_refuses_by_its_own_name_and_holds_nobody_else() {
    let limits = SlotLimits { global: 3, per_host: 2, ..SlotLimits::default() };
    let slots = slots(limits);
    let (a, b, c) = (key("t", "a", "http://h/a"), key("t", "b", "http://h/b"), key("t", "c", "http://h/c"));
    let elsewhere = key("t", "d", "http://other/d");
    let first = slots.acquire(&a, Some(1), 5, soon()).await.unwrap();
    assert_eq!(refused(&slots, &a).await, NoSlotReason::Concurrency);
    let second = slots.acquire(&b, Some(1), 5, soon()).await.unwrap();
    assert_eq!(refused(&slots, &c).await, NoSlotReason::Host);
    let third = slots.acquire(&elsewhere, Some(1), 5, soon()).await.unwrap();
    assert_eq!(refused(&slots, &key("u", "a", "http://third/a")).await, NoSlotReason::Global);
    drop((first, second, third));
    assert_eq!(slots.free(), 3);
    assert_eq!((slots.workflows.len(), slots.hosts.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_at_once_and_names_its_time() {
    let slots = slots(SlotLimits::default());
    let key = key("t", "a", "https://h/a?secret=1");
    slots.acquire(&key, None, 5, soon()).await.unwrap().report(false);
    let before = Instant::now();
    assert_eq!(refused(&slots, &key).await, NoSlotReason::Breaker { retry_after: Duration::from_secs(10) });
    assert_eq!(Instant::now(), before);
    let listed = slots.breakers().list().remove(0).endpoint;
    assert_eq!((listed.to_string().as_str(), listed.host()), ("https://h:443/a", key.host()));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_workflow_does_not_delay_its_neighbour() {
    let slots = slots(SlotLimits::default());
    let (stuck, well) = (key("t", "stuck", "http://h/stuck"), key("t", "well", "http://h/well"));
    let _held = slots.acquire(&stuck, Some(1), 5, soon()).await.unwrap();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (slots, stuck) = (slots.clone(), stuck.clone());
            tokio::spawn(async move { slots.acquire(&stuck, Some(1), 5, soon()).await.is_err() })
        })
        .collect();
    tokio::task::yield_now().await;
    let before = Instant::now();
    drop(slots.acquire(&well, Some(1), 5, soon()).await.unwrap());
    assert_eq!(Instant::now(), before);
    for waiter in waiting {
        assert!(waiter.await.unwrap());
    }
}
