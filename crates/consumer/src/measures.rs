//! The names of what is counted, each there from the start: a counter that appears with its first event
//! hides that event from every rate.

use bridge_protocol::{Forged, Lane, Reason, Stale};
use bridge_store::Refusal;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

pub fn register() {
    describe();
    for lane in Lane::ALL {
        let lane = lane.as_str();
        counter!("bridge_messages_received_total", "lane" => lane).absolute(0);
        let ends =
            [("retrying", "none"), ("waiting", "none"), ("succeeded", "started"), ("succeeded", "response")];
        let dead = [
            Reason::AttemptsExhausted,
            Reason::PermanentAnswer,
            Reason::UnknownOutcome,
            Reason::PayloadUnreadable,
            Reason::BlockedAddress,
        ];
        for (state, reason) in ends.into_iter().chain(dead.map(|reason| ("dead_lettered", reason.as_str()))) {
            counter!("bridge_attempts_total", "lane" => lane, "state" => state, "reason" => reason)
                .absolute(0);
        }
    }
    for forged in Forged::ALL {
        counter!("bridge_messages_forged_total", "reason" => forged.as_str()).absolute(0);
    }
    for stale in Stale::ALL {
        counter!("bridge_messages_stale_total", "reason" => stale.as_str()).absolute(0);
    }
    for why in ["cap", "store"] {
        counter!("bridge_messages_forged_unrecorded_total", "why" => why).absolute(0);
    }
    use Refusal::{Exhausted, Expired, Leased, StaleAttempt, Terminal, Unknown};
    let refusals = [Terminal, StaleAttempt, Leased, Unknown, Expired, Exhausted].map(Refusal::as_str);
    for answer in refusals.into_iter().chain(["claimed"]) {
        counter!("bridge_claims_total", "answer" => answer).absolute(0);
    }
    for reason in
        ["concurrency", "host", "breaker", "global", "hold", "route", "credential", "secret", "master_key"]
    {
        counter!("bridge_parks_total", "reason" => reason).absolute(0);
    }
    for what in ["claim", "park", "outcome"] {
        counter!("bridge_writes_failed_total", "what" => what).absolute(0);
    }
    for name in SINGLE_COUNTERS {
        counter!(*name).absolute(0);
    }
    for name in GAUGES {
        gauge!(*name).set(0.0);
    }
}

const SINGLE_COUNTERS: &[&str] = &[
    "bridge_attempts_repeated_unknown_total",
    "bridge_fences_lost_total",
    "bridge_callbacks_first_total",
    "bridge_wrong_hints_total",
    "bridge_consumer_heals_total",
    "bridge_backlog_questions_failed_total",
    "bridge_released_total",
    "bridge_data_keys_sought_total",
];

const GAUGES: &[&str] = &[
    "bridge_messages_in_hand",
    "bridge_breakers_open",
    "bridge_global_slots_free",
    "bridge_tenants_received",
    "bridge_oldest_due_timer_seconds",
];

fn describe() {
    for (name, text) in [
        ("bridge_messages_received_total", "Messages received from the broker, before they are verified"),
        ("bridge_messages_forged_total", "Messages that must not be believed"),
        ("bridge_messages_stale_total", "Messages that were good once, or will be after a rollout"),
        ("bridge_messages_forged_unrecorded_total", "Forged messages that were only counted"),
        ("bridge_claims_total", "Claims by their answer; every refusal is a delivery too many"),
        ("bridge_parks_total", "Messages put off without an attempt, by what they waited for"),
        ("bridge_attempts_total", "Attempts recorded, by what they made of the execution"),
        ("bridge_attempts_repeated_unknown_total", "Attempts repeated although the workflow may have run"),
        ("bridge_writes_failed_total", "Statements that Postgres did not take"),
        ("bridge_fences_lost_total", "Attempts that ended after their lease was taken away"),
        ("bridge_callbacks_first_total", "Results reported before the webhook had answered"),
        ("bridge_wrong_hints_total", "Messages whose properties named another workflow than the claim"),
        ("bridge_consumer_heals_total", "Subscriptions built anew because they received nothing"),
        ("bridge_backlog_questions_failed_total", "Questions about a backlog that the broker did not answer"),
        ("bridge_data_keys_sought_total", "Directory loads for a data key that was not there yet"),
        ("bridge_released_total", "Parked executions that became due because nothing holds them any more"),
    ] {
        describe_counter!(name, text);
    }
    describe_gauge!("bridge_messages_in_hand", "Messages between receipt and acknowledgement");
    describe_gauge!("bridge_tenants_received", "Tenants whose topics are received from");
    describe_gauge!("bridge_breakers_open", "Endpoints to which nothing is sent at present");
    describe_gauge!(
        "bridge_global_slots_free",
        "Webhooks that could be fired at once beyond those in flight"
    );
    describe_gauge!(
        "bridge_oldest_due_timer_seconds",
        Unit::Seconds,
        "How long the oldest due timer has been waiting; grows when no publisher rings the timers"
    );
}
