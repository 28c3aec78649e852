use serde_json::json;

use super::{ACCEPTED_AT, EXECUTION, Operation, reference};
use crate::openapi::operation::{get, of, post};
use crate::routes::callback::Taken;
use crate::routes::older::Told;
use crate::routes::result::{NotYet, ResultView};

pub fn operations() -> Vec<Operation> {
    vec![result(), report(), older()]
}

fn result() -> Operation {
    get("/pulsar/executions/{id}/result", "readResult", "Read the result of an execution, or wait for it")
        .of_an_execution()
        .waits()
        .problems(&[
            "result-gone",
            "payload-unreadable",
            "data-key-unavailable",
            "overloaded",
            "too-many-waiters",
        ])
        .answer(
            200,
            "It has ended; `result` is what n8n answered or reported, where it succeeded.",
            of::<ResultView>(),
            json!({
                "execution_id": EXECUTION, "state": "succeeded", "evidence": "response", "attempt": 1,
                "result": { "invoice": "2026-17" }, "content_type": "application/json", "truncated": false,
                "error": null, "reason": null, "http_status": 200, "n8n_execution_id": "231",
                "finished_at": ACCEPTED_AT,
            }),
        )
        .answer(
            202,
            "It has not ended.",
            of::<NotYet>(),
            json!({ "execution_id": EXECUTION, "state": "running", "links": {
                "self": format!("/pulsar/executions/{EXECUTION}"),
                "result": format!("/pulsar/executions/{EXECUTION}/result"),
                "replay": format!("/pulsar/executions/{EXECUTION}/replay"),
            } }),
        )
}

fn report() -> Operation {
    let fields = json!({
        "status": { "type": "string", "enum": ["success", "error"], "description": "Also ok, succeeded, failed, failure." },
        "result": { "description": "Any JSON value, kept byte for byte." },
        "error": { "type": ["string", "object"], "description": "What went wrong; of an object its `message`." },
        "n8n_execution_id": { "type": "string", "maxLength": 64 },
    });
    post("/pulsar/executions/{id}/result", "reportResult", "Report a workflow's result")
        .about(
            "The callback: the workflow sends it to `x-callback-url`, whose `token` is the only credential it needs. A \
             success of any attempt ends the execution; a failure only of the current one; the same report again is \
             answered 200.",
        )
        .path("id", json!({ "type": "string" }), "The execution's id.", EXECUTION)
        .needs_query("tenant_id", reference("TenantId"), "As in `x-callback-url`.")
        .needs_query("token", json!({ "type": "string" }), "As in `x-callback-url`; good for one attempt.")
        .body(
            super::request(fields, &["status"]),
            vec![
                ("success", json!({ "status": "success", "result": { "invoice": "2026-17" } })),
                ("failure", json!({ "status": "error", "error": "the customer is not known" })),
            ],
        )
        .problems(&["bad-callback-token", "not-current-attempt", "already-ended", "result-too-large", "not-found"])
        .problems(&["data-key-unavailable", "not-ready"])
        .asks_the_database()
        .answer(
            200,
            "It is taken.",
            of::<Taken>(),
            json!({ "execution_id": EXECUTION, "state": "succeeded" }),
        )
}

fn older() -> Operation {
    get("/api/v2/n8n/result/{id}", "olderResult", "Read a result as the older bridge gave it")
        .of_an_execution()
        .problems(&["payload-unreadable", "data-key-unavailable", "overloaded"])
        .answer(
            200,
            "`status` is pending, completed or failed.",
            of::<Told>(),
            json!({
                "success": true, "execution_id": EXECUTION, "status": "completed", "result": { "invoice": "2026-17" },
                "error": null, "retrieved_at": ACCEPTED_AT,
            }),
        )
}
