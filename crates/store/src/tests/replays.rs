//! Which dead letters a replay of many leaves out.

use bridge_protocol::{Reason, State};

use super::*;
use crate::{Filter, Idempotency, PayloadSize};

const JOB: &str = " job:1:2";

async fn dead(t: &TestStore, metadata: Option<&str>) -> ExecutionId {
    let new = NewExecution { metadata: metadata.map(str::to_owned), ..execution() };
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    let first = claim(new.id, 1);
    t.claimed(first.clone()).await;
    t.store.finish(finish(&first, Ending::DeadLettered(Reason::PermanentAnswer)), PATIENCE).await.unwrap();
    new.id
}

async fn replayed(t: &TestStore, old: ExecutionId, key: &str) {
    let idempotency = Some(Idempotency { key: key.to_owned(), digest: [0; 32] });
    let new = NewExecution { idempotency, ..execution() };
    t.store.accept(new.clone(), PATIENCE).await.unwrap();
    t.store.link_replay(&tenant(), old, new.id).await.unwrap();
}

#[tokio::test]
async fn a_letter_that_was_replayed_or_put_away_is_settled() {
    let t = accepting().await;
    let (s, acme) = (&t.store, &tenant());
    let settled = async |id| s.is_settled(acme, id, JOB).await.unwrap();
    let (open, by_hand, by_job, put_away) = (
        dead(&t, Some("{\"n\":1}")).await,
        dead(&t, Some("{\"n\":1}")).await,
        dead(&t, None).await,
        dead(&t, None).await,
    );
    replayed(&t, by_hand, "mine").await;
    replayed(&t, by_job, JOB).await;
    s.discard(&actor(), acme, put_away, "known").await.unwrap();
    assert!(!settled(open).await);
    assert!(settled(by_hand).await);
    assert!(!settled(by_job).await, "the same job finds what it did");
    assert!(settled(put_away).await);
    assert!(!settled(t.accepted().await.id).await, "no letter");
    assert!(!s.is_settled(&named("globex"), put_away, JOB).await.unwrap());
    replayed(&t, by_job, "by hand, after the job").await;
    assert!(settled(by_job).await);

    let count = async |filter: Filter| s.count_settled(acme, &filter, 1_000).await.unwrap();
    let dead = |states: &[State]| Filter { states: states.to_vec(), ..Filter::default() };
    let only = [State::DeadLettered];
    assert_eq!(count(dead(&only)).await, 3);
    assert_eq!(count(dead(&[State::Failed, State::DeadLettered])).await, 3);
    assert_eq!(count(dead(&[State::Failed])).await, 0);
    assert_eq!(count(Filter { metadata: Some("{\"n\":1}".to_owned()), ..dead(&only) }).await, 1);
    assert_eq!(count(Filter { reason: Some(Reason::AttemptsExhausted), ..dead(&only) }).await, 0);
    assert_eq!(count(Filter { lane: Some(Lane::Long), ..dead(&only) }).await, 3);
    assert_eq!(count(Filter { until: Some(open.created_at()), ..dead(&only) }).await, 0);
    assert_eq!(s.count_settled(acme, &dead(&only), 2).await.unwrap(), 2);
    assert_eq!(s.count_settled(&named("globex"), &dead(&only), 9).await.unwrap(), 0);
}

/// Whether it may be copied is decided by its size, before it is read.
#[tokio::test]
async fn what_would_be_copied_is_told_without_the_payload() {
    let t = accepting().await;
    let (plain, sealed) = (execution(), NewExecution { data_key: Some(id()), ..execution() });
    for new in [&plain, &sealed] {
        t.store.accept(new.clone(), PATIENCE).await.unwrap();
        let found = t.store.replayable(&tenant(), new.id).await.unwrap().unwrap();
        let size = PayloadSize { bytes: new.payload.len(), sealed: new.data_key.is_some() };
        assert_eq!((found.state, found.payload, found.psh), (State::Accepted, Some(size), new.psh));
        assert_eq!(t.store.payload(&tenant(), new.id).await.unwrap(), Some(stored(new)));
    }
}
