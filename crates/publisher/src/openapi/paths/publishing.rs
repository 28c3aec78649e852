use serde_json::{Value, json};

use super::{ACCEPTED_AT, EXECUTION, Operation, reference, request, time};
use crate::answer::Published;
use crate::openapi::operation::{of, post};
use crate::routes::batch::Outcome;
use crate::routes::older::Queued;

const KEY: &str = "The same key and request again: 200 with the first execution. The same key with another request: 409. \
    Kept for 7 days. 1 to 255 visible ASCII characters without spaces.";
const LENIENT: &str = "Read leniently where n8n is: outside of `payload`, numbers, booleans and objects may also be \
    sent as strings, and `\"\"` is absent. A payload that is a string holding JSON is kept as it is and answered with \
    a warning. A field that is not known is refused by name.";

pub fn operations() -> Vec<Operation> {
    vec![publish(), batch(), older_queue()]
}

fn publish() -> Operation {
    post("/pulsar/publish", "publish", "Publish an execution")
        .about(LENIENT)
        .header("Idempotency-Key", json!({ "type": "string", "maxLength": 255 }), KEY)
        .body(
            publish_request(),
            vec![
                ("smallest", json!({ "workflow_id": "orders/new", "payload": { "order": 17 } })),
                (
                    "everything",
                    json!({
                        "workflow_id": "orders/new", "type": "crm_sync", "lane": "short", "payload": { "order": 17 },
                        "idempotency_key": "order-17", "delay_seconds": 60, "expires_at": "2030-01-31T09:00:00Z",
                        "metadata": { "customer": "c-4" },
                    }),
                ),
            ],
        )
        .answer(202, "It is durable and will be executed.", of::<Published>(), published(false))
        .answer(200, "It has ended and was waited for, or its route is native; or the idempotency key was used before (`replayed`).", of::<Published>(), published(true))
        .answers_with("Location", "Where the execution is shown.")
        .problems(&["foreign-tenant", "idempotency-conflict", "data-key-unavailable", "too-many-waiters"])
        .problems(&["webhook-failed", "webhook-timeout", "already-ended"])
        .waits()
        .metered()
        .asks_the_database()
}

fn batch() -> Operation {
    post("/pulsar/publish/batch", "publishBatch", "Publish many executions in one transaction")
        .about(
            "Answers an outcome for each item, in the order of the items: what a request of its own would have been \
             answered. The rate is asked once for the whole batch.",
        )
        .body(
            json!({ "type": "array", "items": reference("PublishRequest"), "minItems": 1, "maxItems": 1000 }),
            vec![("two", json!([
                { "workflow_id": "orders/new", "payload": { "order": 17 }, "idempotency_key": "order-17" },
                { "workflow_id": "orders/new", "payload": { "order": 18 }, "idempotency_key": "order-18" },
            ]))],
        )
        .answer(
            200,
            "An outcome for each item.",
            of::<Vec<Outcome>>(),
            json!([{ "index": 0, "status": 202, "execution_id": EXECUTION, "execution": published(false) }]),
        )
        .problems(&["batch-too-large"])
        .metered()
        .asks_the_database()
}

fn older_queue() -> Operation {
    let fields = json!({
        "tenant_id": reference("TenantId"), "workflow_id": reference("WorkflowId"),
        "execution_id": { "type": "string", "pattern": "^[!-~]{1,255}$", "description": "The caller's own; makes a repetition safe." },
        "payload": {}, "data": { "description": "The payload, where payload is not given." },
    });
    post("/api/v2/n8n/queue", "olderQueue", "Publish as the older bridge did")
        .about("Without `payload` and `data` the whole object is the payload. `priority` and `callback_url` are not used.")
        .body(
            json!({ "type": "object", "properties": fields, "required": ["workflow_id"] }),
            vec![("payload", json!({ "workflow_id": "orders/new", "payload": { "order": 17 } }))],
        )
        .answer(
            200,
            "It is durable and will be executed.",
            of::<Queued>(),
            json!({
                "success": true, "status": "queued", "execution_id": EXECUTION, "job_id": EXECUTION,
                "queued_at": ACCEPTED_AT,
            }),
        )
        .problems(&["foreign-tenant", "idempotency-conflict", "data-key-unavailable"])
        .metered()
        .asks_the_database()
}

/// What is read field by field: [`crate::parse`].
pub fn publish_request() -> Value {
    let optional = |mut schema: Value, means: &str| {
        schema["description"] = json!(means);
        schema
    };
    let fields = json!({
        "tenant_id": optional(reference("TenantId"), "Needed only by a credential of several tenants."),
        "workflow_id": reference("WorkflowId"),
        "type": { "type": "string", "maxLength": 100, "description": "What kind of work it is; rules by type may route it." },
        "lane": reference("Lane"),
        "payload": { "description": "Any JSON value, kept byte for byte." },
        "idempotency_key": { "type": "string", "pattern": "^[!-~]{1,255}$", "description": KEY },
        "delay_seconds": { "type": "number", "minimum": 0, "description": "Deliver so much later. Not beside deliver_at." },
        "deliver_at": optional(time(), "Deliver then. Not beside delay_seconds."),
        "expires_at": optional(time(), "Do not deliver after this time."),
        "completion": reference("Completion"),
        "metadata": { "type": "object", "description": "At most 16 KiB; shown with the execution and given to the workflow." },
    });
    request(fields, &["workflow_id", "payload"])
}

pub fn published(replayed: bool) -> Value {
    let mut example = json!({
        "execution_id": EXECUTION, "status": "accepted", "tenant_id": "acme", "workflow_id": "orders/new",
        "lane": "short", "topic": "persistent://acme/workflows/dealscale.workflow.short",
        "route": { "mode": "pulsar", "decided_by": "request", "reason": "the request asks for lane short" },
        "links": {
            "self": format!("/pulsar/executions/{EXECUTION}"),
            "result": format!("/pulsar/executions/{EXECUTION}/result"),
            "replay": format!("/pulsar/executions/{EXECUTION}/replay"),
        },
    });
    if replayed {
        example["replayed"] = json!(true);
        example["status"] = json!("succeeded");
    }
    example
}

/// An execution as it is shown.
pub fn shown() -> Value {
    let published = published(false);
    json!({
        "execution_id": EXECUTION, "tenant_id": "acme", "workflow_id": "orders/new", "type": null, "lane": "short",
        "topic": published["topic"], "state": "succeeded", "evidence": "response", "summary": null, "waiting_on": null,
        "mode": "pulsar", "completion": "response", "attempt": 1,
        "attempts": [{
            "attempt": 1, "claimed_at": ACCEPTED_AT, "finished_at": ACCEPTED_AT, "http_status": 200,
            "outcome": "succeeded", "error": null, "message_id": "17:42:0",
        }],
        "accepted_at": ACCEPTED_AT, "deliver_at": null, "expires_at": null, "due_at": null,
        "published_at": ACCEPTED_AT, "claimed_at": ACCEPTED_AT, "lease_until": null, "finished_at": ACCEPTED_AT,
        "message_id": "17:42:0", "http_status": 200, "reason": null, "error": null, "n8n_execution_id": "231",
        "route": published["route"], "trace": { "id": "4bf92f3577b34da6a3ce929d0e0e4736", "sampled": true },
        "metadata": { "customer": "c-4" }, "replay_of": null, "replayed_as": null, "on_failure": null,
        "caused_by": null, "links": published["links"],
    })
}
