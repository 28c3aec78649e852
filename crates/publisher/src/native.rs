//! Native mode: the publisher fires the webhook itself and answers with what came back. Nothing travels through the
//! broker, and nothing is tried twice.
//!
//! The execution is born running with a lease. Whatever happens to this process after that, the execution's timer ends
//! it as failed with an unknown outcome; so nothing that was accepted is ever without an end.

mod fire;
mod record;

use std::time::Duration;

use bridge_fire::{Aim, Webhooks};
use bridge_protocol::{Reason, State, TenantId};
use bridge_service::Problem;
use bridge_service::clock::entropy;
use bridge_service::failpoint::hit;
use bridge_store::NativeClaim;
use bridge_webhook::Slot;
use http::StatusCode;
use rand::Rng;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use self::fire::fire;
use self::record::record;
use crate::accept::{self, Candidate, Fate, refused};
use crate::answer::Published;
use crate::app::{App, AppState};
use crate::budget::Share;
use crate::results::Outcome;
use crate::routes::publish::waited;
use crate::sealing::seal;
use crate::waiters::Place;

pub struct Native {
    pub hooks: Webhooks,
    /// A lease is the webhook's time limit and this.
    pub lease_margin: Duration,
    /// How long an end is written again while Postgres is away.
    pub write_patience: Duration,
    /// How long a request waits for a place at its webhook before it goes through the queue.
    pub slot_wait: Duration,
    /// The largest payload that is fired natively.
    pub largest: usize,
    /// What is fired goes on to its end, also when its caller hangs up or the publisher leaves.
    pub tasks: TaskTracker,
    /// Unless the time to leave is over: then its outcome is written down as unknown.
    pub hard: CancellationToken,
}

/// A place at the webhook. Taken before anything is written: then it is fired at once.
struct Ready {
    aim: Aim,
    slot: Slot,
}

/// An attempt that was made and written down.
struct Fired {
    outcome: Outcome,
    /// What was not written, and why.
    warning: Option<String>,
}

/// What became of the accept, and of the attempt when there was one.
type Done = (Candidate, Fate, Option<Fired>);

/// Publishes a request whose route is native. `place`: for a repeat of one that is still being fired.
pub async fn publish(
    app: &AppState,
    mut candidate: Candidate,
    share: Share,
    place: Option<(Place, Instant)>,
) -> Result<Published, Problem> {
    let ready = match app.native.ready(&candidate).await {
        Ok(ready) => ready,
        Err(why) => {
            metrics::counter!("bridge_native_total", "outcome" => "queued").increment(1);
            candidate.queue_instead(app, &why);
            let (candidate, fate) = accept::one(app, candidate, share).await?;
            let published = Published::new(app, candidate, fate).await?;
            return Ok(waited(app, published, place).await);
        }
    };
    let (tenant, longest) = (candidate.publish.tenant.clone(), ready.aim.target.timeout);
    let (candidate, fate, fired) = on_its_own(app, candidate, ready, share).await?;
    let repeated = matches!(fate, Fate::Replayed(_));
    let mut published = Published::new(app, candidate, fate).await?;
    if let Some(Fired { outcome, warning }) = fired {
        published.warnings.extend(warning);
        published.end(outcome);
    } else if repeated {
        // The first request's answer is this one's too.
        let deadline = Instant::now() + longest.min(app.limits.result_wait);
        let place = match place {
            Some(place) => Some(place),
            None => Some((app.waiters.place()?, deadline)),
        };
        published = waited(app, published, place).await;
    }
    match failure(&tenant, &published) {
        Some(problem) => Err(problem),
        None => Ok(published),
    }
}

impl Native {
    /// # Errors
    /// Why it cannot be fired here and now. Nothing is lost by that: the queue takes it.
    async fn ready(&self, candidate: &Candidate) -> Result<Ready, String> {
        let publish = &candidate.publish;
        // Its share of the memory is held until the webhook has answered: a few of the largest would take it all.
        if publish.payload.len() > self.largest {
            return Err(format!("the payload has more than {} bytes", self.largest));
        }
        let aim = self
            .hooks
            .aim(&publish.tenant, publish.workflow.clone(), candidate.decision.lane)
            .map_err(|_| "the route's webhook_url is not a URL".to_owned())?;
        if let Some(bar) = self.hooks.bar(&publish.tenant, &aim) {
            return Err(bar.to_string());
        }
        let deadline = Instant::now() + self.slot_wait;
        match self.hooks.slot(&aim, deadline).await {
            Ok(slot) => Ok(Ready { aim, slot }),
            Err(none) => Err(none.to_string()),
        }
    }
}

/// To its end, whether or not the caller stays.
async fn on_its_own(
    app: &AppState,
    candidate: Candidate,
    ready: Ready,
    share: Share,
) -> Result<Done, Problem> {
    let own = app.clone();
    let work = async move { run(&own, candidate, ready, share).await };
    match app.native.tasks.spawn(work.in_current_span()).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a native execution failed in an unforeseen way; its timer ends it");
            Err(Problem::internal())
        }
    }
}

/// Accept, fire, record. From the accept on every way out leaves an execution that its timer ends.
async fn run(app: &App, mut candidate: Candidate, ready: Ready, mut share: Share) -> Result<Done, Problem> {
    let plain = candidate.publish.payload.clone();
    // The request is a copy.
    share.grow_by(plain.len())?;
    seal(app, std::slice::from_mut(&mut candidate), &mut share).await?;
    let lease = ready.aim.target.timeout + app.native.lease_margin;
    let claim = NativeClaim { claim_id: random_id(), lease };
    candidate.native = Some(claim.clone());
    // From before the accept, so never later than the end that Postgres writes down.
    let begun = Instant::now();
    let lease_ends = begun + lease;
    let accepted = app.store.accept(candidate.row(app), app.limits.accept_patience).await.map_err(refused)?;
    hit("native.accepted");
    let fate = candidate.settle(app, accepted);
    if !matches!(fate, Fate::New) {
        return Ok((candidate, fate, None));
    }
    let settlement = fire(app, &candidate, ready, plain, lease_ends).await;
    hit("native.fired");
    let fired = record(app, &candidate, claim.claim_id, settlement, (begun, lease_ends)).await?;
    hit("native.finished");
    drop(share);
    Ok((candidate, fate, Some(fired)))
}

/// What a caller of a native route is told when the webhook did not do what was asked.
fn failure(tenant: &TenantId, published: &Published) -> Option<Problem> {
    let outcome = published.outcome.as_ref().filter(|outcome| outcome.state != State::Succeeded)?;
    let id = published.execution_id;
    let error = outcome.error.as_deref().unwrap_or("it did not succeed");
    let unknown = outcome.reason.as_deref() == Some(Reason::UnknownOutcome.as_str());
    tracing::debug!(execution_id = %id, tenant_id = %tenant, state = %outcome.state, "a native caller is told of a failure");
    let problem = if unknown {
        let detail = format!(
            "execution {id}: {error}. Whether the workflow ran is not known; look in n8n before you publish it again"
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "webhook-timeout", "No answer from the webhook", detail)
    } else {
        let detail =
            format!("execution {id}: {error}. Nothing is tried again; publish it anew when that is mended");
        Problem::new(StatusCode::BAD_GATEWAY, "webhook-failed", "The webhook failed", detail)
    };
    let problem = problem.about(id);
    Some(match outcome.http_status {
        Some(status) => problem.with_http_status(status),
        None => problem,
    })
}

fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    entropy().fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
