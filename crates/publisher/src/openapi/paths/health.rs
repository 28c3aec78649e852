use bridge_service::health::HealthReport;
use serde_json::json;

use super::{Operation, object};
use crate::openapi::operation::{get, of, post};

pub fn operations() -> Vec<Operation> {
    vec![live(), ready(), metrics(), canary(), document(), page()]
}

fn live() -> Operation {
    get("/health/live", "live", "Whether the process lives").answer(
        200,
        "It does.",
        object(json!({ "status": { "const": "ok" } })),
        json!({ "status": "ok" }),
    )
}

fn ready() -> Operation {
    let report = |status: &str| {
        json!({ "status": status, "dependencies": [
            { "name": "postgres", "status": if status == "down" { "down" } else { "ok" }, "age_ms": 1200 },
            { "name": "pulsar", "status": if status == "ok" { "ok" } else { "down" }, "age_ms": 0 },
        ] })
    };
    get("/health/ready", "ready", "Whether it takes executions")
        .about("`degraded`: it accepts, and publishes when the broker is back.")
        .answer(200, "It does.", of::<HealthReport>(), report("degraded"))
        .answer(503, "It cannot take executions now.", of::<HealthReport>(), report("down"))
}

fn metrics() -> Operation {
    get("/metrics", "metrics", "Figures for Prometheus").answer_as(
        200,
        "In Prometheus's text format.",
        "text/plain",
        json!({ "type": "string" }),
        json!("bridge_http_requests_total{method=\"POST\",route=\"/pulsar/publish\",status=\"202\"} 17\n"),
    )
}

fn canary() -> Operation {
    post("/internal/canary", "canary", "Where the bridge's own canary arrives")
        .about("For nobody else: it asks for the signature of the canary's webhooks, and changes nothing.")
        .body(
            json!({ "type": "object" }),
            vec![("canary", json!({ "payload": { "canary": "short", "round": 1 } }))],
        )
        .answer(200, "A canary.", object(json!({ "canary": { "const": "ok" } })), json!({ "canary": "ok" }))
        .problems(&[
            "not-found",
            "unsupported-media-type",
            "result-too-large",
            "slow-body",
            "incomplete-body",
            "overloaded",
        ])
}

fn document() -> Operation {
    get("/openapi.json", "openapi", "This document").answer(
        200,
        "OpenAPI 3.1.",
        json!({ "type": "object", "required": ["openapi", "info", "paths"] }),
        json!({ "openapi": "3.1.0", "info": { "title": "n8n Pulsar bridge", "version": "0.1.0" }, "paths": {} }),
    )
}

fn page() -> Operation {
    get("/docs", "docs", "This document as a page").answer_as(
        200,
        "One page that loads nothing else.",
        "text/html",
        json!({ "type": "string" }),
        json!("<!doctype html>..."),
    )
}
