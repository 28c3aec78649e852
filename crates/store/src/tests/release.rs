//! Parked executions of a tenant that may go on.

use super::*;
use crate::{Finished, Reschedule, Why};

const FAR: Duration = Duration::from_secs(300);

async fn put_off(t: &TestStore, new: &NewExecution, attempt: u16, why: Why) {
    let row = Reschedule { tenant: new.tenant.clone(), id: new.id, attempt, after: FAR, why };
    assert_eq!(t.store.reschedule(row, PATIENCE).await.unwrap(), Finished::Done);
}

#[tokio::test]
async fn what_was_parked_becomes_due_and_nothing_else() {
    let t = accepting().await;
    let park = || Why::Park { longest: FAR };
    let (parked, other_tenants, delayed, retrying) = (
        t.accepted().await,
        NewExecution { tenant: TenantId::parse("globex").unwrap(), ..execution() },
        NewExecution { deliver_at: Some(now() + FAR), due_in: FAR, handed_off: false, ..execution() },
        t.accepted().await,
    );
    t.store.accept(other_tenants.clone(), PATIENCE).await.unwrap();
    t.store.accept(delayed.clone(), PATIENCE).await.unwrap();
    put_off(&t, &parked, 1, park()).await;
    put_off(&t, &other_tenants, 1, park()).await;
    let first = claim(retrying.id, 1);
    t.claimed(first.clone()).await;
    let why = Why::Retry { claim_id: first.claim_id, http_status: None, error: None };
    put_off(&t, &retrying, 1, why).await;

    assert_eq!(t.store.release_held(&tenant(), None, None).await.unwrap(), 1);
    assert_eq!(t.number("SELECT count(*) FROM timers WHERE due_at <= now()").await, 1);
    let due = format!("SELECT count(*) FROM timers WHERE due_at <= now() AND execution_id = '{}'", parked.id);
    assert_eq!(t.number(&due).await, 1);
    assert_eq!(t.store.release_held(&tenant(), None, None).await.unwrap(), 0, "done already");
    t.assert_every_live_execution_has_its_timer().await;
    t.claimed(claim(parked.id, 1)).await;
}

#[tokio::test]
async fn many_are_released_in_batches_beside_what_stays() {
    let t = accepting().await;
    for _ in 0..3 {
        let rows: Vec<_> = (0..401).map(|_| execution()).collect();
        t.store.accept_all(rows, PATIENCE).await.unwrap();
    }
    // As if all were parked, half of them for the same instant.
    t.sql("WITH d AS (DELETE FROM timers), e AS (UPDATE executions SET parks = 1, published_at = NULL,
             due_at = now() + interval '5 min' + (get_byte(uuid_send(id), 15) % 2 * get_byte(uuid_send(id), 14)) * interval '1 s'
             RETURNING due_at, tenant_id, id)
           INSERT INTO timers SELECT * FROM e")
        .await;
    let acme = tenant();
    let (one, two) =
        tokio::join!(t.store.release_held(&acme, None, None), t.store.release_held(&acme, None, None));
    // Two consumers see a tenant resume at the same moment.
    assert_eq!(one.unwrap() + two.unwrap(), 1203);
    assert_eq!(t.number("SELECT count(*) FROM timers WHERE due_at <= now()").await, 1203);
    t.assert_every_live_execution_has_its_timer().await;
}
