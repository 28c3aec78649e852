//! Routes that would share the operator's N8N_WEBHOOK_<ID> with another of the tenant's: nobody could say which is meant,
//! so both would be refused when they are published to. It is said when the route is written.

use std::collections::{BTreeMap, BTreeSet};

use bridge_protocol::{Route, RouteName, RouteTable, TenantId, WorkflowId};
use bridge_service::Problem;
use bridge_service::problem::FieldError;

use crate::parse::invalid;

/// For one route beside all that there are.
pub fn check_one(
    table: &RouteTable,
    tenant: &TenantId,
    name: &RouteName,
    route: &Route,
) -> Result<(), Problem> {
    let RouteName::Workflow(workflow) = name else { return Ok(()) };
    if route.webhook_url.is_some() {
        return Ok(());
    }
    let others = table.without_own_url(tenant).filter(|other| *other != workflow);
    let beside: BTreeSet<&WorkflowId> = others.chain([workflow]).collect();
    let mut pairs = table.overridden_alike(beside).into_iter();
    let other = pairs.find_map(|(first, other)| match workflow {
        it if it == first => Some(other),
        it if it == other => Some(first),
        _ => None,
    });
    other.map_or(Ok(()), |other| Err(invalid(vec![fault("", other)])))
}

/// For what stands when a document was applied: `places` says where each of its own routes is.
pub fn check_all(
    table: &RouteTable,
    after: &BTreeMap<&RouteName, &Route>,
    place: impl Fn(&WorkflowId) -> Option<String>,
) -> Result<(), Problem> {
    let bare = after.iter().filter_map(|(name, route)| match name {
        RouteName::Workflow(workflow) if route.webhook_url.is_none() => Some(workflow),
        _ => None,
    });
    let pairs = table.overridden_alike(bare);
    let faults: Vec<FieldError> = pairs
        .into_iter()
        .filter_map(|(first, other)| {
            place(other).map(|at| fault(&at, first)).or_else(|| place(first).map(|at| fault(&at, other)))
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(invalid(faults)) }
}

fn fault(place: &str, other: &WorkflowId) -> FieldError {
    FieldError {
        field: format!("{place}webhook_url").into(),
        message: format!(
            "is needed: without one the operator's N8N_WEBHOOK_ for this workflow would be that of workflow {other}, too"
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bridge_protocol::Defaults;

    use super::*;

    fn name(id: &str) -> RouteName {
        RouteName::Workflow(WorkflowId::parse(id).unwrap())
    }

    fn table() -> (RouteTable, TenantId) {
        let url = || "http://n8n.example/webhook/x".to_owned();
        let overrides = [("LEAD_NEW".to_owned(), url())].into();
        let table =
            RouteTable::new(Defaults { default_url: url(), overrides, ..Defaults::default() }).unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let routed = vec![
            (tenant.clone(), name("lead-new"), Some(Route::default())),
            (tenant.clone(), name("other"), Some(Route::default())),
        ];
        (table.with(2, routed, Vec::new()), tenant)
    }

    fn own() -> Route {
        Route { webhook_url: Some("http://n8n.example/webhook/own".to_owned()), ..Route::default() }
    }

    #[test]
    fn a_route_that_would_break_another_is_refused_when_it_is_written() {
        let (table, tenant) = table();
        let check = |id: &str, route: &Route| check_one(&table, &tenant, &name(id), route);
        let refused = check("lead_new", &Route::default()).unwrap_err();
        assert_eq!(refused.errors()[0].field, "webhook_url");
        assert!(refused.detail().contains("lead-new"), "{}", refused.detail());
        for (id, route) in
            [("lead-new", Route::default()), ("lead_new", own()), ("lead.old", Route::default())]
        {
            assert!(check(id, &route).is_ok(), "{id}");
        }
        assert!(check_one(&table, &tenant, &RouteName::Default, &Route::default()).is_ok());
        let elsewhere = TenantId::parse("globex").unwrap();
        assert!(check_one(&table, &elsewhere, &name("lead_new"), &Route::default()).is_ok());
    }

    #[test]
    fn a_document_is_judged_by_what_would_stand() {
        let (table, _) = table();
        let (bare, with_url) = (Route::default(), own());
        let check = |routes: &[(&str, &Route)], of_it: &str| {
            let names: Vec<RouteName> = routes.iter().map(|(id, _)| name(id)).collect();
            let after = names.iter().zip(routes.iter().map(|(_, route)| *route)).collect();
            let place = |id: &WorkflowId| (id.as_str() == of_it).then(|| format!("workflows.{id}."));
            check_all(&table, &after, place).map_err(|problem| problem.errors()[0].field.to_string())
        };
        let both = [("lead-new", &bare), ("lead_new", &bare)];
        assert_eq!(check(&both, "lead_new"), Err("workflows.lead_new.webhook_url".to_owned()));
        assert_eq!(check(&both, "lead-new"), Err("workflows.lead-new.webhook_url".to_owned()));
        assert_eq!(check(&both, "third"), Ok(()), "what the document does not bring it cannot mend");
        assert_eq!(check(&[("lead-new", &bare), ("lead_new", &with_url)], "lead_new"), Ok(()));
    }
}
