use serde_json::{Value, json};

use super::{ACCEPTED_AT, Operation, in_effect, object, reference, request};
use crate::openapi::operation::{delete, get, of, put};
use crate::routes::hold::Put;

pub fn operations() -> Vec<Operation> {
    let fields = json!({
        "workflow_id": reference("WorkflowId"), "lane": reference("Lane"),
        "host": { "type": "string", "description": "The webhook's, as host or host:port." },
        "reason": { "type": "string", "minLength": 1, "maxLength": 500 },
    });
    vec![
        get("/pulsar/holds", "listHolds", "List a tenant's holds").of_a_tenant().asks_the_database().answer(
            200,
            "All of them.",
            object(json!({
                "tenant_id": reference("TenantId"), "holds": { "type": "array", "items": reference("Hold") },
            })),
            json!({ "tenant_id": "acme", "holds": [hold()] }),
        ),
        put("/pulsar/holds/{id}", "putHold", "Stop what fits for a while")
            .about(
                "What fits all the given fields is accepted as ever and not fired; no attempt is spent. In force within \
                 2 s. Without fields it holds the whole tenant.",
            )
            .named_hold()
            .body(
                request(fields, &["reason"]),
                vec![
                    ("a host", json!({ "host": "n8n.example", "reason": "n8n is being upgraded" })),
                    ("a lane", json!({ "lane": "ai", "reason": "the model is being replaced" })),
                ],
            )
            .problems(&["conflict", "rate-limited"])
            .answer(201, "It is new.", of::<Put>(), put_hold("created"))
            .answer(200, "It was there.", of::<Put>(), put_hold("changed")),
        delete("/pulsar/holds/{id}", "releaseHold", "Release a hold").named_hold().problems(&["conflict", "rate-limited"]).answer(
            200,
            "It is released, and so many of what it had parked are due now.",
            object(json!({
                "tenant_id": reference("TenantId"), "hold_id": { "type": "string" }, "deleted": { "const": true },
                "released": { "type": "integer" }, "in_effect": in_effect(),
            })),
            json!({ "tenant_id": "acme", "hold_id": "upgrade", "deleted": true, "released": 17, "in_effect": true }),
        ),
    ]
}

fn hold() -> Value {
    json!({
        "hold_id": "upgrade", "host": "n8n.example", "reason": "n8n is being upgraded",
        "created_by": "npb_0a1b2c3d4e5f", "created_at": ACCEPTED_AT,
    })
}

fn put_hold(outcome: &str) -> Value {
    let mut hold = hold();
    hold["tenant_id"] = json!("acme");
    hold["outcome"] = json!(outcome);
    hold["changed"] = json!(true);
    hold["in_effect"] = json!(true);
    hold
}

impl Operation {
    fn named_hold(self) -> Self {
        self.path("id", json!({ "type": "string" }), "1 to 64 letters, digits and . _ -", "upgrade")
            .of_a_tenant()
            .problems(&["not-found"])
            .asks_the_database()
    }
}
