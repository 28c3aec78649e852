//! What to do with an execution whose timer rang. The one place where a lost message, a retry, a
//! delay, a lapsed lease, a silent callback and an expiry are told apart.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{Mode, OnUnknown, Reason, State, Time};

/// An execution as its timer found it.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerInput {
    pub state: State,
    pub mode: Mode,
    /// Attempts claimed so far.
    pub attempt: u16,
    pub max_attempts: u16,
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    /// Of a running execution the lease, of a waiting one the callback's deadline.
    pub lease_until: Option<Time>,
    /// When a message for the next attempt was last handed over, by the accept or by a timer. `None`: there is none
    /// in the topic, for sure.
    pub last_published_at: Option<Time>,
    /// How often a timer has published for this attempt.
    pub publishes: u16,
    /// A publish of this execution has not been answered yet, in this process.
    pub in_flight_here: bool,
    pub backlog: Backlog,
    /// The broker, or this topic, takes nothing now: what would be published is looked at again after so long.
    pub shut_for: Option<Duration>,
    pub on_unknown: OnUnknown,
    pub now: Time,
    /// In `[0, 1)`.
    pub jitter: f64,
}

/// What waits in the execution's topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    Unknown,
    Empty,
    /// The publish time of the earliest message that is not acknowledged.
    Since(Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerPolicy {
    /// How long a published message may take before it is looked after.
    pub patience: Duration,
    /// Patience doubles up to this.
    pub max_patience: Duration,
    /// How long after a lapsed lease its holder may still be at work.
    pub takeover_grace: Duration,
    /// How much later than it was handed over a message may be stamped: its way to the broker and the clocks' difference.
    pub stamp_slack: Duration,
}

impl Default for TimerPolicy {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            max_patience: Duration::from_secs(900),
            takeover_grace: Duration::from_secs(30),
            stamp_slack: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerDecision {
    /// Re-arm to `next_due`, then publish a message for `attempt`.
    Publish {
        attempt: u16,
        next_due: Time,
    },
    Rearm(Time),
    /// Move to retrying, with the timer at `due`.
    Retry {
        due: Time,
    },
    DeadLetter(Reason),
    Expire,
    Fail(Reason),
    /// The execution is over; the timer is a leftover.
    Delete,
}

pub fn on_timer(input: &TimerInput, policy: &TimerPolicy) -> TimerDecision {
    if input.state.is_terminal() {
        return TimerDecision::Delete;
    }
    let expired = input.expires_at.is_some_and(|at| at <= input.now);
    if expired && matches!(input.state, State::Accepted | State::Retrying) {
        return TimerDecision::Expire;
    }
    if input.in_flight_here {
        return TimerDecision::Rearm(input.ring_after(policy.patience));
    }
    if input.mode == Mode::Native {
        return native(input, policy);
    }
    match input.state {
        State::Accepted => accepted(input, policy),
        State::Retrying => retrying(input, policy),
        State::Running => running(input, policy, expired),
        State::Waiting => waiting(input, policy, expired),
        _ => TimerDecision::Delete,
    }
}

/// Fired once by the publisher that accepted it, or by nobody: it never takes the way through the broker.
fn native(input: &TimerInput, policy: &TimerPolicy) -> TimerDecision {
    if input.state != State::Running {
        // No native execution is ever here. Nobody would fire it, so that it must not stay.
        return TimerDecision::DeadLetter(Reason::UnknownOutcome);
    }
    match input.lapsed_at(policy).filter(|at| *at > input.now) {
        Some(at) => TimerDecision::Rearm(at),
        None => TimerDecision::Fail(Reason::UnknownOutcome),
    }
}

fn accepted(input: &TimerInput, policy: &TimerPolicy) -> TimerDecision {
    if let Some(at) = input.deliver_at.filter(|at| *at > input.now) {
        return TimerDecision::Rearm(input.ring_at(at));
    }
    publish_unless_waiting(input, policy, input.last_published_at)
}

fn retrying(input: &TimerInput, policy: &TimerPolicy) -> TimerDecision {
    if input.exhausted() {
        return TimerDecision::DeadLetter(Reason::AttemptsExhausted);
    }
    publish_unless_waiting(input, policy, input.last_published_at)
}

fn running(input: &TimerInput, policy: &TimerPolicy, expired: bool) -> TimerDecision {
    let lapsed_at = input.lapsed_at(policy);
    if let Some(at) = lapsed_at.filter(|at| *at > input.now) {
        return TimerDecision::Rearm(at);
    }
    // No claim succeeds past expiry, so a message would be published for ever.
    if input.on_unknown == OnUnknown::DeadLetter || expired {
        return TimerDecision::DeadLetter(Reason::LeaseLapsed);
    }
    if input.exhausted() {
        return TimerDecision::DeadLetter(Reason::AttemptsExhausted);
    }
    // What was published before the lease lapsed was for the attempt that is lost.
    let published = input.last_published_at.filter(|at| lapsed_at.is_none_or(|lapsed| *at >= lapsed));
    publish_unless_waiting(input, policy, published)
}

fn waiting(input: &TimerInput, policy: &TimerPolicy, expired: bool) -> TimerDecision {
    match input.lease_until {
        Some(deadline) if deadline > input.now => TimerDecision::Rearm(deadline),
        // A callback without a deadline may come at any time; the timer stays as its witness.
        None => TimerDecision::Rearm(later(input.now, policy.max_patience)),
        Some(_) if expired || input.exhausted() || input.on_unknown == OnUnknown::DeadLetter => {
            TimerDecision::DeadLetter(Reason::CallbackTimedOut)
        }
        Some(_) => TimerDecision::Retry { due: input.now },
    }
}

/// `published`: when a message for the next attempt was last published, if ever.
fn publish_unless_waiting(
    input: &TimerInput,
    policy: &TimerPolicy,
    published: Option<Time>,
) -> TimerDecision {
    if let Some(pause) = input.shut_for {
        return TimerDecision::Rearm(input.ring_after(pause));
    }
    if let (Some(at), Backlog::Since(earliest)) = (published, input.backlog)
        && earliest <= later(at, policy.stamp_slack)
    {
        // Waiting as long again as it has waited doubles the patience each time.
        let waited = (input.now - at).to_std().unwrap_or_default();
        let patience = waited.clamp(policy.patience, policy.max_patience.max(policy.patience));
        return TimerDecision::Rearm(input.ring_after(patience));
    }
    let publishes = if published.is_some() { input.publishes } else { 0 };
    let patience = policy.patience.saturating_mul(1u32 << publishes.min(20)).min(policy.max_patience);
    TimerDecision::Publish { attempt: input.attempt.saturating_add(1), next_due: input.ring_after(patience) }
}

impl TimerInput {
    /// When the lease's holder is surely not at work any more.
    fn lapsed_at(&self, policy: &TimerPolicy) -> Option<Time> {
        self.lease_until.map(|lease| later(lease, policy.takeover_grace))
    }

    fn exhausted(&self) -> bool {
        self.attempt >= self.max_attempts.max(1)
    }

    /// After `patience` and up to a tenth more, so that timers set together do not ring together.
    fn ring_after(&self, patience: Duration) -> Time {
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        let spread = Duration::try_from_secs_f64(patience.as_secs_f64() * 0.1 * jitter).unwrap_or_default();
        self.ring_at(later(self.now, patience.saturating_add(spread)))
    }

    /// An expiry that comes sooner rings first.
    fn ring_at(&self, at: Time) -> Time {
        self.expires_at.filter(|expiry| *expiry > self.now).map_or(at, |expiry| expiry.min(at))
    }
}

fn later(from: Time, by: Duration) -> Time {
    TimeDelta::from_std(by).ok().and_then(|by| from.checked_add_signed(by)).unwrap_or(Time::MAX_UTC)
}
