use serde_json::json;

use super::publishing::{published, shown};
use super::{ACCEPTED_AT, EXECUTION, Operation, limit, reference, request, time};
use crate::answer::Published;
use crate::openapi::operation::{get, of, post};
use crate::routes::cancel::Cancelled;
use crate::routes::execution::Shown;
use crate::routes::executions::Page;

pub fn operations() -> Vec<Operation> {
    vec![list(), show(), payload(), replay(), cancel()]
}

fn list() -> Operation {
    get("/pulsar/executions", "listExecutions", "List executions, newest first")
        .about(
            "Flat in time for tenant, workflow and time, and for states of few; other filters search the newest part and \
             say `partial`.",
        )
        .filtered()
        .query("limit", limit(50, 1000), "How many to answer with.")
        .query("cursor", json!({ "type": "string" }), "The `next_cursor` of the page before.")
        .of_a_tenant()
        .problems(&["bad-cursor"])
        .asks_the_database()
        .answer(
            200,
            "A page. `partial`: only the newest part was searched.",
            of::<Page>(),
            json!({
                "executions": [{
                    "execution_id": EXECUTION, "workflow_id": "orders/new", "lane": "short", "state": "succeeded",
                    "evidence": "response", "attempt": 1, "accepted_at": ACCEPTED_AT, "finished_at": ACCEPTED_AT,
                }],
            }),
        )
}

fn show() -> Operation {
    get("/pulsar/executions/{id}", "showExecution", "Show an execution with its timeline")
        .about("`waiting_on` says why nothing happens right now.")
        .of_an_execution()
        .answer(200, "The execution.", of::<Shown>(), shown())
}

fn payload() -> Operation {
    get("/pulsar/executions/{id}/payload", "readPayload", "Read the payload of an execution")
        .about("Byte for byte as it was published.")
        .of_an_execution()
        .problems(&["payload-gone", "payload-unreadable", "data-key-unavailable", "overloaded"])
        .answer(200, "The payload.", json!({ "description": "Any JSON value." }), json!({ "order": 17 }))
}

fn replay() -> Operation {
    let key = "Stands for this replay of this execution: with the same key it happens once.";
    post("/pulsar/executions/{id}/replay", "replayExecution", "Execute an ended execution once more")
        .about("A new execution with the old one's payload; the old one keeps its state. Takes no body.")
        .header("Idempotency-Key", json!({ "type": "string", "maxLength": 255 }), key)
        .of_an_execution()
        .problems(&[
            "still-live",
            "idempotency-conflict",
            "payload-gone",
            "payload-unreadable",
            "data-key-unavailable",
            "overloaded",
            "payload-too-large",
        ])
        .metered()
        .answers_with("Location", "Where the new execution is shown.")
        .answer(202, "The new execution is durable.", of::<Published>(), published(false))
        .answer(
            200,
            "The idempotency key was used for this replay before.",
            of::<Published>(),
            published(true),
        )
}

fn cancel() -> Operation {
    post("/pulsar/executions/{id}/cancel", "cancelExecution", "Cancel an execution")
        .about("At once when it is accepted, waiting or between attempts. One that is running may still run: `note` says so.")
        .of_an_execution()
        .optional_body(
            request(json!({ "reason": { "type": "string", "maxLength": 500 } }), &[]),
            vec![("with a reason", json!({ "reason": "ordered twice" })), ("without", json!({}))],
        )
        .problems(&["not-cancellable"])
        .answer(
            200,
            "It is cancelled.",
            of::<Cancelled>(),
            json!({ "execution_id": EXECUTION, "state": "cancelled", "was": "retrying" }),
        )
}

impl Operation {
    /// What [`crate::routes::filter`] reads.
    fn filtered(self) -> Self {
        self.query("state", json!({ "type": "string" }), "Only those in this state; several with commas.")
            .query("workflow_id", reference("WorkflowId"), "Only those of this workflow.")
            .query("lane", reference("Lane"), "Only those of this lane.")
            .query("since", time(), "Only those accepted from this time on.")
            .query("until", time(), "Only those accepted before this time.")
            .query("reason", reference("Reason"), "Only those that ended for this reason.")
            .query(
                "metadata",
                json!({ "type": "string" }),
                "A JSON object: only those whose metadata holds it.",
            )
    }
}
