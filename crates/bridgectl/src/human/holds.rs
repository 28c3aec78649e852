//! Holds.

use super::tenants::in_force;
use crate::answers::holds::{Hold, Released};

pub fn list(holds: &[Hold]) -> String {
    if holds.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = holds
        .iter()
        .map(|hold| {
            vec![
                hold.hold_id.clone(),
                what(hold),
                hold.created_at.map(super::time).unwrap_or_default(),
                hold.created_by.clone().unwrap_or_default(),
                hold.reason.clone(),
            ]
        })
        .collect();
    super::table(&["HOLD", "HOLDS", "SINCE", "BY", "REASON"], &rows)
}

pub fn set(hold: &Hold) -> String {
    let outcome = hold.outcome.as_deref().unwrap_or("set");
    format!("hold {} {outcome}: {}; {}", hold.hold_id, what(hold), in_force(hold.in_effect))
}

pub fn released(id: &str, released: &Released) -> String {
    let force = in_force(released.in_effect);
    format!("hold {id} is released; {} parked executions are due now; {force}", released.released)
}

/// All that it says must be true of an execution.
fn what(hold: &Hold) -> String {
    let parts = [("workflow", &hold.workflow_id), ("lane", &hold.lane), ("host", &hold.host)];
    let parts: Vec<_> =
        parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?))).collect();
    if parts.is_empty() { "everything of the tenant".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_hold_says_what_it_holds_and_why() {
        let holds: Vec<Hold> = serde_json::from_str(
            r#"[{"hold_id":"crm-is-down","host":"crm.example.com","lane":"short","reason":"maintenance until noon",
                 "created_by":"npb_1","created_at":"2026-11-21T07:22:55Z"},
                {"hold_id":"stop","reason":"wrong data","created_by":"npb_1","created_at":"2026-11-21T07:20:00Z",
                 "outcome":"created","in_effect":true}]"#,
        )
        .unwrap();
        insta::assert_snapshot!(list(&holds));
        insta::assert_snapshot!(set(&holds[1]), @"hold stop created: everything of the tenant; in force on every daemon");
        let gone =
            serde_json::from_str(r#"{"hold_id":"stop","deleted":true,"released":12,"in_effect":true}"#)
                .unwrap();
        insta::assert_snapshot!(released("stop", &gone), @"hold stop is released; 12 parked executions are due now; in force on every daemon");
    }
}
