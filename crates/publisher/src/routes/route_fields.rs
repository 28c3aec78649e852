//! A route as it is written down: every fault of it told at once, each with the name of its field.

use bridge_protocol::{Route, RouteName};
use bridge_service::suggest::did_you_mean;
use serde_json::{Map, Value, json};

use super::execution::short;
use super::fields::Fields;

/// Those that are objects with fields of their own.
const INNER: &[(&str, &[&str])] =
    &[("retry", &["max_attempts", "base_ms", "factor", "max_ms"]), ("on_failure", &["workflow_id"])];

/// None: its faults are among the fields'.
pub fn read(fields: &mut Fields, of: Option<&RouteName>) -> Option<Route> {
    let mut whole = Map::new();
    for name in Route::FIELDS {
        let Some(value) = fields.take(name) else { continue };
        let (value, told) = match (value, INNER.iter().find(|(outer, _)| outer == name)) {
            (Value::Object(inner), Some((_, known))) => read_inner(fields, name, inner, known),
            // A list would be taken for the fields in their order.
            (_, Some((_, known))) => {
                fields.fault(name, format!("must be an object with {}", known.join(", ")));
                continue;
            }
            (value, _) => (value, false),
        };
        match fault_of(json!({ *name: value })) {
            None => _ = whole.insert((*name).to_owned(), value),
            // What is left of it may well be too little.
            Some(_) if told => {}
            Some(fault) => fields.fault(name, fault),
        }
    }
    // Each part is sound by itself; some are not together.
    let route: Route = serde_json::from_value(Value::Object(whole)).ok()?;
    for (name, fault) in of.map_or_else(|| route.faults(), |of| of.faults(&route)) {
        fields.fault(&name, fault);
    }
    fields.is_sound().then_some(route)
}

/// Keeps what is sound; the flag says that not all of it was.
fn read_inner(fields: &mut Fields, outer: &str, inner: Map<String, Value>, known: &[&str]) -> (Value, bool) {
    let (mut kept, mut told) = (Map::new(), false);
    for (name, value) in inner {
        let fault = if known.contains(&name.as_str()) {
            fault_of(json!({ outer: { name.clone(): value.clone() } }))
        } else {
            let near = did_you_mean(&name, known.iter().copied());
            Some(format!("is not a field here{near}; known are {}", known.join(", ")))
        };
        match fault {
            Some(fault) => {
                fields.fault(&format!("{outer}.{}", short(&name)), fault);
                told = true;
            }
            None => _ = kept.insert(name, value),
        }
    }
    (Value::Object(kept), told)
}

fn fault_of(part: Value) -> Option<String> {
    let fault = serde_json::from_value::<Route>(part).err()?.to_string();
    Some(fault.chars().take(300).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let mut fields = Fields::json(text, Route::FIELDS);
        let route = read(&mut fields, None);
        match fields.check() {
            Ok(()) => {
                assert!(route.is_some());
                Vec::new()
            }
            Err(problem) => {
                assert!(route.is_none(), "{route:?}");
                problem.errors().iter().map(|f| (f.field.to_string(), f.message.clone())).collect()
            }
        }
    }

    fn names(text: &str) -> Vec<String> {
        faults(text).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn every_field_of_a_route_is_known() {
        let whole = serde_json::to_value(Route::default()).unwrap();
        for name in whole.as_object().unwrap().keys() {
            assert!(Route::FIELDS.contains(&name.as_str()), "{name}");
        }
        for name in Route::FIELDS {
            let fault = fault_of(json!({ *name: [[]] })).unwrap();
            assert!(!fault.contains("unknown field"), "{name}: {fault}");
        }
        for (outer, known) in INNER {
            for name in *known {
                let fault = fault_of(json!({ *outer: { *name: ["no"] } })).unwrap();
                assert!(!fault.contains("unknown field"), "{outer}.{name}: {fault}");
            }
        }
    }

    #[test]
    fn all_that_is_wrong_is_told_by_its_name() {
        let text = r#"{"lane": "fast", "webhok_url": "x", "timeout_ms": "soon", "retry": {"max_attempt": 3, "base_ms": -1},
                       "webhook_url": "ftp://x", "priority": 4}"#;
        let faults = faults(text);
        let names: Vec<&str> = faults.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["webhok_url", "lane", "timeout_ms", "retry.max_attempt", "retry.base_ms", "webhook_url"]
        {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert_eq!(names.len(), 6, "{faults:?}");
        assert!(faults[0].1.contains("did you mean webhook_url?"), "{faults:?}");
    }

    #[test]
    fn sound_routes_are_taken() {
        assert!(names("{}").is_empty());
        assert!(
            names(r#"{"retry": {"max_attempts": 3}, "on_failure": {"workflow_id": "alarm"}}"#).is_empty()
        );
        assert!(
            names(r#"{"success": {"json_field": {"pointer": "/ok", "equals": true}}, "lane": null}"#)
                .is_empty()
        );
        assert_eq!(names(r#"{"on_failure": {"workflow": "alarm"}}"#), ["on_failure.workflow"]);
        assert_eq!(names(r#"{"on_failure": ["alarm"]}"#), ["on_failure"]);
    }
}
