use serde_json::{Value, json};

use super::{Operation, object};
use crate::openapi::operation::{Body, get, post};

pub fn operations() -> Vec<Operation> {
    vec![token(), server(), keys()]
}

fn token() -> Operation {
    let text = || json!({ "type": "string" });
    let mut operation = post("/oauth2/token", "issueToken", "Get an access token (RFC 6749, client credentials)")
        .about(
            "The client is named by HTTP Basic or in the body, not both. Refusals are in the terms of RFC 6749, with \
             `message` for n8n.",
        )
        .answers_with("Cache-Control", "`no-store`")
        .answer(
            200,
            "A token.",
            object(json!({
                "access_token": text(), "token_type": { "const": "Bearer" }, "expires_in": { "type": "integer" },
                "scope": text(),
            })),
            json!({ "access_token": "eyJ...", "token_type": "Bearer", "expires_in": 3600, "scope": "publish read" }),
        );
    let form = json!({
        "type": "object",
        "properties": {
            "grant_type": { "const": "client_credentials" }, "client_id": text(), "client_secret": text(),
            "scope": { "type": "string", "description": "Names separated by spaces; without it all the client has." },
        },
        "required": ["grant_type"],
    });
    let example = json!({ "grant_type": "client_credentials", "client_id": "svc_0a1b2c3d4e5f", "client_secret": "..." });
    operation.body = Some(Body {
        media: "application/x-www-form-urlencoded",
        required: true,
        shape: form.into(),
        examples: vec![("client in the body", example)],
    });
    let refusals: [(u16, &str, &[&str]); 5] = [
        (
            400,
            "The request is not one for a token.",
            &["invalid_request", "unsupported_grant_type", "invalid_scope"],
        ),
        (401, "The client is not known, or its secret is wrong.", &["invalid_client"]),
        (429, "Too many requests for tokens; keep one until it expires.", &["slow_down"]),
        (500, "The token could not be signed.", &["server_error"]),
        (503, "Clients are not known yet, or there is no key.", &["temporarily_unavailable"]),
    ];
    for (status, means, errors) in refusals {
        operation = operation.answer(
            status,
            means,
            refusal(errors),
            json!({
                "error": errors[0], "error_description": means, "message": means,
            }),
        );
    }
    operation
}

fn refusal(errors: &[&str]) -> Value {
    object(json!({
        "error": { "enum": errors }, "error_description": { "type": "string" }, "message": { "type": "string" },
    }))
}

fn server() -> Operation {
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    get("/.well-known/oauth-authorization-server", "issuerMetadata", "Describe the issuer (RFC 8414)")
        .problems(&["not-found"])
        .answers_with("Cache-Control", "For how long it may be kept.")
        .answer(
            200,
            "Where tokens and keys are.",
            object(json!({
                "issuer": { "type": "string" }, "token_endpoint": { "type": "string" }, "jwks_uri": { "type": "string" },
                "grant_types_supported": texts(), "response_types_supported": texts(),
                "token_endpoint_auth_methods_supported": texts(), "scopes_supported": texts(),
            })),
            json!({
                "issuer": "https://bridge.example", "token_endpoint": "https://bridge.example/oauth2/token",
                "jwks_uri": "https://bridge.example/.well-known/jwks.json",
                "grant_types_supported": ["client_credentials"], "response_types_supported": [],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "scopes_supported": ["publish", "read", "payload", "result", "replay", "routes", "admin"],
            }),
        )
}

fn keys() -> Operation {
    get("/.well-known/jwks.json", "issuerKeys", "Publish the issuer's public keys (RFC 7517)")
        .answers_with("Cache-Control", "For how long they may be kept.")
        .answer(
            200,
            "The keys that verify our tokens.",
            object(json!({ "keys": { "type": "array", "items": { "type": "object" } } })),
            json!({ "keys": [{
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "2026-11-21-0a1b2c3d", "x": "...",
            }] }),
        )
}
