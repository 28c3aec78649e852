use serde_json::{Value, json};

use super::{ACCEPTED_AT, Operation, in_effect, object, reference, request};
use crate::openapi::operation::{delete, get, of, put};
use crate::routes::credentials::Shown;

const NAME: &str = "1 to 64 lower case letters, digits and hyphens; routes name it.";

pub fn operations() -> Vec<Operation> {
    vec![list(), store(), show(), remove()]
}

fn list() -> Operation {
    get("/pulsar/credentials", "listCredentials", "List the outgoing credentials")
        .of_a_tenant()
        .asks_the_database()
        .answer(
            200,
            "All of them, without their secrets.",
            object(json!({
                "tenant_id": reference("TenantId"),
                "credentials": { "type": "array", "items": reference("OutgoingCredential") },
            })),
            json!({ "tenant_id": "acme", "credentials": [shown()] }),
        )
}

fn store() -> Operation {
    let fields = json!({
        "kind": { "type": "string", "enum": ["header", "basic", "bearer", "jwt"] },
        "name": { "type": "string", "description": "header: its name." },
        "value": { "type": "string", "description": "header: its value." },
        "user": { "type": "string", "description": "basic" },
        "password": { "type": "string", "description": "basic" },
        "token": { "type": "string", "description": "bearer" },
        "secret": { "type": "string", "description": "jwt: at least 32 bytes; a token of 60 s is made for each request." },
    });
    put("/pulsar/credentials/{name}", "putCredential", "Store an outgoing credential")
        .about("Each kind takes its own fields. At most 100 for a tenant.")
        .named()
        .body(
            request(fields, &["kind"]),
            vec![
                ("header", json!({ "kind": "header", "name": "x-api-key", "value": "..." })),
                ("bearer", json!({ "kind": "bearer", "token": "..." })),
                ("basic", json!({ "kind": "basic", "user": "bridge", "password": "..." })),
                ("jwt", json!({ "kind": "jwt", "secret": "at least thirty-two bytes of chance" })),
            ],
        )
        .problems(&["conflict", "rate-limited", "not-found"])
        .answer(201, "It is new.", stored(), example("created"))
        .answer(200, "It was replaced.", stored(), example("changed"))
}

fn show() -> Operation {
    get("/pulsar/credentials/{name}", "showCredential", "Show an outgoing credential")
        .named()
        .problems(&["not-found"])
        .answer(200, "The credential, without its secret.", of::<Shown>(), shown())
}

fn remove() -> Operation {
    delete("/pulsar/credentials/{name}", "deleteCredential", "Delete an outgoing credential")
        .named()
        .problems(&["not-found", "conflict", "rate-limited"])
        .answer(
            200,
            "It is gone.",
            object(json!({
                "name": { "type": "string" }, "tenant_id": reference("TenantId"), "deleted": { "const": true },
                "changed": { "type": "boolean" }, "in_effect": in_effect(),
            })),
            json!({ "name": "crm", "tenant_id": "acme", "deleted": true, "changed": true, "in_effect": true }),
        )
}

fn stored() -> Value {
    object(json!({
        "name": { "type": "string" }, "kind": { "type": "string" }, "tenant_id": reference("TenantId"),
        "changed": { "const": true }, "outcome": { "enum": ["created", "changed"] }, "in_effect": in_effect(),
    }))
}

fn example(outcome: &str) -> Value {
    json!({
        "name": "crm", "kind": "bearer", "tenant_id": "acme", "changed": true, "outcome": outcome, "in_effect": true,
    })
}

fn shown() -> Value {
    json!({ "name": "crm", "kind": "bearer", "created_at": ACCEPTED_AT, "changed_at": ACCEPTED_AT })
}

impl Operation {
    fn named(self) -> Self {
        self.path("name", json!({ "type": "string" }), NAME, "crm").of_a_tenant().asks_the_database()
    }
}
