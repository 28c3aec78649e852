use serde_json::{Value, json};

use super::{ACCEPTED_AT, EXECUTION, Operation, in_effect, limit, reference, request};
use crate::openapi::operation::{delete, get, of, put};
use crate::routes::{tenant, tenants};

pub fn operations() -> Vec<Operation> {
    vec![list(), store(), show(), remove(), export()]
}

fn list() -> Operation {
    get("/pulsar/tenants", "listTenants", "List the tenants, by id")
        .query("limit", limit(100, 1000), "How many to answer with.")
        .query("after", reference("TenantId"), "The `next_after` of the page before.")
        .problems(&["invalid-request"])
        .asks_the_database()
        .answer(200, "A page.", of::<tenants::Page>(), json!({ "tenants": [shown()], "next_after": "acme" }))
}

fn store() -> Operation {
    let fields = json!({
        "state": { "type": "string", "enum": ["active", "suspended"] },
        "limits": reference("TenantLimitsRequest"),
    });
    put("/pulsar/tenants/{id}", "putTenant", "Create, change, suspend or resume a tenant")
        .about(
            "What is left out stays as it is; `limits` replaces all limits together. A suspended tenant publishes \
             nothing, and nothing of it fires. The broker's half is `bridgectl tenant create`.",
        )
        .one()
        .optional_body(
            request(fields, &[]),
            vec![
                ("create", json!({})),
                ("limits", json!({ "limits": { "requests_per_second": 50, "burst": 200 } })),
                ("suspend", json!({ "state": "suspended" })),
            ],
        )
        .problems(&["conflict"])
        .answer(201, "It is new; its webhook secret is shown this once.", of::<tenant::Put>(), {
            let mut created = changed("created");
            created["webhook_secret"] = json!("whsec_...");
            created
        })
        .answer(200, "It was there.", of::<tenant::Put>(), changed("changed"))
}

fn show() -> Operation {
    get("/pulsar/tenants/{id}", "showTenant", "Show a tenant").one().answer(
        200,
        "The tenant.",
        of::<tenant::Whole>(),
        {
            let mut whole = shown();
            whole["live"] = json!(3);
            whole["usage"] = json!({ "payload_bytes_today": 20480, "executions_today": 17 });
            whole
        },
    )
}

fn remove() -> Operation {
    let flag = |default: bool| json!({ "type": "boolean", "default": default });
    delete("/pulsar/tenants/{id}", "deleteTenant", "Drain a tenant and remove all it holds")
        .about(
            "Nothing new is accepted, what lives comes to its end or is cancelled, then everything is removed. Repeat \
             the call until it answers 200: it goes on where it stopped.",
        )
        .one()
        .needs_query("confirm", json!({ "type": "string" }), "The tenant's id once more.")
        .query("abandon", flag(false), "Cancel what lives instead of waiting for its end.")
        .query("remove", flag(true), "false: only drain it; what it leaves can still be exported.")
        .problems(&["invalid-request", "conflict"])
        .answer(
            200,
            "It is gone. `removed` counts rows by kind.",
            super::object(json!({
                "tenant_id": reference("TenantId"), "state": { "const": "removed" }, "removed": {},
                "cancelled": { "type": "integer" }, "in_effect": in_effect(),
            })),
            json!({ "tenant_id": "acme", "state": "removed", "removed": {}, "cancelled": 0, "in_effect": true }),
        )
        .answer(
            202,
            "Not yet: it still has live executions, or a daemon does not know yet. Ask again.",
            super::object(json!({
                "tenant_id": reference("TenantId"), "state": { "enum": ["suspended", "deleting"] },
                "live": { "type": "integer" }, "cancelled": { "type": "integer" }, "in_effect": in_effect(),
            })),
            json!({ "tenant_id": "acme", "state": "deleting", "live": 3, "cancelled": 0, "in_effect": true }),
        )
}

fn export() -> Operation {
    get("/pulsar/tenants/{id}/export", "exportTenant", "Export a tenant's executions")
        .about("One JSON object a line, by id, with payloads and results. Fewer lines than `limit` are the end. Audited.")
        .one()
        .query("after", reference("ExecutionId"), "The id of the last line before.")
        .query("limit", limit(1000, 10_000), "How many lines to answer with.")
        .problems(&["invalid-request"])
        .answer_as(
            200,
            "Lines of `ExportedExecution`.",
            "application/x-ndjson",
            json!({ "type": "string" }),
            json!(format!("{{\"execution_id\":\"{EXECUTION}\",\"tenant_id\":\"acme\",\"payload\":{{\"order\":17}}}}\n")),
        )
}

fn shown() -> Value {
    json!({
        "tenant_id": "acme", "state": "active", "created_at": ACCEPTED_AT, "changed_at": ACCEPTED_AT,
        "limits": {
            "requests_per_second": 50.0, "burst": 200, "open_executions": null, "payload_bytes_per_day": null,
            "result_ttl_s": null,
        },
    })
}

fn changed(outcome: &str) -> Value {
    let mut tenant = shown();
    tenant["outcome"] = json!(outcome);
    tenant["changed"] = json!(true);
    tenant["in_effect"] = json!(true);
    tenant
}

impl Operation {
    fn one(self) -> Self {
        self.path("id", json!({ "type": "string" }), "The tenant's id.", "acme")
            .problems(&["not-found"])
            .asks_the_database()
    }
}
