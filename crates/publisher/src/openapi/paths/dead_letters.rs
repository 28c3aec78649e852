use serde_json::{Value, json};

use super::{ACCEPTED_AT, EXECUTION, Operation, object, reference, request};
use crate::openapi::operation::{get, of, post};
use crate::routes::dead_letters::{Page, Shown};

pub fn operations() -> Vec<Operation> {
    let discarded = json!({ "type": "boolean", "default": false });
    let note = json!({ "note": { "type": "string", "minLength": 1, "maxLength": 500 } });
    vec![
        get("/pulsar/dead-letters", "listDeadLetters", "List dead letters, newest first")
            .query("lane", reference("Lane"), "Only those of this lane.")
            .query("workflow_id", reference("WorkflowId"), "Only those of this workflow.")
            .query("reason", reference("Reason"), "Only those of this reason.")
            .query("discarded", discarded, "Those that were put away, too.")
            .a_page(50)
            .of_a_tenant()
            .asks_the_database()
            .answer(200, "A page.", of::<Page>(), json!({ "dead_letters": [letter()] })),
        get("/pulsar/dead-letters/{id}", "showDeadLetter", "Show a dead letter").of_an_execution().answer(
            200,
            "The dead letter.",
            of::<Shown>(),
            letter(),
        ),
        post("/pulsar/dead-letters/{id}/discard", "discardDeadLetter", "Put a dead letter away with a note")
            .about("To execute it once more instead, replay its execution.")
            .of_an_execution()
            .problems(&["conflict"])
            .body(request(note, &["note"]), vec![("note", json!({ "note": "entered by hand" }))])
            .answer(
                200,
                "It is put away.",
                object(json!({
                    "execution_id": reference("ExecutionId"), "discarded": { "const": true },
                    "changed": { "type": "boolean", "description": "false: it was before." },
                })),
                json!({ "execution_id": EXECUTION, "discarded": true, "changed": true }),
            ),
    ]
}

fn letter() -> Value {
    json!({
        "execution_id": EXECUTION, "workflow_id": "orders/new", "lane": "short", "reason": "attempts_exhausted",
        "attempt": 5, "dead_lettered_at": ACCEPTED_AT, "http_status": 503, "error": "the webhook answered 503",
    })
}
