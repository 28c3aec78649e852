use serde_json::{Value, json};

use super::{ACCEPTED_AT, EXECUTION, Operation};
use crate::openapi::operation::{get, of};
use crate::routes::status::{Numbers, Whole};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/pulsar/status", "tenantStatus", "Show a tenant's numbers")
            .of_a_tenant()
            .asks_the_database()
            .answer(200, "Now.", of::<Numbers>(), numbers(Some("acme"))),
        get("/pulsar/admin/status", "bridgeStatus", "Show the whole bridge with its daemons")
            .problems(&["invalid-request"])
            .asks_the_database()
            .answer(200, "Now.", of::<Whole>(), {
                let mut whole = numbers(None);
                whole["routes_revision"] = json!(17);
                whole["tenants"] = json!(2);
                whole["members"] = json!([{
                    "id": EXECUTION, "kind": "consumer", "version": "0.1.0", "host": "bridge-0",
                    "started_at": ACCEPTED_AT, "seen_at": ACCEPTED_AT, "alive": true, "detail": { "slots_free": 64 },
                }]);
                whole
            }),
    ]
}

fn numbers(tenant: Option<&str>) -> Value {
    let mut numbers = json!({
        "now": ACCEPTED_AT, "live": 3, "live_more": false, "dead_letters_24h": 0, "notices_waiting": 0,
        "follow_ups_waiting": 0, "jobs_running": 0, "holds": 0,
    });
    if let Some(tenant) = tenant {
        numbers["tenant_id"] = json!(tenant);
    }
    numbers
}
