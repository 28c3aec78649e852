//! `GET /pulsar/workflows`: all routes of a tenant; `PUT /pulsar/workflows`: many of them at once, or what that would
//! change.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, Request, State};
use bridge_protocol::{Route, RouteName, TenantId, WorkflowId};
use bridge_service::Problem;
use bridge_store::{Outcome, RouteDiff, RouteRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::admin::{By, may_change, refused, routes_in_effect};
use super::execution::short;
use super::executions::page;
use super::fields::Fields;
use super::route::{Shown, let_go, place};
use super::{route_check, route_fields, route_overrides};
use crate::answer::failed;
use crate::app::{App, AppState};
use crate::auth::ActsFor;
use crate::cursor::{self, Bound};

const LIMIT: u64 = 100;
/// Routes that one request may bring, and that a tenant may have: every daemon keeps all of them in memory.
const MOST: usize = 10_000;
/// Routes that are read at a time.
const READ: u16 = 1000;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RoutePage")]
pub struct Page {
    tenant_id: TenantId,
    workflows: Vec<Shown>,
    types: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Shown>,
    /// Give it as `cursor` for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub async fn list(
    State(app): State<AppState>,
    ActsFor(tenant): ActsFor,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Page>, Problem> {
    let mut fields = Fields::query(query, &["limit", "cursor", "tenant_id"]);
    let (limit, cursor) = page(&mut fields, LIMIT);
    fields.check()?;
    let bound = Bound::new(&app.vault, "workflows", &tenant, "");
    let after = cursor.map(|text| position(&bound.take(&text)?)).transpose()?;
    let rows = app.store.routes(&tenant, after, limit).await.map_err(|error| failed(&error))?;
    let full = rows.len() == usize::from(limit);
    let next_cursor = rows.last().filter(|_| full).map(|row| {
        let name = &row.name;
        bound.give(format!("{} {}", name.kind(), name.name()).as_bytes())
    });
    let mut page =
        Page { tenant_id: tenant, workflows: Vec::new(), types: Vec::new(), default: None, next_cursor };
    for row in rows {
        let name = row.name.clone();
        let Some(shown) = Shown::of(row) else { continue };
        match name {
            RouteName::Workflow(_) => page.workflows.push(shown),
            RouteName::Type(_) => page.types.push(shown),
            RouteName::Default => page.default = Some(shown),
        }
    }
    Ok(Json(page))
}

/// Kind and name.
fn position(bytes: &[u8]) -> Result<(i16, String), Problem> {
    let text = std::str::from_utf8(bytes).ok();
    let parts = text.and_then(|text| text.split_once(' '));
    let read = parts.and_then(|(kind, name)| Some((kind.parse().ok()?, name.to_owned())));
    read.ok_or_else(cursor::bad)
}

struct Asked {
    /// Each once, in order.
    puts: Vec<(RouteName, Route)>,
    /// What is not named goes.
    prune: bool,
    dry_run: bool,
}

/// Thousands of routes.
const LARGEST: usize = 4 << 20;

pub async fn apply(
    State(app): State<AppState>,
    By(actor): By,
    ActsFor(tenant): ActsFor,
    request: Request,
) -> Result<Json<Value>, Problem> {
    const KNOWN: &[&str] = &["workflows", "routes", "types", "default", "prune", "dry_run", "tenant"];
    may_change(&app.route_changes, &tenant, "routes")?;
    let fields = Fields::body_up_to(&app, request, KNOWN, LARGEST).await?;
    let Asked { puts, prune, dry_run } = read(fields, &tenant)?;
    let placed: Vec<(String, &Route)> =
        puts.iter().map(|(name, route)| (format!("{}.", place(name)), route)).collect();
    route_check::check(&app, &tenant, &placed).await?;
    let there = all(&app, &tenant).await?;
    let deletes: Vec<RouteName> = there
        .keys()
        .filter(|name| prune && puts.binary_search_by(|(put, _)| put.cmp(name)).is_err())
        .cloned()
        .collect();
    let after =
        there.len() + puts.iter().filter(|(name, _)| !there.contains_key(name)).count() - deletes.len();
    if after > MOST {
        return Err(super::admin::conflict(format!(
            "tenant {tenant} would have {after} routes; it may have {MOST}: delete some, or let types and the default \
             route stand for many workflows"
        )));
    }
    let mut stands: BTreeMap<&RouteName, &Route> =
        there.iter().filter(|(name, _)| deletes.binary_search(name).is_err()).collect();
    stands.extend(puts.iter().map(|(name, route)| (name, route)));
    route_overrides::check_all(&app.routes.load(), &stands, |workflow| {
        let name = RouteName::Workflow(workflow.clone());
        puts.binary_search_by(|(put, _)| put.cmp(&name)).ok().map(|_| format!("{}.", place(&name)))
    })?;
    let active = |name: &RouteName| {
        let put = puts.binary_search_by(|(put, _)| put.cmp(name)).ok();
        put.map_or_else(|| prune, |at| puts[at].1.is_active)
    };
    let woken: Vec<RouteName> = there
        .iter()
        .filter(|(name, route)| !route.is_active && active(name))
        .map(|(name, _)| name.clone())
        .collect();
    let (diff, in_effect) = if dry_run {
        (difference(&there, &puts, &deletes), true)
    } else {
        let done = app
            .store
            .apply_routes(&actor, &tenant, &puts, &deletes)
            .await
            .map_err(|error| refused(error, format_args!("tenant {tenant}")))?;
        let changed = done.outcome != Outcome::Unchanged;
        let in_effect = !changed || routes_in_effect(&app, done.revision).await;
        for name in woken {
            let_go(&app, &tenant, &name).await;
        }
        (done.value, in_effect)
    };
    let mut body = json!({ "tenant_id": tenant, "dry_run": dry_run, "prune": prune });
    if let (Value::Object(body), Ok(Value::Object(diff))) = (&mut body, serde_json::to_value(&diff)) {
        body.extend(diff);
        if !dry_run {
            body.insert("in_effect".to_owned(), json!(in_effect));
        }
    }
    Ok(Json(body))
}

/// All faults of all routes at once.
fn read(mut fields: Fields, tenant: &TenantId) -> Result<Asked, Problem> {
    let mut puts: BTreeMap<RouteName, Route> = BTreeMap::new();
    let named: Option<TenantId> = fields.id("tenant");
    if named.is_some_and(|named| named != *tenant) {
        fields.fault("tenant", format!("is another one than {tenant}, which this request is for"));
    }
    let (prune, dry_run) = (fields.flag("prune").unwrap_or(false), fields.flag("dry_run").unwrap_or(false));
    if fields.has("workflows") && fields.has("routes") {
        fields.fault("routes", "is another name of workflows; give one of them");
    }
    for section in ["workflows", "routes", "types"] {
        for (id, value) in fields.map(section).unwrap_or_default() {
            let name = if section == "types" {
                RouteName::of_type(&id).map_err(|error| error.to_string())
            } else {
                WorkflowId::parse(&id).map(RouteName::Workflow).map_err(|error| error.to_string())
            };
            let at = format!("{section}.{}", short(&id));
            match name {
                Ok(name) => {
                    if let Some(route) = one(&mut fields, &at, &name, value) {
                        puts.insert(name, route);
                    }
                }
                Err(fault) => fields.fault(&at, fault),
            }
        }
    }
    if let Some(value) = fields.take("default")
        && let Some(route) = one(&mut fields, "default", &RouteName::Default, value)
    {
        puts.insert(RouteName::Default, route);
    }
    if puts.len() > MOST {
        fields.fault("workflows", format!("bring more than {MOST} routes; send them in parts"));
    }
    fields.check()?;
    Ok(Asked { puts: puts.into_iter().collect(), prune, dry_run })
}

fn one(fields: &mut Fields, at: &str, name: &RouteName, value: Value) -> Option<Route> {
    let Value::Object(map) = value else {
        fields.fault(at, "must be an object with the fields of a route; {} is one without any");
        return None;
    };
    let mut inner = Fields::of(map.into_iter().collect(), Route::FIELDS, format!("{at}."));
    let route = route_fields::read(&mut inner, Some(name));
    fields.absorb(inner);
    route
}

async fn all(app: &App, tenant: &TenantId) -> Result<BTreeMap<RouteName, Route>, Problem> {
    let mut there = BTreeMap::new();
    let mut after = None;
    loop {
        let rows: Vec<RouteRow> =
            app.store.routes(tenant, after, READ).await.map_err(|error| failed(&error))?;
        let full = rows.len() == usize::from(READ);
        after = rows.last().map(|row| (row.name.kind(), row.name.name().to_owned()));
        there.extend(rows.into_iter().filter_map(|row| Some((row.name, row.route?))));
        if !full {
            return Ok(there);
        }
    }
}

/// What the store would answer.
fn difference(
    there: &BTreeMap<RouteName, Route>,
    puts: &[(RouteName, Route)],
    deletes: &[RouteName],
) -> RouteDiff {
    let mut diff = RouteDiff { deleted: deletes.iter().map(place).collect(), ..RouteDiff::default() };
    for (name, route) in puts {
        let list = match there.get(name) {
            None => &mut diff.created,
            Some(old) if old == route => &mut diff.unchanged,
            Some(_) => &mut diff.changed,
        };
        list.push(place(name));
    }
    diff
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["workflows", "routes", "types", "default", "prune", "dry_run", "tenant"];

    fn asked(text: &str) -> Result<Asked, Vec<String>> {
        let tenant = TenantId::parse("acme").unwrap();
        read(Fields::json(text, KNOWN), &tenant)
            .map_err(|problem| problem.errors().iter().map(|fault| fault.field.to_string()).collect())
    }

    #[test]
    fn a_document_is_read_whole_or_not_at_all() {
        let asked = asked(
            r#"{"tenant": "acme", "workflows": {"crm": {"lane": "short"}, "b": {}}, "types": {"crm_sync": {"mode": "pulsar"}},
                "default": {"priority": 1}, "prune": true}"#,
        );
        let asked = asked.unwrap_or_else(|faults| panic!("{faults:?}"));
        let places: Vec<String> = asked.puts.iter().map(|(name, _)| place(name)).collect();
        assert_eq!(places, ["workflows.b", "workflows.crm", "types.crm_sync", "default"]);
        assert!(asked.prune && !asked.dry_run);
    }

    #[test]
    fn every_fault_says_where_it_is() {
        let faults = asked(
            r#"{"workflows": {"crm": {"lan": "short"}, "a b": {}, "x": 7}, "types": {"": {}}, "default": {"priority": 11},
                "tenant": "globex", "prunes": true}"#,
        );
        let faults = faults.err().unwrap();
        for at in [
            "workflows.crm.lan",
            "workflows.a b",
            "workflows.x",
            "types.",
            "default.priority",
            "tenant",
            "prunes",
        ] {
            assert!(faults.iter().any(|fault| fault == at), "{at} is not in {faults:?}");
        }
        assert_eq!(faults.len(), 7, "{faults:?}");
    }

    #[test]
    fn a_dry_run_tells_what_would_change() {
        let name = |id: &str| RouteName::Workflow(WorkflowId::parse(id).unwrap());
        let quick = Route { priority: 9, ..Route::default() };
        let there = BTreeMap::from([(name("a"), Route::default()), (name("b"), Route::default())]);
        let puts = [(name("a"), Route::default()), (name("b"), quick.clone()), (name("c"), quick)];
        let diff = difference(&there, &puts, &[name("d")]);
        assert_eq!(diff.unchanged, ["workflows.a"]);
        assert_eq!(diff.changed, ["workflows.b"]);
        assert_eq!(diff.created, ["workflows.c"]);
        assert_eq!(diff.deleted, ["workflows.d"]);
    }
}
