//! Jobs: one worker at a time, no step lost, none counted twice.

use bridge_protocol::State;

use super::*;
use crate::{AdminError, Filter, JobKind, JobProgress, JobState, NewJob};

const LEASE: Duration = Duration::from_secs(60);
const OPEN: u32 = 20;

pub fn new_job(tenant: &str) -> NewJob {
    NewJob {
        id: ExecutionId::new(now(), &mut rand::rng()).uuid(),
        tenant: named(tenant),
        kind: JobKind::Replay,
        filter: Filter {
            states: vec![State::DeadLettered],
            workflow: Some(WorkflowId::parse("orders").unwrap()),
            since: chrono::DateTime::from_timestamp_millis(1_795_219_200_000),
            metadata: Some("{\"a\":1}".to_owned()),
            ..Filter::default()
        },
        per_second: 2.5,
        total: 7,
    }
}

fn to(position: ExecutionId, done: u64) -> JobProgress {
    JobProgress { position: Some(position), done, ..JobProgress::default() }
}

#[tokio::test]
async fn a_job_is_created_once_and_shown_to_its_tenant_only() {
    let t = accepting().await;
    let (s, a) = (&t.store, &actor());
    let new = new_job("acme");
    let job = s.create_job(a, &new, OPEN).await.unwrap();
    assert_eq!(
        (job.state, job.kind, job.total, job.per_second),
        (JobState::Running, JobKind::Replay, 7, 2.5)
    );
    assert_eq!((job.created_by.as_str(), job.position), ("svc_root", None));
    assert_eq!(job.filter().unwrap(), new.filter);
    assert_eq!(s.create_job(a, &new, OPEN).await.unwrap(), job);
    assert_eq!(t.number("SELECT count(*) FROM audit_log WHERE action = 'job.create'").await, 1);
    assert_eq!(s.job(&tenant(), job.id).await.unwrap().as_ref(), Some(&job));
    assert_eq!(s.job(&named("globex"), job.id).await.unwrap(), None);
    let foreign = s.create_job(a, &NewJob { id: new.id, ..new_job("globex") }, OPEN).await;
    assert!(matches!(foreign, Err(AdminError::Conflict(_))), "{foreign:?}");
    let foreign = s.set_job_state(a, &named("globex"), job.id, JobState::Paused).await.unwrap();
    assert_eq!(foreign, None);
    let second = s.create_job(a, &NewJob { kind: JobKind::Cancel, ..new_job("acme") }, OPEN).await.unwrap();
    let listed = s.jobs(&tenant(), None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).max(), Some(listed[0].id));
    assert_eq!(listed.len(), 2);
    assert_eq!(s.jobs(&tenant(), Some(listed[0].id), 10).await.unwrap(), listed[1..]);
    assert!(listed.contains(&second));
}

#[tokio::test]
async fn two_workers_never_hold_one_job() {
    let t = accepting().await;
    let s = &t.store;
    for number in 0..5 {
        let tenant = format!("tenant-{number}");
        s.put_tenant(&actor(), &named(&tenant), None, None, None).await.unwrap();
        s.create_job(&actor(), &new_job(&tenant), OPEN).await.unwrap();
    }
    let workers: Vec<Uuid> = (0..12).map(|_| id()).collect();
    let taken = futures::future::join_all(workers.iter().map(|worker| s.take_job(*worker, LEASE))).await;
    let mut taken: Vec<Uuid> = taken.into_iter().filter_map(|job| job.unwrap()).map(|job| job.id).collect();
    taken.sort();
    taken.dedup();
    // SKIP LOCKED may leave one for the next look.
    while let Some(job) = s.take_job(id(), LEASE).await.unwrap() {
        assert!(!taken.contains(&job.id), "taken twice");
        taken.push(job.id);
    }
    assert_eq!(taken.len(), 5);
    // A tenant whose job is being worked on waits with its next one.
    s.create_job(&actor(), &new_job("tenant-0"), OPEN).await.unwrap();
    assert_eq!(s.take_job(id(), LEASE).await.unwrap(), None);
}

#[tokio::test]
async fn a_tenant_has_so_many_open_jobs_and_no_more() {
    let t = accepting().await;
    let s = &t.store;
    let mut last = None;
    for _ in 0..20 {
        last = Some(s.create_job(&actor(), &new_job("acme"), OPEN).await.unwrap());
    }
    let more = s.create_job(&actor(), &new_job("acme"), OPEN).await;
    assert!(matches!(more, Err(AdminError::Conflict(_))), "{more:?}");
    s.set_job_state(&actor(), &tenant(), last.unwrap().id, JobState::Cancelled).await.unwrap();
    s.create_job(&actor(), &new_job("acme"), OPEN).await.unwrap();
}

#[tokio::test]
async fn a_job_goes_on_where_its_lost_worker_stood() {
    let t = accepting().await;
    let (s, one, two) = (&t.store, id(), id());
    s.create_job(&actor(), &new_job("acme"), OPEN).await.unwrap();
    let job = s.take_job(one, LEASE).await.unwrap().unwrap();
    assert_eq!(s.take_job(two, LEASE).await.unwrap(), None, "it is being worked on");
    let (first, second) = (t.accepted().await.id, t.accepted().await.id);
    // The answer to the first step was lost: it is made again.
    for _ in 0..2 {
        assert!(s.advance_job(&job, one, &to(first, 3), LEASE).await.unwrap());
    }
    assert!(!s.advance_job(&job, two, &to(second, 9), LEASE).await.unwrap(), "not its holder");
    t.sql("UPDATE jobs SET leased_until = now() - interval '1 second'").await;
    let resumed = s.take_job(two, LEASE).await.unwrap().unwrap();
    assert_eq!((resumed.id, resumed.position, resumed.done), (job.id, Some(first), 3));
    assert!(!s.advance_job(&job, one, &to(second, 6), LEASE).await.unwrap(), "taken over");
    assert!(s.advance_job(&resumed, two, &to(second, 5), LEASE).await.unwrap());
    s.release_job(&resumed, two).await.unwrap();
    let last = s.take_job(one, LEASE).await.unwrap().unwrap();
    assert_eq!((last.position, last.done), (Some(second), 5));
    let over = JobProgress { finished: true, skipped: 1, failed: 1, ..to(second, 5) };
    for _ in 0..2 {
        assert!(s.advance_job(&last, one, &over, LEASE).await.unwrap());
    }
    let done = s.job(&tenant(), job.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.done, done.skipped, done.failed), (JobState::Done, 5, 1, 1));
    assert_eq!(s.take_job(two, LEASE).await.unwrap(), None);
    assert!(!s.advance_job(&last, one, &to(second, 8), LEASE).await.unwrap(), "it is over");
}

#[tokio::test]
async fn a_job_is_paused_resumed_and_cancelled() {
    let t = accepting().await;
    let (s, a, acme, worker) = (&t.store, &actor(), &tenant(), id());
    let job = s.create_job(a, &new_job("acme"), OPEN).await.unwrap();
    let set = async |state| s.set_job_state(a, acme, job.id, state).await.map(|job| job.unwrap().state);
    let taken = s.take_job(worker, LEASE).await.unwrap().unwrap();
    let at = t.accepted().await.id;
    for _ in 0..2 {
        assert_eq!(set(JobState::Paused).await.unwrap(), JobState::Paused);
    }
    assert!(!s.advance_job(&taken, worker, &to(at, 1), LEASE).await.unwrap(), "it is paused");
    assert_eq!(s.take_job(worker, LEASE).await.unwrap(), None);
    assert_eq!(set(JobState::Running).await.unwrap(), JobState::Running);
    assert!(!s.advance_job(&taken, worker, &to(at, 1), LEASE).await.unwrap(), "it must be taken anew");
    assert_eq!(s.take_job(worker, LEASE).await.unwrap().unwrap().done, 0);
    let refused = set(JobState::Done).await;
    assert!(
        matches!(refused, Err(AdminError::NotNow { state: "running", allowed: ["pause", "cancel"], .. })),
        "{refused:?}"
    );
    assert_eq!(set(JobState::Cancelled).await.unwrap(), JobState::Cancelled);
    for state in [JobState::Running, JobState::Paused, JobState::Failed] {
        let refused = set(state).await;
        assert!(
            matches!(refused, Err(AdminError::NotNow { state: "cancelled", allowed: [], .. })),
            "{refused:?}"
        );
    }
    assert_eq!(s.set_job_state(a, acme, id(), JobState::Paused).await.unwrap(), None);
    let said = "SELECT count(*) FROM audit_log WHERE action IN ('job.pause', 'job.resume', 'job.cancel')";
    assert_eq!(t.number(said).await, 3);

    let other = s.create_job(a, &new_job("acme"), OPEN).await.unwrap();
    let taken = s.take_job(worker, LEASE).await.unwrap().unwrap();
    assert_eq!(taken.id, other.id);
    let error = JobProgress { error: Some("the filter does not read".to_owned()), ..JobProgress::default() };
    assert!(s.advance_job(&taken, worker, &error, LEASE).await.unwrap());
    let failed = s.job(acme, other.id).await.unwrap().unwrap();
    assert_eq!((failed.state, &failed.error, &failed.held_up), (JobState::Failed, &error.error, &None));
    // It is mended: it goes on where it stood, and says nothing of what was.
    let resumed = s.set_job_state(a, acme, other.id, JobState::Running).await.unwrap().unwrap();
    assert_eq!((resumed.state, resumed.error, resumed.held_up), (JobState::Running, None, None));
    assert_eq!(s.take_job(worker, LEASE).await.unwrap().unwrap().id, other.id);
}

/// One that waits for something keeps nobody else waiting, not even its own tenant's others.
#[tokio::test]
async fn a_job_that_is_held_up_says_why_and_is_taken_again_after_a_pause() {
    let t = accepting().await;
    let (s, a, worker) = (&t.store, &actor(), id());
    let stuck = s.create_job(a, &new_job("acme"), OPEN).await.unwrap();
    let taken = s.take_job(worker, LEASE).await.unwrap().unwrap();
    let at = t.accepted().await.id;
    let progress = JobProgress { held_up: Some("the quota is full".to_owned()), ..to(at, 3) };
    // The second time as after a lost answer.
    for _ in 0..2 {
        s.put_off_job(&taken, worker, &progress, LEASE).await.unwrap();
    }
    let seen = s.job(&tenant(), stuck.id).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.position, seen.done), (JobState::Running, Some(at), 3));
    assert_eq!((seen.held_up.as_deref(), seen.error), (Some("the quota is full"), None));
    assert!(!s.advance_job(&taken, worker, &to(at, 4), LEASE).await.unwrap(), "it was given back");
    assert_eq!(s.take_job(worker, LEASE).await.unwrap(), None, "not before the pause is over");
    let cancels = s.create_job(a, &NewJob { kind: JobKind::Cancel, ..new_job("acme") }, OPEN).await.unwrap();
    assert_eq!(s.take_job(worker, LEASE).await.unwrap().unwrap().id, cancels.id);
    s.set_job_state(a, &tenant(), cancels.id, JobState::Cancelled).await.unwrap();

    t.sql("UPDATE jobs SET leased_until = now() - interval '1 second'").await;
    let again = s.take_job(worker, LEASE).await.unwrap().unwrap();
    assert_eq!((again.id, again.held_up.as_deref()), (stuck.id, Some("the quota is full")));
    assert!(s.advance_job(&again, worker, &to(at, 4), LEASE).await.unwrap());
    assert_eq!(s.job(&tenant(), stuck.id).await.unwrap().unwrap().held_up, None, "it has moved");
    // Resumed by a person it is not left alone any longer.
    s.put_off_job(&again, worker, &progress, LEASE).await.unwrap();
    for state in [JobState::Paused, JobState::Running] {
        s.set_job_state(a, &tenant(), stuck.id, state).await.unwrap();
    }
    assert_eq!(s.take_job(worker, LEASE).await.unwrap().unwrap().held_up, None);
}

/// Written by another version, perhaps: it is shown, and never taken for one that admits everything.
#[tokio::test]
async fn a_filter_that_does_not_read_keeps_nobody_from_seeing_its_job() {
    let t = accepting().await;
    let (s, a) = (&t.store, &actor());
    let job = s.create_job(a, &new_job("acme"), OPEN).await.unwrap();
    t.sql("UPDATE jobs SET filter = '{\"colour\": \"red\"}'").await;
    let taken = s.take_job(id(), LEASE).await.unwrap().unwrap();
    assert_eq!(taken.id, job.id);
    assert!(taken.filter().is_err());
    assert_eq!(s.jobs(&tenant(), None, 10).await.unwrap().len(), 1);
}
