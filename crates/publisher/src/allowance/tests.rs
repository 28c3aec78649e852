use super::*;
use bridge_store::{TenantLimits, TenantState};

fn tenant(limits: TenantLimits) -> Tenant {
    Tenant::new(TenantId::parse("acme").unwrap(), TenantState::Active, limits)
}

fn now() -> Time {
    "2026-01-31T09:00:00Z".parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_is_said_and_nothing_refused() {
    let allowances = Allowances::default();
    let tenant = tenant(TenantLimits::default());
    for _ in 0..1000 {
        assert!(allowances.pass(&tenant, 1000).unwrap().0.is_none());
        allowances.charge(&tenant, usize::MAX / 4096, now()).unwrap().keep();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_shared_by_the_living_publishers() {
    let allowances = Allowances::default();
    let tenant = tenant(TenantLimits { requests_per_second: Some(10.0), ..TenantLimits::default() });
    let standing = allowances.pass(&tenant, 1).unwrap().0.unwrap();
    assert_eq!((standing.quota, standing.left, standing.window), (10, 9, Duration::from_secs(1)));

    tokio::time::advance(Duration::from_secs(1)).await;
    allowances.publishers.store(4, Relaxed);
    assert_eq!(allowances.pass(&tenant, 3).unwrap().0.unwrap().left, 0);
    let refusal = allowances.pass(&tenant, 1).unwrap_err();
    assert_eq!(refusal.problem.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refusal.metered.0.unwrap().full_in, Duration::from_millis(400));
    tokio::time::advance(Duration::from_millis(400)).await;
    assert!(allowances.pass(&tenant, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_slow_rate_lets_one_pass_at_once() {
    let allowances = Allowances::default();
    let tenant = tenant(TenantLimits { requests_per_second: Some(0.5), ..TenantLimits::default() });
    let standing = allowances.pass(&tenant, 1).unwrap().0.unwrap();
    assert_eq!((standing.quota, standing.window), (1, Duration::from_secs(2)));
    assert!(allowances.pass(&tenant, 1).is_err());
    allowances.give_back(&tenant, 1);
    assert!(allowances.pass(&tenant, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_names_the_quota_its_value_and_its_end() {
    let allowances = Allowances::default();
    let limits = TenantLimits { payload_bytes_per_day: Some(100), ..TenantLimits::default() };
    let bytes = tenant(limits);
    allowances.charge(&bytes, 100, now()).unwrap().keep();
    let problem = allowances.charge(&bytes, 1, now()).unwrap_err();
    assert_eq!(problem.status(), StatusCode::FORBIDDEN);
    for part in ["payload_bytes_per_day", "100 bytes", "2026-02-01T00:00:00Z"] {
        assert!(problem.detail().contains(part), "{}", problem.detail());
    }

    let open = tenant(TenantLimits { open_executions: Some(2), ..TenantLimits::default() });
    // The charge above stands in the same account.
    let second = allowances.charge(&open, 0, now()).unwrap();
    assert!(allowances.charge(&open, 0, now()).unwrap_err().detail().contains("2 open executions"));
    drop(second);
    assert!(allowances.charge(&open, 0, now()).is_ok());
}
