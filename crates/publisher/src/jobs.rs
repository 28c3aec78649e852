//! Works on the jobs that replay and cancel many executions: in pages, at the job's pace, from the newest execution
//! down. Whoever holds a job's lease works on it; when a daemon stops or dies, another goes on where it stood.

mod outcome;
mod work;

use std::time::Duration;

use bridge_service::config::Publisher;
use bridge_store::Job;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::AppState;
use crate::routes::new_id;
use work::Work;

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct JobLimits {
    /// Jobs that one publisher works on at a time; the others wait for a place or for another publisher.
    pub at_once: usize,
    /// Jobs of one tenant that have not ended.
    pub open: u32,
    /// Who has not said anything for so long has lost the job.
    pub lease: Duration,
    /// For so long a job is left alone that meets what does not pass at once.
    pub pause: Duration,
    /// Executions that a job looks at in one go.
    pub page: u16,
    /// How many it takes a second unless it says so.
    pub per_second: f64,
}

impl JobLimits {
    pub fn new(publisher: &Publisher) -> Self {
        Self {
            at_once: publisher.jobs_at_once,
            open: publisher.jobs_open,
            lease: publisher.job_lease_ms.get(),
            pause: publisher.job_pause_ms.get(),
            page: publisher.job_page,
            per_second: f64::from(publisher.job_per_second),
        }
    }
}

pub async fn run(app: AppState, stop: CancellationToken) {
    let mut working = JoinSet::new();
    while !stop.is_cancelled() {
        while working.try_join_next().is_some() {}
        metrics::gauge!("bridge_jobs_at_work").set(working.len() as f64);
        let taken = if working.len() < app.limits.jobs.at_once { take(&app).await } else { None };
        match taken {
            Some((job, holder)) => {
                let work = Work::new(app.clone(), job, holder, stop.clone());
                working.spawn(work.run());
            }
            None => _ = stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await,
        }
    }
    // Each notes how far it came and gives its lease back.
    while working.join_next().await.is_some() {}
}

/// Under a name of its own each time: who took it before, here too, finds it lost.
async fn take(app: &AppState) -> Option<(Job, Uuid)> {
    let holder = new_id();
    match app.store.take_job(holder, app.limits.jobs.lease).await {
        Ok(job) => job.map(|job| (job, holder)),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no job could be taken; the next look tries again"
            );
            None
        }
    }
}
