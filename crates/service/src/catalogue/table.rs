//! The table itself.

use super::By::{Both, Consumer, Publisher};
use super::Kind::{Counter, Gauge, Histogram};
use super::Values::{Bounded, Closed};
use super::{By, Kind, Label, Metric, Start};

const LANE: Label = ("lane", Closed(&["short", "long", "ai", "analytics"]));
const POOL: Label = ("pool", Closed(&["main", "batch", "duty", "list", "watch"]));
const STATEMENT: Label = ("statement", Closed(&["accept", "claim", "finish", "reschedule"]));
const TRANSACTION: Label = ("name", Bounded("the store's transactions"));
const ENDS: Label = ("state", Closed(&["succeeded", "failed", "dead_lettered", "cancelled", "expired"]));
const LIVE: Label = ("state", Closed(&["accepted", "running", "waiting", "retrying"]));
const REASON: Label = (
    "reason",
    Closed(&[
        "attempts_exhausted",
        "permanent_answer",
        "unknown_outcome",
        "payload_unreadable",
        "payload_gone",
        "expired",
        "lease_lapsed",
        "callback_timed_out",
        "reported_failure",
        "blocked_address",
    ]),
);
const FAULT: Label = (
    "fault",
    Closed(&[
        "refused",
        "credential",
        "forbidden",
        "certificate",
        "busy",
        "undecodable",
        "timed_out",
        "broken",
    ]),
);
const ANSWERS: &[&str] = &["2xx", "3xx", "4xx", "5xx", "other", "connect_error", "no_answer", "blocked"];

const fn metric(
    kind: Kind,
    by: By,
    name: &'static str,
    labels: &'static [Label],
    about: &'static str,
) -> Metric {
    Metric { name, kind, by, labels, start: Start::Zero, about }
}

const fn counter(by: By, name: &'static str, labels: &'static [Label], about: &'static str) -> Metric {
    metric(Counter, by, name, labels, about)
}

const fn gauge(by: By, name: &'static str, labels: &'static [Label], about: &'static str) -> Metric {
    metric(Gauge, by, name, labels, about)
}

const fn histogram(by: By, name: &'static str, labels: &'static [Label], about: &'static str) -> Metric {
    metric(Histogram, by, name, labels, about)
}

const fn absent(metric: Metric) -> Metric {
    Metric { start: Start::Absent, ..metric }
}

const fn with(rest: &'static [&'static [&'static str]], metric: Metric) -> Metric {
    Metric { start: Start::Rest(rest), ..metric }
}

#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    // The whole
    absent(gauge(Both, "bridge_info", &[("version", Bounded("the running version")), ("daemon", Closed(&["publisher", "consumer"]))], "1; which version runs")),
    gauge(Both, "bridge_members", &[("daemon", Closed(&["publisher", "consumer"]))], "Daemons whose heartbeat is fresh; NaN where Postgres does not answer"),
    gauge(Both, "bridge_oldest_due_timer_seconds", &[], "How long the oldest due timer has been waiting; grows when no publisher rings the timers; NaN where Postgres does not answer"),
    counter(Both, "bridge_measure_failures_total", &[("what", Closed(&["members", "pulse"]))], "Figures that Postgres was asked for in vain; they show NaN until it answers"),
    histogram(Both, "bridge_execution_seconds", &[LANE, ENDS], "From the acceptance of an execution to its end"),
    counter(Both, "bridge_dead_letters_total", &[LANE, REASON], "Executions that became dead letters"),
    counter(Both, "bridge_evidence_total", &[LANE, ("evidence", Closed(&["started", "response", "callback"]))], "Successes by what they rest on; started means that the outcome is unknown"),
    gauge(Both, "bridge_store_pool_connections", &[POOL, ("state", Closed(&["idle", "used"]))], "Connections to Postgres that are open, by pool; the batched statements have their own beside them"),
    gauge(Both, "bridge_store_pool_connections_max", &[POOL], "How many connections a pool may have"),
    histogram(Both, "bridge_store_pool_wait_seconds", &[POOL], "How long a connection of the pool was waited for, tried every 10 s; 0 where one was idle or could be opened"),
    absent(gauge(Both, "bridge_credential_expires_seconds", &[("kind", Closed(&["broker_token", "ca_certificate"]))], "Seconds until it expires; absent, or NaN, when it does not or cannot be read")),
    counter(Both, "bridge_heartbeat_failures_total", &[], "Heartbeats that could not be written"),
    counter(Both, "bridge_spans_total", &[("outcome", Closed(&["exported", "dropped"]))], "Spans handed to the collector, and spans that were lost"),
    counter(Both, "bridge_connections_cut_total", &[("why", Closed(&["write"]))], "HTTP connections closed because the peer did not take its answer"),

    // Webhooks
    counter(Both, "bridge_webhook_requests_total", &[LANE, ("answer", Closed(ANSWERS))], "Requests sent to webhooks, by kind of answer; the canary's are not among them"),
    histogram(Both, "bridge_webhook_seconds", &[LANE], "From sending a request to its last byte"),
    gauge(Both, "bridge_webhooks_in_flight", &[], "Requests sent to webhooks and not answered yet"),
    gauge(Both, "bridge_breakers_open", &[], "Endpoints to which nothing is sent at present; the publisher's are those of native routes"),
    gauge(Both, "bridge_global_slots", &[], "Webhooks that may be fired at once"),
    gauge(Both, "bridge_global_slots_free", &[], "Webhooks that could be fired at once beyond those in flight"),
    counter(Both, "bridge_breaker_opened_total", &[], "How often an endpoint's breaker opened"),
    counter(Both, "n8n_requests_total", &[LANE, ("status", Closed(ANSWERS))], "As bridge_webhook_requests_total; kept for older dashboards"),
    histogram(Both, "n8n_request_duration_seconds", &[LANE], "As bridge_webhook_seconds; kept for older dashboards"),
    gauge(Both, "n8n_active_workflows", &[], "As bridge_webhooks_in_flight; kept for older dashboards"),
    counter(Both, "workflow_executions_total", &[LANE, ("status", Closed(&["success", "error", "cancelled"]))], "Executions that ended; kept for older dashboards"),
    histogram(Both, "workflow_execution_duration", &[LANE], "As bridge_execution_seconds, of all ends; kept for older dashboards"),
    counter(Both, "workflow_errors_total", &[LANE, REASON], "Executions that ended without success, by reason; kept for older dashboards"),

    // Directory, routes, keys
    gauge(Both, "bridge_directory_revision", &[], "Revision of tenants, credentials and keys that is in force here"),
    gauge(Both, "bridge_directory_age_seconds", &[], "How long ago the directory was last known to be current"),
    counter(Both, "bridge_directory_failures_total", &[], "Looks at the directory that failed"),
    counter(Both, "bridge_directory_rows_unreadable_total", &[("what", Closed(&["tenant", "credential", "route"]))], "Rows that were left out because this version cannot read them"),
    gauge(Both, "bridge_sealed_unreadable", &[("kind", Closed(&["webhook_secret", "data_key", "webhook_credential", "issuer_key"]))], "Sealed secrets that no master key here opens"),
    gauge(Both, "bridge_routing_revision", &[], "Revision of routes and holds that is in force here"),
    counter(Both, "bridge_routing_failures_total", &[], "Looks at routes and holds that failed"),
    gauge(Both, "bridge_holds", &[], "Holds in force"),
    gauge(Both, "bridge_changes_listening", &[], "1 while Postgres tells of changes; at 0 they are found by polling"),
    counter(Both, "bridge_changes_heard_total", &[], "Changes that Postgres told of"),
    counter(Both, "bridge_keyring_reloads_total", &[("outcome", Closed(&["replaced", "broken"]))], "Times the keyring file had changed"),
    gauge(Both, "bridge_keyring_broken", &[], "1 while the keyring file cannot be used and the keys loaded before stay in use"),
    counter(Both, "bridge_tally_failures_total", &[], "Counts of refusals that could not be written; they are kept and written later"),

    // Postgres
    histogram(Both, "bridge_store_batch_rows", &[STATEMENT], "Rows in one batched statement"),
    histogram(Both, "bridge_store_batch_seconds", &[STATEMENT], "Time of one batched statement with its commit"),
    absent(counter(Both, "bridge_store_faults_total", &[STATEMENT, ("fault", Closed(&["connection", "again", "row", "gone", "other"]))], "Batched statements that failed")),
    absent(histogram(Both, "bridge_store_transaction_seconds", &[TRANSACTION], "Time of one transaction")),
    absent(counter(Both, "bridge_store_retries_total", &[TRANSACTION], "Transactions that were run again")),

    // The broker
    counter(Both, "bridge_broker_refused_total", &[("reason", Closed(&["credential", "forbidden", "certificate"]))], "Refusals that somebody must do something about"),
    counter(Both, "bridge_bus_client_rebuilds_total", &[], "Connections to the broker that were built anew"),
    counter(Both, "bridge_bus_connect_failures_total", &[FAULT], "Connections to the broker that failed"),

    // Publisher: HTTP and publishing
    absent(counter(Publisher, "bridge_http_requests_total", &[("method", Closed(&["GET", "POST", "PUT", "DELETE", "HEAD", "OTHER"])), ("route", Bounded("the API's paths")), ("status", Bounded("HTTP's"))], "Requests of the API that were answered")),
    absent(histogram(Publisher, "bridge_http_request_seconds", &[("method", Closed(&["GET", "POST", "PUT", "DELETE", "HEAD", "OTHER"])), ("route", Bounded("the API's paths"))], "From a request's head to its answer's")),
    counter(Publisher, "bridge_publish_total", &[LANE, ("outcome", Closed(&["new", "replayed", "conflict", "tenant_closed"]))], "Executions that were asked for, by what became of the request"),
    counter(Publisher, "bridge_publish_refused_total", &[("reason", Closed(&["rate", "open_executions", "payload_bytes_per_day", "requests", "bytes", "too_large", "tenant_suspended", "no_data_key", "postgres_unavailable", "bad_row", "failed"]))], "Requests to publish that were refused"),
    absent(counter(Publisher, "bridge_tenant_executions_total", &[("tenant", Bounded("the busiest, at most telemetry.tenants_named; the rest is other"))], "Executions that were accepted, by tenant")),
    gauge(Publisher, "bridge_inflight_requests", &[], "Requests at work that count against publisher.inflight_requests"),
    gauge(Publisher, "bridge_inflight_requests_max", &[], "publisher.inflight_requests: beyond it a request is answered 503"),
    gauge(Publisher, "bridge_inflight_bytes", &[], "Memory that requests at work have taken of publisher.inflight_bytes"),
    gauge(Publisher, "bridge_inflight_bytes_max", &[], "publisher.inflight_bytes: beyond it a request is answered 503"),
    counter(Publisher, "bridge_handoff_refused_total", &[("reason", Closed(&["broker_down", "full"]))], "Executions that were left to their timers at once"),
    counter(Publisher, "bridge_messages_published_total", &[LANE, ("outcome", Closed(&["ok", "unsigned", "timed_out", "down", "refused"]))], "Messages given to the broker"),
    histogram(Publisher, "bridge_publish_seconds", &[LANE], "From signing a message to the broker's receipt"),
    gauge(Publisher, "bridge_messages_in_flight", &[], "Executions whose message is on its way to the broker"),
    gauge(Publisher, "bridge_bus_up", &[], "1 while the broker takes messages"),
    gauge(Publisher, "bridge_bus_producers", &[], "Topics that have a producer"),
    counter(Publisher, "bridge_bus_producer_failures_total", &[FAULT], "Producers that could not be opened or were lost"),
    counter(Publisher, "bridge_bus_publishes_total", &[("outcome", Closed(&["receipted", "down", "timed_out", "refused", "closed"]))], "Messages of every kind, dead letters too, by what the broker made of them"),
    histogram(Publisher, "bridge_bus_publish_seconds", &[], "From asking for a publish to its receipt or failure"),
    counter(Publisher, "bridge_native_total", &[("outcome", Closed(&["succeeded", "failed", "queued", "lost", "unwritten"]))], "Executions whose route is native"),
    counter(Publisher, "bridge_callbacks_total", &[("outcome", Closed(&["done", "repeated", "not_current", "conflict", "bad_token", "malformed"]))], "Results reported by workflows"),
    counter(Publisher, "bridge_cancelled_total", &[("was", LIVE.1)], "Executions cancelled one by one, by the state they had"),
    gauge(Publisher, "bridge_waiting_callers", &[], "Callers that wait for a result"),
    counter(Publisher, "bridge_waiters_refused_total", &[], "Callers that could not wait because as many wait as may"),
    counter(Publisher, "bridge_waiter_looks_total", &[], "Looks for ended executions that somebody waits for"),
    counter(Publisher, "bridge_waiter_look_errors_total", &[], "Such looks that failed"),
    counter(Publisher, "bridge_payloads_unreadable_total", &[("reason", Closed(&["altered", "destroyed"]))], "Payloads that were asked for and could not be opened"),
    counter(Publisher, "bridge_allowance_errors_total", &[("what", Closed(&["publishers", "open_executions", "usage"]))], "Figures for limits that could not be read or written"),

    // Publisher: callers
    counter(Publisher, "bridge_logins_total", &[("kind", Closed(&["api_key", "own", "outside", "client_credentials"])), ("outcome", Closed(&["ok", "refused"]))], "Credentials that were looked at"),
    counter(Publisher, "bridge_logins_refused_total", &[("why", Closed(&["missing", "not_ready", "no_keys", "too_long", "malformed", "scheme", "several", "unknown_key", "algorithm", "critical", "type", "issuer", "audience", "no_expiry", "expired", "not_yet", "kid", "signature", "subject", "secret", "tenant", "revoked"]))], "Credentials that were refused"),
    counter(Publisher, "bridge_forbidden_total", &[("scope", Closed(&["publish", "read", "payload", "result", "replay", "routes", "admin"]))], "Requests whose credential lacked the scope"),
    counter(Publisher, "bridge_token_requests_total", &[("outcome", Closed(&["issued", "invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type", "slow_down", "temporarily_unavailable", "server_error"]))], "Requests to the token route"),
    absent(counter(Publisher, "bridge_jwks_fetches_total", &[("issuer", Bounded("auth.issuers")), ("outcome", Closed(&["ok", "failed"]))], "Fetches of outside issuers' keys")),
    counter(Publisher, "bridge_signing_gate_failures_total", &[], "Questions about the consumers' keys that failed"),
    gauge(Publisher, "bridge_signing_key_waiting", &[], "1 while a new key waits until every consumer has it"),
    gauge(Publisher, "bridge_signing_key_age_seconds", &[], "How long ago the key that signs was made, or its file changed where the keyring does not say; a key that signs for long should be replaced"),

    // Publisher: relay and upkeep
    counter(Publisher, "bridge_relay_timers_total", &[("decision", Closed(&["publish", "rearm", "end", "delete", "leave"]))], "Due timers, by what was decided"),
    histogram(Publisher, "bridge_relay_round_seconds", &[], "Time of one look at the due timers"),
    counter(Publisher, "bridge_relay_errors_total", &[], "Looks at the due timers that failed"),
    counter(Publisher, "bridge_notices_announced_total", &[], "Notices sent to the dead-letter topics"),
    counter(Publisher, "bridge_follow_ups_total", &[("outcome", Closed(&["told", "told_before", "key_taken", "unroutable"]))], "Bad ends told to an on_failure workflow"),
    counter(Publisher, "bridge_job_executions_total", &[("kind", Closed(&["replay", "cancel"])), ("outcome", Closed(&["done", "skipped", "failed"]))], "Executions that jobs have worked on"),
    gauge(Publisher, "bridge_jobs_at_work", &[], "Jobs this publisher works on"),
    counter(Publisher, "bridge_results_expired_total", &[], "Results removed because their tenant keeps them shorter"),
    counter(Publisher, "bridge_store_maintenance_errors_total", &[], "Rounds of making and dropping partitions that failed"),
    gauge(Publisher, "bridge_store_partitions_kept", &[], "Partitions past retention that are kept because something in them lives"),

    // Publisher: what lives
    gauge(Publisher, "bridge_live_executions", &[LANE, LIVE], "Live executions, counted up to a cap; every publisher counts all of them, so take the max"),
    gauge(Publisher, "bridge_live_executions_capped", &[], "1 when there are more live executions than are counted"),
    gauge(Publisher, "bridge_oldest_unclaimed_seconds", &[LANE], "How long the oldest execution that is due has been waiting for its claim"),
    gauge(Publisher, "bridge_oldest_running_seconds", &[LANE], "How long ago the oldest attempt that runs was claimed"),
    counter(Publisher, "bridge_watch_failures_total", &[], "Counts of live executions that failed or took too long; the figures show NaN until one succeeds"),
    gauge(Publisher, "n8n_queue_size", &[LANE], "Live executions that are accepted or wait for another attempt; kept for older dashboards"),
    gauge(Publisher, "workflow_active", &[LANE], "Live executions that run or wait for their callback; kept for older dashboards"),

    // Publisher: canary
    counter(Publisher, "bridge_canary_total", &[LANE, ("outcome", Closed(&["ok", "failed", "lost"]))], "Canary executions, by how they ended: failed ended otherwise than well, lost did not end in time"),
    histogram(Publisher, "bridge_canary_seconds", &[LANE], "From the acceptance of a canary execution to its noticed end"),
    absent(gauge(Publisher, "bridge_canary_last_success_seconds", &[LANE], "Unix time of the last canary execution that succeeded, or of the start while none has; absent while the canary is off")),

    // Consumer: messages
    counter(Consumer, "bridge_messages_received_total", &[LANE], "Messages received from the broker, before they are verified"),
    gauge(Consumer, "bridge_messages_in_hand", &[], "Messages between receipt and acknowledgement"),
    histogram(Consumer, "bridge_process_seconds", &[LANE], "From the receipt of a message to its acknowledgement, with the wait for a slot and the webhook's answer"),
    counter(Consumer, "bridge_messages_forged_total", &[("reason", Closed(&["signature", "algorithm", "audience", "tenant", "junk", "oversize"]))], "Messages that must not be believed"),
    counter(Consumer, "bridge_messages_forged_unrecorded_total", &[("why", Closed(&["cap", "store"]))], "Forged messages that were only counted"),
    counter(Consumer, "bridge_messages_stale_total", &[("reason", Closed(&["version", "unknown_key", "retired_key", "expired"]))], "Messages that were good once, or will be after a rollout"),
    counter(Consumer, "bridge_duplicate_deliveries_total", &[LANE], "Messages of an execution that was claimed already or has ended"),
    counter(Consumer, "bridge_bus_received_total", &[], "Entries received from the broker"),
    counter(Consumer, "bridge_bus_undecodable_total", &[], "Entries that could not be unpacked"),
    counter(Consumer, "bridge_bus_dropped_total", &[], "Messages given back because nobody took them at a stop"),
    counter(Consumer, "bridge_bus_stale_verdicts_total", &[], "Acknowledgements for a connection that is gone; the message comes again"),
    counter(Consumer, "bridge_bus_lost_verdicts_total", &[], "Messages dropped without a verdict; they come again"),
    counter(Consumer, "bridge_bus_consumers_lost_total", &[], "Subscriptions that were lost and are built anew"),
    counter(Consumer, "bridge_bus_subscribe_failures_total", &[FAULT], "Subscriptions that could not be made"),
    gauge(Consumer, "bridge_tenants_received", &[], "Tenants whose topics are received from"),
    counter(Consumer, "bridge_consumer_heals_total", &[], "Subscriptions built anew because they received nothing"),
    counter(Consumer, "bridge_backlog_questions_failed_total", &[], "Questions about a backlog that the broker did not answer"),

    // Consumer: attempts
    counter(Consumer, "bridge_claims_total", &[("answer", Closed(&["claimed", "terminal", "stale_attempt", "leased", "unknown", "expired", "exhausted"]))], "Claims by their answer; every refusal is a delivery too many"),
    counter(Consumer, "bridge_parks_total", &[("reason", Closed(&["concurrency", "host", "breaker", "global", "hold", "route", "credential", "secret", "master_key", "callback", "lease", "memory", "payload"]))], "Messages put off without an attempt, by what they waited for"),
    histogram(Consumer, "bridge_accept_to_fire_seconds", &[LANE], "First attempts: from acceptance, or from the time asked for, to the sending of the request; without the canary's"),
    with(ATTEMPTS, counter(Consumer, "bridge_attempts_total", &[LANE, ("state", Closed(&["retrying", "waiting", "succeeded", "failed", "dead_lettered"])), ("reason", Closed(&["none", "started", "response", "attempts_exhausted", "permanent_answer", "unknown_outcome", "payload_unreadable", "payload_gone", "blocked_address"]))], "Attempts recorded, by what they made of the execution")),
    counter(Consumer, "bridge_attempts_repeated_unknown_total", &[], "Attempts repeated although the workflow may have run"),
    counter(Consumer, "bridge_fences_lost_total", &[], "Attempts that ended after their lease was taken away"),
    counter(Consumer, "bridge_callbacks_first_total", &[], "Results reported before the webhook had answered"),
    counter(Consumer, "bridge_wrong_hints_total", &[], "Messages whose properties named another workflow than the claim"),
    counter(Consumer, "bridge_writes_failed_total", &[("what", Closed(&["claim", "park", "outcome"]))], "Statements that Postgres did not take"),
    counter(Consumer, "bridge_released_total", &[], "Parked executions that became due because nothing holds them any more"),
    counter(Consumer, "bridge_data_keys_sought_total", &[], "Directory loads for a data key that was not there yet"),
];

/// Those that happen: a success rests on an answer, a dead letter has a reason.
const ATTEMPTS: &[&[&str]] = &[
    &["retrying", "none"],
    &["waiting", "none"],
    &["succeeded", "started"],
    &["succeeded", "response"],
    &["dead_lettered", "attempts_exhausted"],
    &["dead_lettered", "permanent_answer"],
    &["dead_lettered", "unknown_outcome"],
    &["dead_lettered", "payload_unreadable"],
    &["dead_lettered", "payload_gone"],
    &["dead_lettered", "blocked_address"],
];
