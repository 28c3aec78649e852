use serde_json::json;

use super::{ACCEPTED_AT, Operation, limit, object, reference, time};
use crate::openapi::operation::get;

pub fn operations() -> Vec<Operation> {
    vec![list(), refusals()]
}

fn list() -> Operation {
    let text = || json!({ "type": "string" });
    let maybe_text = || json!({ "type": ["string", "null"] });
    get("/pulsar/audit", "listAudit", "List administrative acts, oldest first")
        .query("tenant_id", reference("TenantId"), "Only those on this tenant.")
        .query("actor", text(), "Only those by this credential.")
        .query("action", text(), "Only those of this kind, for example tenant.put.")
        .query("after", json!({ "type": "integer", "minimum": 0 }), "The `next_after` of the page before.")
        .query("since", time(), "From this time on.")
        .query("until", time(), "Before this time.")
        .query("limit", limit(100, 1000), "How many to answer with.")
        .problems(&["invalid-request"])
        .asks_the_database()
        .answer(
            200,
            "A page; `next_after` is null at the end.",
            object(json!({
                "entries": { "type": "array", "items": object(json!({
                    "id": { "type": "integer" }, "at": time(), "actor": text(), "action": text(),
                    "tenant_id": maybe_text(), "target": text(), "source": maybe_text(), "before": {}, "after": {},
                })) },
                "next_after": { "type": ["integer", "null"] },
            })),
            json!({
                "entries": [{
                    "id": 17, "at": ACCEPTED_AT, "actor": "npb_0a1b2c3d4e5f", "action": "tenant.put",
                    "tenant_id": "acme", "target": "acme", "source": "198.51.100.7", "before": null,
                    "after": { "state": "active" },
                }],
                "next_after": null,
            }),
        )
}

fn refusals() -> Operation {
    let text = || json!({ "type": "string" });
    get("/pulsar/audit/refusals", "listRefusals", "Count what was turned away, by minute")
        .query("since", time(), "From this time on; else of the last day.")
        .query("limit", limit(100, 1000), "How many to answer with.")
        .problems(&["invalid-request"])
        .asks_the_database()
        .answer(
            200,
            "Refused logins and forged messages.",
            object(json!({
                "refusals": { "type": "array", "items": object(json!({
                    "minute": time(), "kind": text(), "subject": text(), "reason": text(),
                    "count": { "type": "integer" },
                })) },
                "since": time(),
            })),
            json!({
                "refusals": [{
                    "minute": "2026-11-21T09:30:00Z", "kind": "login", "subject": "unknown", "reason": "unknown",
                    "count": 3,
                }],
                "since": ACCEPTED_AT,
            }),
        )
}
