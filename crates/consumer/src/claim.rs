//! The claim: the attempt is counted and the lease taken before anything is fired.

use std::time::Duration;

use bridge_fire::Aim;
use bridge_protocol::{CallbackToken, Completion};
use bridge_service::clock::entropy;
use bridge_store::{Claim, ClaimAnswer, Claimed, Refusal};
use metrics::counter;
use rand::Rng;
use tokio::time::Instant;
use uuid::Uuid;

use crate::job::{End, Job};
use crate::record::unwritten;
use crate::works::Works;

/// An execution that is ours until its lease ends.
pub struct Held {
    pub claimed: Box<Claimed>,
    pub claim_id: Uuid,
    /// On this machine's monotonic clock, counted from before the claim was sent: never later than the
    /// end that Postgres wrote down.
    lease_ends: Instant,
    claimed_at: Instant,
    /// Proves a report of this attempt; its digest went with the claim.
    token: CallbackToken,
}

impl Held {
    /// Where the workflow reports its result, if that is how the execution ends.
    ///
    /// # Errors
    /// When it should, and nobody told this consumer where callbacks go.
    pub fn callback_url(&self, works: &Works, job: &Job) -> Result<Option<String>, &'static str> {
        if self.claimed.completion == Completion::Response {
            return Ok(None);
        }
        let base = works.settings.callback_base.as_deref().ok_or(NO_CALLBACKS)?;
        // Ids and tokens are made of characters that a URL holds as they are.
        let (base, id, tenant) = (base.trim_end_matches('/'), job.id, &job.tenant);
        let token = self.token.expose();
        Ok(Some(format!("{base}/pulsar/executions/{id}/result?tenant_id={tenant}&token={token}")))
    }

    /// Since its acceptance.
    pub fn age(&self) -> Duration {
        self.claimed.age + self.claimed_at.elapsed()
    }

    /// Since it was due for the first time.
    pub fn waited(&self) -> Duration {
        self.claimed.waited + self.claimed_at.elapsed()
    }

    pub fn remaining(&self) -> Duration {
        self.lease_ends.saturating_duration_since(Instant::now())
    }

    /// When a request with this time limit must have been sent; `None` when it is too late already.
    pub fn latest_send(&self, timeout: Duration) -> Option<Instant> {
        self.lease_ends.checked_sub(timeout).filter(|latest| *latest > Instant::now())
    }
}

const NO_CALLBACKS: &str = "this consumer does not know where callbacks go; set BRIDGE_CALLBACK_BASE_URL or \
                           BRIDGE_PUBLIC_URL";

pub async fn claim(works: &Works, job: &Job, aim: &Aim) -> Result<Held, End> {
    if works.soft.is_cancelled() {
        return Err(End::Leaving);
    }
    let lease = aim.target.timeout + works.settings.lease_margin;
    let claim_id = random_id();
    let token = CallbackToken::generate(job.attempt, entropy());
    let row = Claim {
        tenant: job.tenant.clone(),
        id: job.id,
        attempt: job.attempt,
        claim_id,
        message_id: job.message_id.clone(),
        lease,
        max_attempts: aim.target.retry.max_attempts,
        callback_digest: Some(token.digest()),
    };
    let sent_at = Instant::now();
    match works.store.claim(row, works.settings.write_patience).await {
        Ok(ClaimAnswer::Claimed(claimed)) => {
            counter!("bridge_claims_total", "answer" => "claimed").increment(1);
            Ok(Held { claimed, claim_id, lease_ends: sent_at + lease, claimed_at: Instant::now(), token })
        }
        Ok(ClaimAnswer::Refused(refusal)) => Err(refused(job, refusal)),
        Err(error) => Err(unwritten("claim", job, &error)),
    }
}

/// Every refused message is one delivery too many: counted, and done with. Whatever the execution
/// still needs, its timer sees to.
fn refused(job: &Job, refusal: Refusal) -> End {
    counter!("bridge_claims_total", "answer" => refusal.as_str()).increment(1);
    if matches!(refusal, Refusal::Terminal | Refusal::StaleAttempt | Refusal::Leased) {
        counter!("bridge_duplicate_deliveries_total", "lane" => job.lane.as_str()).increment(1);
    }
    tracing::debug!(
        execution_id = %job.id, tenant_id = %job.tenant, message_id = %job.message_id,
        attempt = job.attempt, refusal = refusal.as_str(), "claim refused"
    );
    End::Settled
}

pub fn random_id() -> Uuid {
    let mut bytes = [0; 16];
    entropy().fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
