use bridge_protocol::Route;
use bridge_store::RouteDiff;
use serde_json::{Value, json};

use super::{ACCEPTED_AT, Operation, in_effect, object, reference, request, time};
use crate::openapi::operation::{delete, get, of, put};
use crate::routes::workflows::Page;

const ROUTE: &str = "What is left out has its default, or is left to the next: the request, then the workflow's route, then \
    the rule of its type, then the tenant's default, then what is built in.";

pub fn operations() -> Vec<Operation> {
    let mut all = vec![list(), apply()];
    let workflow = Place {
        path: "/pulsar/workflows/{workflow_id}",
        ids: ["showRoute", "putRoute", "deleteRoute"],
        whose: ["Show a workflow's route", "Route a workflow", "Delete a workflow's route"],
        name: Some((
            "workflow_id",
            "WorkflowId",
            "The workflow's id; a slash in it is sent as %2F.",
            "orders",
        )),
    };
    let kind = Place {
        path: "/pulsar/types/{type}",
        ids: ["showTypeRule", "putTypeRule", "deleteTypeRule"],
        whose: ["Show the rule of a type", "Set the rule of a type", "Delete the rule of a type"],
        name: Some(("type", "", "What executions are published with as `type`.", "crm_sync")),
    };
    let default = Place {
        path: "/pulsar/default-route",
        ids: ["showDefaultRoute", "putDefaultRoute", "deleteDefaultRoute"],
        whose: [
            "Show the tenant's default route",
            "Set the tenant's default route",
            "Delete the tenant's default route",
        ],
        name: None,
    };
    for place in [workflow, kind, default] {
        all.extend(place.operations());
    }
    all
}

/// The endpoints of one kind of route.
struct Place {
    path: &'static str,
    ids: [&'static str; 3],
    whose: [&'static str; 3],
    name: Option<(&'static str, &'static str, &'static str, &'static str)>,
}

impl Place {
    fn operations(&self) -> [Operation; 3] {
        let [show, store, remove] = self.ids;
        let [shown, stored, removed] = self.whose;
        let means = "The change; in force in every daemon when `in_effect` says so.";
        [
            self.named(get(self.path, show, shown)).problems(&["not-found"]).answer(
                200,
                "The route.",
                self.object(json!({ "route": reference("Route"), "revision": { "type": "integer" }, "changed_at": time() })),
                self.example(json!({ "route": route(), "revision": 17, "changed_at": ACCEPTED_AT })),
            ),
            self.named(put(self.path, store, stored))
                .about(ROUTE)
                .optional_body(
                    reference("RouteRequest"),
                    vec![
                        ("lane and patience", json!({ "lane": "short", "timeout_ms": 10_000, "retry": { "max_attempts": 3 } })),
                        ("callback", json!({ "completion": "callback", "callback_timeout_s": 600 })),
                        ("own address", json!({ "webhook_url": "https://n8n.example/webhook/{workflow_id}" })),
                    ],
                )
                .problems(&["conflict", "not-found", "rate-limited"])
                .answer(201, means, self.changed(), self.change("created"))
                .answer(200, means, self.changed(), self.change("changed")),
            self.named(delete(self.path, remove, removed)).problems(&["conflict", "not-found", "rate-limited"]).answer(
                200,
                "There is none any more; `changed` says whether there was one.",
                self.object(json!({
                    "deleted": { "const": true }, "changed": { "type": "boolean" }, "in_effect": in_effect(),
                })),
                self.example(json!({ "deleted": true, "changed": true, "in_effect": true })),
            ),
        ]
    }

    fn named(&self, operation: Operation) -> Operation {
        let operation = match self.name {
            Some((name, "", means, example)) => {
                operation.path(name, json!({ "type": "string" }), means, example)
            }
            Some((name, schema, means, example)) => operation.path(name, reference(schema), means, example),
            None => operation,
        };
        operation.of_a_tenant().asks_the_database()
    }

    fn object(&self, mut fields: Value) -> Value {
        fields["tenant_id"] = reference("TenantId");
        if let Some((name, ..)) = self.name {
            fields[name] = json!({ "type": "string" });
        }
        object(fields)
    }

    fn example(&self, mut value: Value) -> Value {
        value["tenant_id"] = json!("acme");
        if let Some((name, .., example)) = self.name {
            value[name] = json!(example);
        }
        value
    }

    fn changed(&self) -> Value {
        self.object(json!({
            "route": reference("Route"), "revision": { "type": "integer" }, "changed_at": time(),
            "outcome": { "enum": ["created", "changed", "unchanged"] }, "changed": { "type": "boolean" },
            "in_effect": in_effect(),
        }))
    }

    fn change(&self, outcome: &str) -> Value {
        self.example(json!({
            "route": route(), "revision": 17, "changed_at": ACCEPTED_AT, "outcome": outcome, "changed": true,
            "in_effect": true,
        }))
    }
}

fn list() -> Operation {
    get("/pulsar/workflows", "listRoutes", "List a tenant's routes")
        .about("Routes of workflows, rules of types, and the default.")
        .a_page(100)
        .of_a_tenant()
        .asks_the_database()
        .answer(
            200,
            "A page.",
            of::<Page>(),
            json!({
                "tenant_id": "acme", "types": [],
                "workflows": [{ "workflow_id": "orders", "route": route(), "revision": 17, "changed_at": ACCEPTED_AT }],
            }),
        )
}

fn apply() -> Operation {
    let map = || json!({ "type": "object", "additionalProperties": reference("RouteRequest") });
    let fields = json!({
        "tenant": reference("TenantId"),
        "workflows": map(), "routes": { "type": "object", "description": "Another name of workflows.",
            "additionalProperties": reference("RouteRequest") },
        "types": map(), "default": reference("RouteRequest"),
        "prune": { "type": "boolean", "default": false, "description": "Delete what is not named." },
        "dry_run": { "type": "boolean", "default": false, "description": "Only say what would change." },
    });
    put("/pulsar/workflows", "applyRoutes", "Apply many routes at once, or see what that would change")
        .about("All of them or none. The names in the answer are places in the document: `workflows.orders`.")
        .of_a_tenant()
        .optional_body(
            request(fields, &[]),
            vec![("a document", json!({
                "workflows": { "orders": { "lane": "short" } }, "types": { "crm_sync": { "mode": "native" } },
                "default": { "priority": 3 }, "prune": true, "dry_run": true,
            }))],
        )
        .problems(&["conflict", "not-found", "rate-limited"])
        .asks_the_database()
        .answer(200, "What changed, or would change.", applied(), json!({
            "tenant_id": "acme", "dry_run": true, "prune": true, "created": ["workflows.orders"], "changed": [],
            "deleted": [], "unchanged": ["default"],
        }))
}

/// The lists are those of [`RouteDiff`].
fn applied() -> Value {
    let mut schema = schemars::schema_for!(RouteDiff).to_value();
    for (name, field) in [
        ("tenant_id", reference("TenantId")),
        ("dry_run", json!({ "type": "boolean" })),
        ("prune", json!({ "type": "boolean" })),
    ] {
        schema["properties"][name] = field;
        if let Some(required) = schema["required"].as_array_mut() {
            required.push(json!(name));
        }
    }
    // Not of a dry run.
    schema["properties"]["in_effect"] = in_effect();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.remove("title");
    }
    schema
}

/// As it is shown.
fn route() -> Value {
    // A route of plain values always serializes.
    serde_json::to_value(Route::default()).unwrap_or_default()
}
