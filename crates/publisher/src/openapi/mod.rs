//! The description of the HTTP API (OpenAPI 3.1). The endpoints and their needs come from the router's table, the
//! shapes of the answers from the types they are written from, the problems from one table; what no type says, the
//! files in [`paths`] say.

mod operation;
mod page;
mod paths;
mod problems;
mod reference;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bridge_protocol::Scope;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::endpoints::{self, Need};
use operation::{Operation, Shape};
pub use page::page;
pub use reference::reference;

const SCHEMAS: &str = "/components/schemas";
const ABOUT: &str = "Executes n8n workflows: `POST /pulsar/publish` stores a payload and answers 202 once that is \
    durable; the bridge fires the workflow's webhook, retries it, and keeps what became of it.\n\nErrors are problems \
    (RFC 9457) with a stable `type`; their `message` repeats `detail` for n8n. They are sent as `application/json`, or \
    as `application/problem+json` to a caller whose Accept names it. The token route answers by RFC 6749.\n\nA \
    credential of a tenant sees that tenant only: what belongs to another looks like what does not exist.";

/// The whole document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let written_down = paths::register(&mut schemas);
    let mut described: Vec<(&'static str, Operation)> = paths::all();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    // The same for many endpoints.
    let mut refusals = BTreeMap::new();
    for endpoint in endpoints::all() {
        let here = |of: &Operation| endpoint.method == of.method && endpoint.path == of.path;
        // A test finds what is missing here.
        let Some(at) = described.iter().position(|(_, operation)| here(operation)) else { continue };
        let (tag, operation) = described.swap_remove(at);
        let method = operation.method.to_ascii_lowercase();
        paths
            .entry(endpoint.path)
            .or_default()
            .insert(method, written(tag, operation, endpoint.access, &mut schemas, &mut refusals));
    }
    let mut shapes = schemas.take_definitions(true);
    shapes.extend(written_down.into_iter().map(|(name, shape)| (name.to_owned(), shape)));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "n8n Pulsar bridge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The publisher that serves this document." }],
        "tags": paths::TAGS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": shapes,
            "examples": problems::KINDS.iter().map(|kind| {
                (kind.slug.to_owned(), json!({ "summary": kind.title, "value": kind.example() }))
            }).collect::<Map<_, _>>(),
            "responses": refusals,
            "headers": headers(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// As `bridge-publisher openapi` prints it and `/openapi.json` serves it.
pub fn text() -> String {
    // Plain JSON always serializes.
    serde_json::to_string_pretty(&document()).unwrap_or_default()
}

fn written(
    tag: &str,
    operation: Operation,
    need: Need,
    schemas: &mut SchemaGenerator,
    refusals: &mut BTreeMap<String, Value>,
) -> Value {
    let operation = match need {
        Need::Open => operation,
        Need::Scope(_) | Need::Admin => operation.problems(&[
            "unauthorized",
            "missing-scope",
            "not-local",
            "not-ready",
            "issuer-unavailable",
        ]),
    };
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    let headers: Map<String, Value> = operation
        .headers
        .iter()
        .map(|(name, means)| {
            ((*name).to_owned(), json!({ "description": means, "schema": { "type": "string" } }))
        })
        .collect();
    for answer in operation.answers {
        let mut response = json!({ "description": answer.means });
        let mut content = json!({ "schema": shape(answer.shape, schemas) });
        if !answer.example.is_null() {
            content["example"] = answer.example;
        }
        response["content"] = json!({ answer.media: content });
        if !headers.is_empty() && answer.status < 300 {
            response["headers"] = json!(headers);
        }
        responses.insert(answer.status.to_string(), response);
    }
    for (status, kinds) in by_status(&operation.problems) {
        // A route that answers errors in another form too names both in its own answer.
        responses.entry(status.to_string()).or_insert_with(|| {
            let name = kinds.iter().map(|kind| kind.slug).collect::<Vec<_>>().join("_or_");
            let to = json!({ "$ref": format!("#/components/responses/{name}") });
            refusals.entry(name).or_insert_with(|| refusal(status, &kinds));
            to
        });
    }
    let (security, scope) = security(need);
    let mut whole = json!({
        "tags": [tag],
        "operationId": operation.id,
        "summary": operation.summary,
        "description": described(operation.description, need),
        "responses": responses,
        "security": security,
        "x-required-scope": scope,
    });
    if !operation.parameters.is_empty() {
        whole["parameters"] = json!(operation.parameters);
    }
    if let Some(body) = operation.body {
        let examples: Map<String, Value> = body
            .examples
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!({ "value": value })))
            .collect();
        let content = json!({ "schema": shape(body.shape, schemas), "examples": examples });
        whole["requestBody"] = json!({ "required": body.required, "content": { body.media: content } });
    }
    whole
}

fn described(description: &str, need: Need) -> String {
    let needs = match need {
        Need::Open => "Needs no credential.".to_owned(),
        Need::Scope(scope) => format!("Needs a tenant's credential with the scope `{scope}`."),
        Need::Admin => "Needs an operator's credential, with the scope `admin`.".to_owned(),
    };
    if description.is_empty() { needs } else { format!("{description}\n\n{needs}") }
}

fn shape(shape: Shape, schemas: &mut SchemaGenerator) -> Value {
    match shape {
        Shape::Of(schema) => schema(schemas).to_value(),
        Shape::As(schema) => schema,
    }
}

fn by_status(slugs: &[&'static str]) -> BTreeMap<u16, Vec<&'static problems::Kind>> {
    let mut kinds: BTreeMap<u16, Vec<&problems::Kind>> = BTreeMap::new();
    // Nothing is sure never to fail.
    for kind in problems::KINDS.iter().filter(|kind| kind.slug == "internal" || slugs.contains(&kind.slug)) {
        kinds.entry(kind.status).or_default().push(kind);
    }
    kinds
}

fn refusal(status: u16, kinds: &[&problems::Kind]) -> Value {
    let lines: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug, kind.when)).collect();
    let types: Vec<String> = kinds.iter().map(|kind| kind.uri()).collect();
    let schema = json!({
        "allOf": [{ "$ref": format!("#{SCHEMAS}/Problem") }],
        "properties": { "type": { "enum": types }, "status": { "const": status } },
    });
    let examples: Map<String, Value> = kinds
        .iter()
        .map(|kind| (kind.slug.to_owned(), json!({ "$ref": format!("#/components/examples/{}", kind.slug) })))
        .collect();
    let content = json!({ "schema": schema, "examples": examples });
    let mut response = json!({
        "description": lines.join("\n\n"),
        "content": { "application/json": content, "application/problem+json": content },
    });
    let header = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
    match status {
        401 | 403 => response["headers"] = json!({ "WWW-Authenticate": header("WWW-Authenticate") }),
        429 | 503 => response["headers"] = json!({ "Retry-After": header("Retry-After") }),
        _ => {}
    }
    response
}

fn headers() -> Value {
    json!({
        "WWW-Authenticate": {
            "description": "Which credential or scope is needed (RFC 6750).", "schema": { "type": "string" },
        },
        "Retry-After": {
            "description": "Seconds to wait before the request is repeated.",
            "schema": { "type": "integer", "minimum": 1 },
        },
    })
}

/// Each entry is one way to log in; the list beside it names the scope that is needed.
fn security(need: Need) -> (Value, &'static str) {
    let Some(scope) = need.scope() else { return (json!([]), "open") };
    let scope = scope.as_str();
    (
        json!([{ "bearer": [scope] }, { "oauth2": [scope] }, { "apiKey": [scope] }, { "basic": [scope] }]),
        scope,
    )
}

fn security_schemes() -> Value {
    let scopes: Map<String, Value> = Scope::ALL
        .iter()
        .map(|scope| (scope.as_str().to_owned(), json!(paths::scope_means(*scope))))
        .collect();
    json!({
        "bearer": {
            "type": "http", "scheme": "bearer",
            "description": "An access token of the built-in issuer or of a configured one, or an API key (`npb_...`).",
        },
        "oauth2": {
            "type": "oauth2", "description": "The built-in issuer, for service accounts.",
            "flows": { "clientCredentials": { "tokenUrl": "/oauth2/token", "scopes": scopes } },
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key." },
        "basic": {
            "type": "http", "scheme": "basic", "description": "Any user name, and an API key as the password.",
        },
    })
}
