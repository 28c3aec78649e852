use serde_json::{Value, json};

use super::{ACCEPTED_AT, EXECUTION, Operation, object, reference, request, time};
use crate::openapi::operation::{get, of, post};
use crate::routes::jobs::{Page, Shown};

pub fn operations() -> Vec<Operation> {
    let replay = "A new execution for each, as `POST /pulsar/executions/{id}/replay` makes it. `filter.state` is needed.";
    vec![
        many("/pulsar/replay", "replayMany", "Execute many ended executions once more", replay, "failed")
            .problems(&["unknown-tenant", "tenant-suspended"]),
        many(
            "/pulsar/cancel",
            "cancelMany",
            "Cancel many executions",
            "Without `filter.state` all that live.",
            "retrying",
        ),
        get("/pulsar/jobs", "listJobs", "List jobs, newest first")
            .a_page(20)
            .of_a_tenant()
            .asks_the_database()
            .answer(200, "A page.", of::<Page>(), json!({ "jobs": [job("running")] })),
        one(get("/pulsar/jobs/{id}", "showJob", "Show how far a job has come"), "The job.", "running"),
        one(post("/pulsar/jobs/{id}/pause", "pauseJob", "Pause a job"), "It is paused.", "paused")
            .problems(&["conflict"]),
        one(
            post("/pulsar/jobs/{id}/resume", "resumeJob", "Let a paused or a failed job go on"),
            "It goes on.",
            "running",
        )
        .problems(&["conflict"]),
        one(
            post("/pulsar/jobs/{id}/cancel", "cancelJob", "Stop a job"),
            "It is stopped; what it did stays.",
            "cancelled",
        )
        .problems(&["conflict"]),
    ]
}

fn many(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    about: &'static str,
    state: &'static str,
) -> Operation {
    let fields = json!({
        "filter": reference("ExecutionFilter"),
        "dry_run": { "type": "boolean", "default": false, "description": "Only count." },
        "per_second": { "type": "number", "minimum": 0.01, "maximum": 10_000, "description": "Its pace." },
        "expect": { "type": "integer", "minimum": 0, "maximum": 1_000_000, "description": "The count of the dry run: another number is refused." },
    });
    let counted = object(json!({
        "dry_run": { "const": true }, "count": { "type": "integer" },
        "skipped": { "type": "integer", "description": "Not among them: dead letters that were replayed or put away already." },
        "partial": { "type": "boolean", "description": "There are more than were counted." },
    }));
    post(path, id, summary)
        .about(about)
        .of_a_tenant()
        .optional_body(
            request(fields, &[]),
            vec![
                (
                    "count",
                    json!({ "filter": { "state": [state], "workflow_id": "orders/new" }, "dry_run": true }),
                ),
                ("go", json!({ "filter": { "state": [state] }, "per_second": 20, "expect": 41 })),
            ],
        )
        .problems(&["conflict", "not-found"])
        .asks_the_database()
        .answer(
            200,
            "The count of a dry run.",
            counted,
            json!({ "dry_run": true, "count": 41, "skipped": 3, "partial": false }),
        )
        .answer(202, "The job that does it.", of::<Shown>(), job("running"))
        .answers_with("Location", "Where the job is shown; not of a dry run.")
}

fn one(operation: Operation, means: &'static str, state: &str) -> Operation {
    operation
        .path("id", json!({ "type": "string" }), "The job's id.", EXECUTION)
        .of_a_tenant()
        .problems(&["not-found"])
        .asks_the_database()
        .answer(200, means, of::<Shown>(), job(state))
}

fn job(state: &str) -> Value {
    json!({
        "job_id": EXECUTION, "tenant_id": "acme", "kind": "replay", "state": state, "filter": { "state": ["failed"] },
        "per_second": 20.0, "total": 41, "done": 17, "skipped": 0, "failed": 0, "created_by": "npb_0a1b2c3d4e5f",
        "created_at": ACCEPTED_AT, "changed_at": ACCEPTED_AT, "links": { "self": format!("/pulsar/jobs/{EXECUTION}") },
    })
}

/// What [`crate::routes::filter`] reads.
pub fn filter() -> Value {
    let states = json!({ "type": "array", "items": reference("State"), "minItems": 1 });
    request(
        json!({
            "state": states, "workflow_id": reference("WorkflowId"), "lane": reference("Lane"), "since": time(),
            "until": time(), "reason": reference("Reason"),
            "metadata": { "type": "object", "description": "Those whose metadata holds it." },
        }),
        &[],
    )
}
