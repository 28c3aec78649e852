//! Dead letters.

use crate::answers::dead_letters::{DeadLetter, DeadLetters, Discarded};

pub fn list(letters: &DeadLetters, again: &str) -> String {
    let rows: Vec<_> = letters
        .dead_letters
        .iter()
        .map(|letter| {
            vec![
                letter.execution_id.clone(),
                super::time(letter.dead_lettered_at),
                letter.lane.clone(),
                letter.workflow_id.clone(),
                letter.reason.clone(),
                done(letter),
            ]
        })
        .collect();
    let mut text = if rows.is_empty() {
        "none".to_owned()
    } else {
        super::table(&["EXECUTION", "GIVEN UP", "LANE", "WORKFLOW", "REASON", "SINCE THEN"], &rows)
    };
    if letters.partial {
        text.push_str("\nOnly the newest part was searched: there may be more.");
    }
    if let Some(next) = &letters.next_cursor {
        text.push_str(&format!("\nMore: {again} --cursor {next}"));
    }
    text
}

pub fn one(letter: &DeadLetter) -> String {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:11}{value}")));
    };
    let id = &letter.execution_id;
    fact("execution", Some(id.clone()));
    fact("workflow", Some(format!("{}, lane {}", letter.workflow_id, letter.lane)));
    let attempts = match letter.attempt {
        0 => String::new(),
        1 => " after 1 attempt".to_owned(),
        attempts => format!(" after {attempts} attempts"),
    };
    fact("reason", Some(format!("{}{attempts}", letter.reason)));
    fact("error", letter.error.clone());
    // An error mostly names the status.
    let unsaid =
        |status: &u16| !letter.error.as_ref().is_some_and(|error| error.contains(&status.to_string()));
    fact("answer", letter.http_status.filter(unsaid).map(|status| status.to_string()));
    fact("given up", Some(super::time(letter.dead_lettered_at)));
    fact("replayed", letter.replayed_as.as_ref().map(|by| format!("as {by}")));
    fact(
        "discarded",
        letter.discarded.as_ref().map(|away| format!("{} by {}", super::time(away.at), away.by)),
    );
    fact("note", letter.discarded.as_ref().map(|away| away.note.clone()));
    fact("timeline", Some(format!("bridgectl execution show {id}")));
    if letter.replayed_as.is_none() && letter.discarded.is_none() {
        fact("next", Some(format!("bridgectl dlq replay {id}, or bridgectl dlq discard {id} --note WHY")));
    }
    lines.join("\n")
}

pub fn discarded(discarded: &Discarded) -> String {
    let already = if discarded.changed { "" } else { " already" };
    format!("{} is{already} discarded; bridgectl dlq list --discarded still shows it", discarded.execution_id)
}

fn done(letter: &DeadLetter) -> String {
    let mut parts = Vec::new();
    parts.extend(letter.replayed_as.as_ref().map(|by| format!("replayed as {by}")));
    parts.extend(letter.discarded.as_ref().map(|away| format!("discarded: {}", away.note)));
    parts.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"dead_letters":[
        {"execution_id":"019aa5c1-0000-7000-8000-000000000003","workflow_id":"broken","lane":"ai","reason":"attempts_exhausted",
         "attempt":5,"dead_lettered_at":"2026-11-21T07:22:55Z","http_status":503,"error":"the webhook answered 503"},
        {"execution_id":"019aa5c1-0000-7000-8000-000000000002","workflow_id":"crm/sync","lane":"short","reason":"permanent_answer",
         "attempt":1,"dead_lettered_at":"2026-11-21T07:21:00Z","replayed_as":"019aa5c1-0000-7000-8000-000000000009"},
        {"execution_id":"019aa5c1-0000-7000-8000-000000000001","workflow_id":"crm/sync","lane":"short","reason":"payload_gone",
         "attempt":1,"dead_lettered_at":"2026-11-21T07:20:00Z","error":"the payload's row is gone","discarded":{"at":"2026-11-21T08:00:00Z",
         "by":"npb_1","note":"the customer called"}}],"next_cursor":"abc"}"#;

    #[test]
    fn dead_letters_say_what_was_done_since() {
        let letters: DeadLetters = serde_json::from_str(ANSWER).unwrap();
        insta::assert_snapshot!(list(&letters, "bridgectl dlq list"));
        insta::assert_snapshot!("one", one(&letters.dead_letters[0]));
        insta::assert_snapshot!("one_discarded", one(&letters.dead_letters[2]));
        assert_eq!(list(&serde_json::from_str(r#"{"dead_letters":[]}"#).unwrap(), ""), "none");
    }
}
