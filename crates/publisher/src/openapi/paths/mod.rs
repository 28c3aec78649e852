//! One file for each part of the API: what no type can say of its endpoints.

mod audit;
mod callers;
mod credentials;
mod dead_letters;
mod executions;
mod health;
mod holds;
mod jobs;
mod keys;
mod publishing;
mod results;
mod routing;
mod status;
mod tenants;
mod tokens;

use bridge_protocol::{Completion, Reason, Route, Scope, TenantId};
use bridge_service::Problem;
use bridge_store::TenantLimits;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::operation::Operation;
use crate::routes::{clients, hold, tenant_export};

/// In the order a reader meets them.
pub const TAGS: &[(&str, &str)] = &[
    ("Publishing", "Hand an execution over."),
    ("Executions", "What became of it."),
    ("Results", "What n8n answered or reported."),
    ("Many at once", "Replays and cancellations of many, as jobs that go on by themselves."),
    ("Dead letters", "What ended without success and waits for a person."),
    ("Routing", "Where a tenant's executions go, and by which rules."),
    ("Holds", "Accepted as ever, and not fired."),
    ("Status", "The whole on one page."),
    (
        "Outgoing credentials",
        "What the bridge shows to a tenant's webhooks; sealed at rest, never shown again.",
    ),
    ("Tenants", "Who shares the bridge, and what each may use."),
    ("Clients", "Credentials of callers: service accounts and API keys."),
    ("Keys", "Rotation and destruction of keys."),
    ("Audit", "Who changed what, and what was turned away."),
    ("Tokens", "The built-in issuer of access tokens."),
    ("Health", "How the publisher is, and what describes it."),
];

pub fn all() -> Vec<(&'static str, Operation)> {
    let parts = [
        ("Publishing", publishing::operations()),
        ("Executions", executions::operations()),
        ("Results", results::operations()),
        ("Many at once", jobs::operations()),
        ("Dead letters", dead_letters::operations()),
        ("Routing", routing::operations()),
        ("Holds", holds::operations()),
        ("Status", status::operations()),
        ("Outgoing credentials", credentials::operations()),
        ("Tenants", tenants::operations()),
        ("Clients", callers::operations()),
        ("Keys", keys::operations()),
        ("Audit", audit::operations()),
        ("Tokens", tokens::operations()),
        ("Health", health::operations()),
    ];
    parts
        .into_iter()
        .flat_map(|(tag, operations)| operations.into_iter().map(move |operation| (tag, operation)))
        .collect()
}

/// Shapes that are only ever named inside of others.
pub fn register(schemas: &mut SchemaGenerator) -> Vec<(&'static str, Value)> {
    schemas.subschema_for::<Problem>();
    schemas.subschema_for::<TenantId>();
    schemas.subschema_for::<Scope>();
    schemas.subschema_for::<Reason>();
    schemas.subschema_for::<Completion>();
    schemas.subschema_for::<TenantLimits>();
    schemas.subschema_for::<clients::Shown>();
    schemas.subschema_for::<hold::Shown>();
    schemas.subschema_for::<tenant_export::Line<'static>>();
    vec![
        ("PublishRequest", publishing::publish_request()),
        ("RouteRequest", sent::<Route>()),
        ("TenantLimitsRequest", sent::<TenantLimits>()),
        ("ExecutionFilter", jobs::filter()),
    ]
}

pub const fn scope_means(scope: Scope) -> &'static str {
    match scope {
        Scope::Publish => "publish executions",
        Scope::Read => "see executions, without payloads and results",
        Scope::Payload => "read payloads",
        Scope::Result => "read results",
        Scope::Replay => "replay and cancel executions",
        Scope::Routes => "read and change routes, holds and outgoing credentials",
        Scope::Admin => "tenants, clients, keys and audit; stands alone",
    }
}

// What several endpoints share.

const EXECUTION: &str = "0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f";
const ACCEPTED_AT: &str = "2026-11-21T09:30:00.123456Z";

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn time_or_null() -> Value {
    json!({ "type": ["string", "null"], "format": "date-time" })
}

fn limit(default: u32, most: u32) -> Value {
    json!({ "type": "integer", "minimum": 1, "maximum": most, "default": default })
}

/// An object all of whose fields are always there.
fn object(fields: Value) -> Value {
    let names: Vec<&String> = fields.as_object().map(|fields| fields.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "properties": fields, "required": names })
}

/// An object that takes these fields and no others; `required` among them must be there.
fn request(fields: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": fields, "required": required, "additionalProperties": false })
}

/// What is shown whole may be sent in part: everything may be left out, and nothing else may be there.
fn sent<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Whether a change is in force in every daemon.
fn in_effect() -> Value {
    json!({
        "type": "boolean",
        "description": "Whether every daemon works with it already; false: within seconds.",
    })
}

impl Operation {
    /// Holds the answer for the result.
    fn waits(self) -> Self {
        let what =
            "Wait so many seconds for the result, up to the publisher's limit. `Prefer: wait=N` is the same.";
        self.query("wait", json!({ "type": "number", "minimum": 0 }), what)
            .header("Prefer", json!({ "type": "string" }), "`wait=N`: as the parameter wait (RFC 7240).")
            .answers_with("Preference-Applied", "`wait=N`, when Prefer asked for it.")
    }

    fn a_page(self, usual: u32) -> Self {
        self.query("limit", limit(usual, 1000), "How many to answer with.")
            .query(
                "cursor",
                json!({ "type": "string" }),
                "The `next_cursor` of the page before, with the same filter.",
            )
            .problems(&["bad-cursor"])
    }

    fn of_an_execution(self) -> Self {
        self.path("id", json!({ "type": "string" }), "The execution's id.", EXECUTION)
            .problems(&["not-found"])
            .of_a_tenant()
            .asks_the_database()
    }
}
