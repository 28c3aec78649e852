use serde_json::{Value, json};

use super::{ACCEPTED_AT, Operation, in_effect, object, reference, request, time, time_or_null};
use crate::openapi::operation::post;

pub fn operations() -> Vec<Operation> {
    vec![rotate(), destroy()]
}

fn rotate() -> Operation {
    let fields = json!({
        "key": { "type": "string", "enum": ["webhook", "data", "issuer", "master"] },
        "tenant_id": reference("TenantId"),
        "overlap_seconds": { "type": "integer", "minimum": 0, "maximum": 7_776_000 },
    });
    post("/pulsar/keys/rotate", "rotateKey", "Replace a key")
        .about(
            "`webhook`: a tenant's signing secret, shown this once; the old one signs beside it for `overlap_seconds`. \
             `data`: a tenant's data key. `issuer`: the key that signs access tokens; `overlap_seconds: 0` is for one \
             that leaked. `master`: seals again what older master keys sealed.",
        )
        .body(
            request(fields, &["key"]),
            vec![
                ("webhook", json!({ "key": "webhook", "tenant_id": "acme", "overlap_seconds": 86_400 })),
                ("data", json!({ "key": "data", "tenant_id": "acme" })),
                ("issuer", json!({ "key": "issuer" })),
                ("master", json!({ "key": "master" })),
            ],
        )
        .problems(&["not-found", "conflict"])
        .asks_the_database()
        .answer(
            200,
            "The new key is there.",
            json!({ "oneOf": [webhook(), data(), issuer(), master()] }),
            json!({
                "key": "webhook", "tenant_id": "acme", "id": "8c1f0a6e-52a1-4a59-9d5e-0c3a5c1d7b11",
                "webhook_secret": "whsec_...", "changed": true, "old_valid_until": ACCEPTED_AT, "in_effect": true,
            }),
        )
}

fn uuid() -> Value {
    json!({ "type": "string", "format": "uuid" })
}

fn webhook() -> Value {
    object(json!({
        "key": { "const": "webhook" }, "tenant_id": reference("TenantId"), "id": uuid(),
        "webhook_secret": { "type": "string" }, "changed": { "type": "boolean" }, "old_valid_until": time(),
        "in_effect": in_effect(),
    }))
}

fn data() -> Value {
    object(json!({
        "key": { "const": "data" }, "tenant_id": reference("TenantId"), "id": uuid(), "changed": { "type": "boolean" },
        "in_effect": in_effect(),
    }))
}

fn issuer() -> Value {
    object(json!({
        "key": { "const": "issuer" }, "kid": { "type": "string" }, "changed": { "type": "boolean" },
        "signs_from": time(), "old_verifies_until": time_or_null(), "in_effect": in_effect(),
    }))
}

fn master() -> Value {
    object(json!({
        "key": { "const": "master" }, "current": { "type": "string", "description": "The master key in use." },
        "sealed": { "type": "integer" }, "resealed": { "type": "integer" }, "changed": { "type": "boolean" },
        "unreadable": { "type": "integer" }, "unreadable_because": { "type": "array", "items": { "type": "string" } },
    }))
}

fn destroy() -> Operation {
    let fields = json!({
        "key": { "type": "string", "enum": ["data"] },
        "tenant_id": reference("TenantId"),
        "confirm": { "type": "string", "description": "The tenant's id once more." },
    });
    post("/pulsar/keys/destroy", "destroyKeys", "Destroy a tenant's data keys")
        .about("Every payload they sealed is unreadable for ever. The tenant must be suspended or deleted first.")
        .body(
            request(fields, &["key", "tenant_id", "confirm"]),
            vec![("destroy", json!({ "key": "data", "tenant_id": "acme", "confirm": "acme" }))],
        )
        .problems(&["not-found", "conflict", "tenant-active"])
        .asks_the_database()
        .answer(
            200,
            "They are destroyed.",
            object(json!({
                "key": { "const": "data" }, "tenant_id": reference("TenantId"), "destroyed": { "type": "integer" },
                "changed": { "type": "boolean" }, "in_effect": in_effect(), "detail": { "type": "string" },
            })),
            json!({
                "key": "data", "tenant_id": "acme", "destroyed": 1, "changed": true, "in_effect": true,
                "detail": "1 data keys of tenant acme are destroyed; ...",
            }),
        )
}
