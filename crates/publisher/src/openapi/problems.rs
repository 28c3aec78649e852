//! Every kind of problem the API answers with. A test compares this table with the code.

use serde_json::{Value, json};

pub struct Kind {
    /// The end of its `type`.
    pub slug: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What happened.
    pub when: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const fn kind(
    status: u16,
    slug: &'static str,
    title: &'static str,
    when: &'static str,
    remedy: &'static str,
) -> Kind {
    Kind { slug, status, title, when, remedy }
}

#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    kind(400, "invalid-request", "Invalid request",
        "a field or parameter is missing, unknown or has a bad value", "errors names each of them and what it must be"),
    kind(400, "malformed-json", "Malformed JSON",
        "the body is not the JSON that is asked for", "correct it at the place that detail names"),
    kind(400, "incomplete-body", "Incomplete body",
        "the connection ended before the body did", "send the whole body"),
    kind(400, "bad-cursor", "Bad cursor",
        "the cursor is not one of this list, tenant and filter", "give the next_cursor of an answer, or leave it out to begin at the start"),
    kind(401, "unauthorized", "Unauthorized",
        "the credential is missing, wrong, expired or revoked",
        "send a valid access token or API key as Authorization: Bearer, as X-API-Key, or as the password of Basic"),
    kind(401, "bad-callback-token", "Bad callback token",
        "the callback's address is not one that the bridge gave out", "send the report to x-callback-url exactly as the workflow received it"),
    kind(403, "missing-scope", "Missing scope",
        "the credential lacks the scope that WWW-Authenticate names",
        "use one that has it, or have it added"),
    kind(403, "foreign-tenant", "Not your tenant",
        "the credential is not for the tenant the request names",
        "leave tenant_id out, or use a credential of that tenant"),
    kind(403, "not-local", "Not from this machine",
        "with --insecure-dev a request comes from a web page, or for another host than localhost",
        "call http://localhost without an Origin header, or run with credentials"),
    kind(403, "unknown-tenant", "Unknown tenant",
        "the credential's tenant does not exist", "create it with `bridgectl tenant create`"),
    kind(403, "tenant-suspended", "Tenant suspended",
        "the tenant is suspended or being deleted and accepts nothing", "ask the operator to resume it"),
    kind(403, "quota-exceeded", "Quota exceeded",
        "the tenant would go beyond a quota, which detail names", "wait until it ends, or have it raised"),
    kind(404, "not-found", "Not found",
        "there is no such thing, or it belongs to another tenant", "check the name or id, and the credential"),
    kind(405, "method-not-allowed", "Method not allowed",
        "the path does not take the method", "the Allow header names what it takes"),
    kind(408, "slow-body", "Request timeout",
        "the body did not arrive in time", "send it without pauses"),
    kind(409, "conflict", "Conflict",
        "the present state does not allow it, for the reason that detail names", "do what detail says, and repeat it"),
    kind(409, "idempotency-conflict", "Idempotency key conflict",
        "the idempotency key was used for another request", "use a new key for a new request"),
    kind(409, "still-live", "Execution has not ended",
        "an execution that still lives cannot be replayed", "wait for its end"),
    kind(409, "not-cancellable", "Execution has ended",
        "the execution has ended; state and allowed say what it is and what it allows", "replay it, or read its result"),
    kind(409, "not-current-attempt", "Not the current attempt",
        "a failure was reported of an attempt that another one has followed", "nothing: the later attempt counts"),
    kind(409, "already-ended", "Already ended",
        "the execution has ended otherwise", "read its result"),
    kind(409, "tenant-active", "Tenant is active",
        "the keys of an active tenant cannot be destroyed", "suspend it first, or delete it"),
    kind(410, "payload-gone", "Payload gone",
        "the payload was removed when its time of retention was over", "publish it again from its source"),
    kind(410, "payload-unreadable", "Payload unreadable",
        "the payload cannot be opened: its key was destroyed, or it is damaged", "publish it again from its source"),
    kind(410, "result-gone", "Result gone",
        "the result is kept no longer", "replay the execution for a new one"),
    kind(413, "payload-too-large", "Payload too large",
        "the payload has more bytes than are taken", "store it elsewhere and publish a reference to it"),
    kind(413, "batch-too-large", "Batch too large",
        "the batch has more items than are taken", "split it"),
    kind(413, "result-too-large", "Result too large",
        "the reported result has more bytes than are taken", "store it elsewhere and report a reference to it"),
    kind(415, "unsupported-media-type", "Unsupported media type",
        "the body is not sent as JSON", "in n8n set Body Content Type to JSON; elsewhere send Content-Type: application/json"),
    kind(429, "rate-limited", "Too many requests",
        "the tenant sends more requests, or changes more, than its limit allows", "repeat the request after the Retry-After time"),
    kind(500, "internal", "Internal error",
        "the bridge failed to handle the request; its log says why",
        "repeat the request with the same idempotency key, and tell the operator"),
    kind(502, "webhook-failed", "The webhook failed",
        "a native execution's webhook failed; http_status is what it answered", "mend it, and publish anew"),
    kind(503, "overloaded", "Overloaded",
        "the bridge has as much at work as it may", "repeat the request after the Retry-After time"),
    kind(503, "too-many-waiters", "Too many waiters",
        "as many callers wait for results as may", "repeat the request after the Retry-After time, or ask without waiting"),
    kind(503, "not-ready", "Not ready",
        "the bridge has not read its tenants and credentials yet", "repeat the request after the Retry-After time"),
    kind(503, "issuer-unavailable", "Issuer out of reach",
        "the keys of the token's issuer have not been fetched yet", "repeat the request after the Retry-After time"),
    kind(503, "database-unavailable", "Database unavailable",
        "the database is out of reach, and whether anything was written is not known",
        "repeat the request after the Retry-After time with the same idempotency key"),
    kind(503, "data-key-unavailable", "Data key unavailable",
        "the tenant's data key could not be made or opened in time", "repeat the request after the Retry-After time"),
    kind(504, "webhook-timeout", "No answer from the webhook",
        "a native execution's webhook gave no answer in time, and whether the workflow ran is not known",
        "look in n8n before it is published again"),
];

#[cfg(test)]
pub fn find(slug: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.slug == slug)
}

impl Kind {
    pub fn uri(&self) -> String {
        format!("/problems/{}", self.slug)
    }

    /// A body of this kind, as a reader may meet it.
    pub fn example(&self) -> Value {
        let detail = format!("{}; {}", self.when, self.remedy);
        let mut body = json!({
            "type": self.uri(), "title": self.title, "status": self.status, "detail": detail, "message": detail,
        });
        if self.slug == "invalid-request" {
            let message = "is missing; give the path of the workflow's webhook";
            body["errors"] = json!([{ "field": "workflow_id", "message": message }]);
            body["detail"] = json!(format!("workflow_id: {message}"));
            body["message"] = body["detail"].clone();
        }
        body
    }
}
