//! The log's canonical lines: one for each step of an execution's life, all with the same fields, under one target so
//! that `telemetry.step_log` can turn them down without touching the rest.
//!
//! Fields: `step` (accepted, published, parked, retrying, waiting, ended), `execution_id`, `tenant_id`, `trace_id`, and where they
//! are known `workflow_id`, `lane`, `attempt`, `message_id`, `state`, `reason`, `took_ms`. Never a payload, a result or a
//! secret.

/// The target of these lines.
pub const STEPS: &str = "bridge_steps";
