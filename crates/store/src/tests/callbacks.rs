//! What a workflow reports, who is told of a bad end, and what is cancelled.

use bridge_protocol::{Reason, State};

use super::native::decide;
use super::*;
use crate::{CancelOutcome, Finished, Report, Reported, Reschedule, ResultBody, Why};

const HOUR: Duration = Duration::from_secs(3600);

fn token(attempt: u16) -> [u8; 32] {
    [attempt as u8; 32]
}

fn report(id: ExecutionId, attempt: u16, success: bool) -> Report {
    Report {
        tenant: tenant(),
        id,
        attempt,
        token_digest: token(attempt),
        report_digest: [u8::from(success); 32],
        success,
        result: Some(ResultBody {
            content_type: Some("application/json".to_owned()),
            body: Bytes::from_static(b"{\"done\":1}"),
            truncated: false,
            data_key: None,
        }),
        error: (!success).then(|| "it broke".to_owned()),
        n8n_execution_id: Some("4711".to_owned()),
    }
}

fn by_callback() -> NewExecution {
    NewExecution {
        completion: Completion::Callback,
        on_failure: Some(WorkflowId::parse("alarm").unwrap()),
        ..execution()
    }
}

fn wait(claim: &Claim) -> Reschedule {
    let why = Why::Wait {
        claim_id: claim.claim_id,
        http_status: Some(202),
        n8n_execution_id: Some("42".to_owned()),
    };
    Reschedule { tenant: tenant(), id: claim.id, attempt: claim.attempt, after: HOUR, why }
}

fn retry(claim: &Claim) -> Reschedule {
    let why = Why::Retry { claim_id: claim.claim_id, http_status: Some(503), error: None };
    Reschedule { tenant: tenant(), id: claim.id, attempt: claim.attempt, after: Duration::ZERO, why }
}

impl TestStore {
    async fn running(&self, new: NewExecution) -> Claim {
        let id = new.id;
        self.store.accept(new, PATIENCE).await.unwrap();
        self.next(id, 1).await
    }

    async fn next(&self, id: ExecutionId, attempt: u16) -> Claim {
        let claim = Claim { callback_digest: Some(token(attempt)), ..claim(id, attempt) };
        self.claimed(claim.clone()).await;
        claim
    }

    async fn reschedules(&self, row: Reschedule) -> Finished {
        self.store.reschedule(row, PATIENCE).await.unwrap()
    }

    async fn reports(&self, report: Report) -> Reported {
        self.store.report(report).await.unwrap()
    }

    async fn stands(&self, id: ExecutionId) -> crate::Execution {
        self.store.execution(&tenant(), id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn waited_for_and_reported() {
    let t = accepting().await;
    let claim = t.running(by_callback()).await;
    for _ in 0..2 {
        // The second time as after a lost answer.
        assert_eq!(t.reschedules(wait(&claim)).await, Finished::Done);
    }
    let read = t.stands(claim.id).await;
    assert_eq!((read.state, read.attempt, read.attempts.len()), (State::Waiting, 1, 0));
    assert_eq!((read.lease_until, read.n8n_execution_id.as_deref()), (read.due_at, Some("42")));
    t.assert_every_live_execution_has_its_timer().await;

    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::Done(State::Succeeded));
    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::Repeated(State::Succeeded));
    let other = Report { report_digest: [9; 32], ..report(claim.id, 1, true) };
    assert_eq!(t.reports(other).await, Reported::Conflict(State::Succeeded));
    assert_eq!(t.reports(report(claim.id, 1, false)).await, Reported::Conflict(State::Succeeded));
    let read = t.stands(claim.id).await;
    assert_eq!(read.evidence, Some(bridge_protocol::Evidence::Callback));
    assert_eq!(read.n8n_execution_id.as_deref(), Some("4711"));
    assert_eq!(t.number("SELECT count(*) FROM results WHERE attempt = 1").await, 1);
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
    assert_eq!(t.number("SELECT count(*) FROM follow_ups").await, 0);
}

#[tokio::test]
async fn a_repeat_is_known_when_its_result_is_kept_no_longer() {
    let t = accepting().await;
    let limits = crate::TenantLimits { result_ttl_s: Some(600), ..Default::default() };
    t.store.put_tenant(&actor(), &tenant(), None, Some(limits), None).await.unwrap();
    let id = ExecutionId::new(now() - chrono::TimeDelta::hours(2), &mut rand::rng());
    let claim = t.running(NewExecution { id, ..by_callback() }).await;
    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::Done(State::Succeeded));
    t.sql("UPDATE results SET recorded_at = recorded_at - interval '1 hour'").await;
    t.sql("UPDATE executions SET finished_at = finished_at - interval '1 hour'").await;
    assert_eq!(t.store.expire_results(10).await.unwrap(), 1);
    assert_eq!(t.number("SELECT count(*) FROM results").await, 0);
    assert!(t.store.result(&tenant(), id).await.unwrap().unwrap().expired);
    assert_eq!(t.reports(report(id, 1, true)).await, Reported::Repeated(State::Succeeded));
    // Retention takes a day's results long before its executions.
    let day = crate::Day::of(id).suffix();
    t.sql(&format!("DROP TABLE results_{day}")).await;
    assert_eq!(t.reports(report(id, 1, true)).await, Reported::Repeated(State::Succeeded));
    let other = Report { report_digest: [9; 32], ..report(id, 1, true) };
    assert_eq!(t.reports(other).await, Reported::Conflict(State::Succeeded));
}

#[tokio::test]
async fn a_callback_may_be_faster_than_the_answer() {
    let t = accepting().await;
    let claim = t.running(by_callback()).await;
    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::Done(State::Succeeded));
    assert_eq!(t.reschedules(wait(&claim)).await, Finished::LostFence(Some(State::Succeeded)));
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);

    let claim = t.running(by_callback()).await;
    assert_eq!(t.reports(report(claim.id, 1, false)).await, Reported::Done(State::Failed));
    let read = t.stands(claim.id).await;
    assert_eq!(read.reason.as_deref(), Some(Reason::ReportedFailure.as_str()));
    assert_eq!(read.error.as_deref(), Some("it broke"));
    assert_eq!(t.store.follow_ups(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_earlier_attempt_may_succeed_and_no_longer_fail() {
    let t = accepting().await;
    let first = t.running(by_callback()).await;
    assert_eq!(t.reschedules(wait(&first)).await, Finished::Done);
    t.lapse(first.id).await;
    assert_eq!(t.store.ring(10, decide).await.unwrap().rearmed, 1);
    let read = t.stands(first.id).await;
    assert_eq!((read.state, read.attempts[0].outcome.as_str()), (State::Retrying, "callback_timed_out"));
    assert_eq!(read.attempts[0].http_status, Some(202));
    let state = State::Retrying;
    assert_eq!(t.reports(report(first.id, 1, false)).await, Reported::NotCurrent { current: 2, state });

    let second = t.next(first.id, 2).await;
    assert_eq!(
        t.reports(report(first.id, 1, false)).await,
        Reported::NotCurrent { current: 2, state: State::Running }
    );
    // The token of the one attempt is none of the other.
    let swapped = Report { token_digest: token(1), ..report(first.id, 2, true) };
    assert_eq!(t.reports(swapped).await, Reported::BadToken);
    assert_eq!(t.reschedules(retry(&second)).await, Finished::Done);
    t.next(first.id, 3).await;
    for attempt in [1, 2] {
        assert_eq!(
            t.reports(report(first.id, attempt, false)).await,
            Reported::NotCurrent { current: 3, state: State::Running }
        );
    }
    assert_eq!(t.reports(report(first.id, 2, true)).await, Reported::Done(State::Succeeded));
    assert_eq!(t.reports(report(first.id, 2, true)).await, Reported::Repeated(State::Succeeded));
    assert_eq!(t.reports(report(first.id, 1, true)).await, Reported::Conflict(State::Succeeded));
    assert_eq!(t.number("SELECT attempt::int8 FROM results").await, 2);
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
}

#[tokio::test]
async fn a_lost_lease_keeps_its_token() {
    let t = accepting().await;
    let claim = t.running(by_callback()).await;
    t.lapse(claim.id).await;
    assert_eq!(t.store.ring(10, decide).await.unwrap().publish.len(), 1);
    t.next(claim.id, 2).await;
    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::Done(State::Succeeded));
}

#[tokio::test]
async fn without_its_token_nothing_is_believed() {
    let t = accepting().await;
    let claim = t.running(by_callback()).await;
    let good = report(claim.id, 1, true);
    for bad in [
        Report { token_digest: [7; 32], ..good.clone() },
        Report { attempt: 2, token_digest: token(2), ..good.clone() },
        Report { attempt: 0, token_digest: [0; 32], ..good.clone() },
        Report { attempt: u16::MAX, ..good.clone() },
        Report { tenant: named("globex"), ..good.clone() },
        Report { id: execution().id, ..good.clone() },
        // Of a day without a partition, and of one that no partition is named after.
        Report { id: "018bcfe5-6800-7000-8000-000000000000".parse().unwrap(), ..good.clone() },
        Report { id: "ffffffff-ffff-7000-8000-000000000000".parse().unwrap(), ..good.clone() },
    ] {
        let said = format!("{bad:?}");
        assert_eq!(t.reports(bad).await, Reported::BadToken, "{said}");
    }
    assert_eq!(t.stands(claim.id).await.state, State::Running);

    // Nobody reports on what its answer completes: no token of it is kept.
    let claim = t.running(execution()).await;
    assert_eq!(t.reports(report(claim.id, 1, true)).await, Reported::NotExpected);
    assert_eq!(t.number("SELECT count(*) FROM executions WHERE callback_digest IS NOT NULL").await, 1);
}

#[tokio::test]
async fn a_report_without_a_result_is_known_again() {
    let t = accepting().await;
    let claim = t.running(by_callback()).await;
    let bare = Report { result: None, ..report(claim.id, 1, true) };
    assert_eq!(t.reports(bare.clone()).await, Reported::Done(State::Succeeded));
    assert_eq!(t.reports(bare).await, Reported::Repeated(State::Succeeded));
    let read = t.store.result(&tenant(), claim.id).await.unwrap().unwrap();
    assert_eq!((read.body, read.expired), (None, false));
}

#[tokio::test]
async fn bad_ends_are_told_once_and_only_first_hand() {
    let t = accepting().await;
    // By its consumer, by its workflow, by its timer, by its expiry.
    let dead = t.running(by_callback()).await;
    let end = finish(&dead, Ending::DeadLettered(Reason::PermanentAnswer));
    for _ in 0..2 {
        assert_eq!(t.store.finish(end.clone(), PATIENCE).await.unwrap(), Finished::Done);
    }
    let reported = t.running(by_callback()).await;
    assert_eq!(t.reports(report(reported.id, 1, false)).await, Reported::Done(State::Failed));
    let native = NewExecution {
        completion: Completion::Response,
        mode: Mode::Native,
        native: Some(crate::NativeClaim { claim_id: id(), lease: HOUR }),
        ..by_callback()
    };
    t.store.accept(native.clone(), PATIENCE).await.unwrap();
    t.lapse(native.id).await;
    let expiring = NewExecution {
        expires_at: Some(now() - chrono::TimeDelta::seconds(1)),
        due_in: Duration::ZERO,
        ..by_callback()
    };
    t.store.accept(expiring.clone(), PATIENCE).await.unwrap();
    assert_eq!(t.store.ring(10, decide).await.unwrap().ended.len(), 2);
    let told = t.store.follow_ups(10).await.unwrap();
    let mut ids: Vec<ExecutionId> = told.iter().map(|told| told.id).collect();
    let mut bad = vec![dead.id, reported.id, native.id, expiring.id];
    ids.sort();
    bad.sort();
    assert_eq!(ids, bad);
    assert!(told.iter().all(|told| told.on_failure.as_str() == "alarm" && told.reason.is_some()), "{told:?}");

    // Good ends, cancelled ones, those with nobody to tell, and what itself tells of a bad end.
    let fine = t.running(by_callback()).await;
    assert_eq!(t.reports(report(fine.id, 1, true)).await, Reported::Done(State::Succeeded));
    let cancelled = t.running(by_callback()).await;
    t.store.cancel_one("op", &tenant(), cancelled.id, &[], None).await.unwrap();
    let alone = t.running(NewExecution { on_failure: None, ..by_callback() }).await;
    let telling = t.running(NewExecution { caused_by: Some(dead.id.uuid()), ..by_callback() }).await;
    for claim in [alone, telling] {
        assert_eq!(t.reports(report(claim.id, 1, false)).await, Reported::Done(State::Failed));
    }
    assert_eq!(t.store.follow_ups(10).await.unwrap().len(), 4);

    // A closed tenant's wait and stand in nobody's way.
    t.sql("UPDATE tenants SET state = 1 WHERE id = 'acme'").await;
    assert_eq!(t.store.follow_ups(10).await.unwrap().len(), 0);
    t.sql("UPDATE tenants SET state = 0 WHERE id = 'acme'").await;

    // What cannot be told now is put off, ever longer, and is not lost.
    let key = [(tenant(), dead.id)];
    let pause = async || {
        t.number("SELECT round(extract(epoch FROM max(not_before) - now()))::int8 FROM follow_ups").await
    };
    for seconds in [5, 10, 20] {
        t.store.put_off_follow_ups(&key).await.unwrap();
        let seen = pause().await;
        assert!((seen - seconds).abs() <= 2, "put off for {seen} s instead of {seconds} s");
    }
    assert_eq!(t.store.follow_ups(10).await.unwrap().len(), 3);
    for _ in 0..30 {
        t.store.put_off_follow_ups(&key).await.unwrap();
    }
    assert!(pause().await <= 300);
    t.sql("UPDATE follow_ups SET not_before = now() WHERE not_before IS NOT NULL").await;
    assert_eq!(t.store.follow_ups(10).await.unwrap().len(), 4);
    let keys: Vec<(TenantId, ExecutionId)> = told.into_iter().map(|told| (told.tenant, told.id)).collect();
    for _ in 0..2 {
        t.store.followed_up(&keys).await.unwrap();
    }
    assert_eq!(t.number("SELECT count(*) FROM follow_ups").await, 0);
}

#[tokio::test]
async fn what_lives_is_cancelled_and_what_is_over_says_so() {
    let t = accepting().await;
    let cancel = async |id, reason| t.store.cancel_one("svc_op", &tenant(), id, &[], reason).await.unwrap();
    let accepted = t.accepted().await.id;
    let (running, waiting, retrying) =
        (t.running(execution()).await, t.running(by_callback()).await, t.running(execution()).await);
    t.reschedules(wait(&waiting)).await;
    t.reschedules(retry(&retrying)).await;
    let live = [
        (accepted, State::Accepted),
        (running.id, State::Running),
        (waiting.id, State::Waiting),
        (retrying.id, State::Retrying),
    ];
    for (id, from) in live {
        assert_eq!(cancel(id, Some("wrong order")).await, Some(CancelOutcome::Cancelled { from }));
        assert_eq!(cancel(id, None).await, Some(CancelOutcome::Ended(State::Cancelled)));
        let read = t.stands(id).await;
        assert_eq!(read.error.as_deref(), Some("cancelled by svc_op: wrong order"));
    }
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
    // Its consumer and its workflow come too late.
    let ending = Ending::Succeeded { evidence: bridge_protocol::Evidence::Response, result: None };
    let late = t.store.finish(finish(&running, ending), PATIENCE).await.unwrap();
    assert_eq!(late, Finished::LostFence(Some(State::Cancelled)));
    assert_eq!(t.reports(report(waiting.id, 1, true)).await, Reported::Conflict(State::Cancelled));
    for unknown in ["018bcfe5-6800-7000-8000-000000000000", "ffffffff-ffff-7000-8000-000000000000"] {
        assert_eq!(cancel(unknown.parse().unwrap(), None).await, None);
    }
    let foreign = t.store.cancel_one("op", &named("globex"), running.id, &[], None).await.unwrap();
    assert_eq!(foreign, None);
}

#[tokio::test]
async fn what_has_left_the_states_that_were_asked_for_is_spared() {
    let t = accepting().await;
    let only = [State::Accepted, State::Retrying];
    let cancel = async |id| t.store.cancel_one("op", &tenant(), id, &only, None).await.unwrap().unwrap();
    let running = t.running(by_callback()).await;
    assert_eq!(cancel(running.id).await, CancelOutcome::Spared(State::Running));
    t.reschedules(wait(&running)).await;
    assert_eq!(cancel(running.id).await, CancelOutcome::Spared(State::Waiting));
    assert_eq!(t.stands(running.id).await.state, State::Waiting);
    t.assert_every_live_execution_has_its_timer().await;
    let accepted = t.accepted().await.id;
    assert_eq!(cancel(accepted).await, CancelOutcome::Cancelled { from: State::Accepted });
    assert_eq!(cancel(accepted).await, CancelOutcome::Ended(State::Cancelled));
}

#[tokio::test]
async fn of_many_who_would_end_it_one_does() {
    let t = accepting().await;
    let claims: Vec<Claim> =
        futures::future::join_all((0..200).map(async |_| t.running(by_callback()).await)).await;
    for claim in &claims {
        assert_eq!(t.reschedules(wait(claim)).await, Finished::Done);
    }
    t.sql("WITH e AS (UPDATE executions SET lease_until = now() - interval '1 hour', due_at = now()) UPDATE timers SET due_at = now()").await;
    let ringing = async {
        for _ in 0..20 {
            t.store.ring(50, decide).await.unwrap();
        }
    };
    let ends = futures::future::join_all(claims.iter().map(async |claim| {
        let other = Report { report_digest: [9; 32], ..report(claim.id, 1, true) };
        let acme = tenant();
        let (one, two, cancel) = tokio::join!(
            t.store.report(report(claim.id, 1, true)),
            t.store.report(other),
            t.store.cancel_one("op", &acme, claim.id, &[], None)
        );
        let won = [one.unwrap(), two.unwrap()].iter().filter(|r| matches!(r, Reported::Done(_))).count();
        won + usize::from(matches!(cancel.unwrap(), Some(CancelOutcome::Cancelled { .. })))
    }));
    let (ends, ()) = tokio::join!(ends, ringing);
    assert!(ends.iter().all(|won| *won == 1), "{ends:?}");
    assert_eq!(t.number("SELECT count(*) FROM executions WHERE state NOT IN (4, 7)").await, 0);
    // A timer that was re-armed beside the end is an orphan at most, and is deleted when it rings.
    t.sql("UPDATE timers SET due_at = now()").await;
    t.store.ring(500, decide).await.unwrap();
    assert_eq!(t.number("SELECT count(*) FROM timers").await, 0);
}
