use serde_json::{Value, json};

use super::{ACCEPTED_AT, Operation, in_effect, object, reference, request, time, time_or_null};
use crate::openapi::operation::{delete, get, of, post};
use crate::routes::clients::Made;

pub fn operations() -> Vec<Operation> {
    vec![list(), create(), rotate(), revoke()]
}

fn list() -> Operation {
    get("/pulsar/clients", "listClients", "List the callers' credentials")
        .query("tenant_id", reference("TenantId"), "Only those of this tenant.")
        .problems(&["invalid-request"])
        .asks_the_database()
        .answer(
            200,
            "All of them, without secrets.",
            object(json!({ "clients": { "type": "array", "items": reference("Client") } })),
            json!({ "clients": [{
                "client_id": "svc_0a1b2c3d4e5f", "kind": "service_account", "name": "n8n", "tenants": ["acme"],
                "scopes": ["publish", "read"], "created_at": ACCEPTED_AT, "expires_at": null, "revoked_at": null,
                "old_valid_until": null,
            }] }),
        )
}

fn create() -> Operation {
    let mut expires_at = time();
    expires_at["description"] = json!("Without it, it does not expire.");
    let fields = json!({
        "name": { "type": "string", "minLength": 1, "maxLength": 100 },
        "kind": { "type": "string", "enum": ["service_account", "api_key"] },
        "tenants": {
            "type": "array", "items": reference("TenantId"), "description": "None for the scope admin; else at least one.",
        },
        "scopes": { "type": "array", "items": reference("Scope"), "minItems": 1, "description": "admin stands alone." },
        "expires_at": expires_at,
    });
    post("/pulsar/clients", "createClient", "Create a credential for callers")
        .body(
            request(fields, &["name", "kind", "scopes"]),
            vec![
                ("service account", json!({
                    "name": "n8n", "kind": "service_account", "tenants": ["acme"], "scopes": ["publish", "read"],
                })),
                ("operator's key", json!({ "name": "ops", "kind": "api_key", "scopes": ["admin"] })),
            ],
        )
        .problems(&["conflict", "not-found"])
        .asks_the_database()
        .answers_with("Cache-Control", "`no-store`")
        .answer(201, "Its secret is shown this once.", of::<Made>(), made())
}

fn rotate() -> Operation {
    let fields = json!({ "overlap_seconds": {
        "type": "integer", "minimum": 0, "maximum": 7_776_000, "default": 86_400,
        "description": "For how long the old secret is still taken.",
    } });
    post("/pulsar/clients/{id}/rotate", "rotateClient", "Give a credential a new secret")
        .one_client()
        .optional_body(
            request(fields, &[]),
            vec![("a day's overlap", json!({})), ("leaked", json!({ "overlap_seconds": 0 }))],
        )
        .problems(&["conflict"])
        .answers_with("Cache-Control", "`no-store`")
        .answer(200, "Its new secret is shown this once.", of::<Made>(), made())
}

fn revoke() -> Operation {
    delete("/pulsar/clients/{id}", "revokeClient", "Revoke a credential")
        .one_client()
        .problems(&["conflict"])
        .answer(
            200,
            "It is revoked; what was issued to it is void.",
            object(json!({
                "client_id": { "type": "string" }, "revoked": { "const": true }, "changed": { "type": "boolean" },
                "revoked_at": time_or_null(), "in_effect": in_effect(),
            })),
            json!({
                "client_id": "svc_0a1b2c3d4e5f", "revoked": true, "changed": true, "revoked_at": ACCEPTED_AT,
                "in_effect": true,
            }),
        )
}

fn made() -> Value {
    json!({
        "client_id": "svc_0a1b2c3d4e5f", "client_secret": "...", "kind": "service_account", "name": "n8n",
        "tenants": ["acme"], "scopes": ["publish", "read"], "token_url": "https://bridge.example/oauth2/token",
        "in_effect": true,
    })
}

impl Operation {
    fn one_client(self) -> Self {
        self.path("id", json!({ "type": "string" }), "The credential's id.", "svc_0a1b2c3d4e5f")
            .problems(&["not-found"])
            .asks_the_database()
    }
}
