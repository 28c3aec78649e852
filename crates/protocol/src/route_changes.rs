//! What became different from one table of routes to the next.

use std::sync::Arc;

use crate::tenant_routes::TenantRoutes;
use crate::{Hold, RouteName, RouteTable, TenantId};

impl RouteTable {
    /// The routes that are not what they were `before`, those that went among them.
    pub fn changed_since(&self, before: &Self) -> Vec<(TenantId, RouteName)> {
        let none = Arc::new(TenantRoutes::default());
        let gone = before.tenants.keys().filter(|id| !self.tenants.contains_key(*id));
        let mut changed = Vec::new();
        for tenant in self.tenants.keys().chain(gone) {
            let [now, old] = [self, before].map(|table| table.tenants.get(tenant).unwrap_or(&none));
            if !Arc::ptr_eq(now, old) {
                changed.extend(now.differing(old).into_iter().map(|name| (tenant.clone(), name)));
            }
        }
        changed
    }

    /// The holds of `before` that do not hold as they did.
    pub fn lifted_since<'a>(&self, before: &'a Self) -> impl Iterator<Item = &'a Hold> {
        let still = |hold: &Hold| self.holds.get(&hold.tenant).is_some_and(|now| now.contains(hold));
        before.holds.values().flatten().filter(move |hold| !still(hold))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{Defaults, Route, WorkflowId};

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn of(id: &str) -> RouteName {
        RouteName::Workflow(WorkflowId::parse(id).unwrap())
    }

    fn bare() -> RouteTable {
        RouteTable::new(Defaults { default_url: "http://n8n.test/w".to_owned(), ..Defaults::default() })
            .unwrap()
    }

    fn hold(id: &str, reason: &str) -> Hold {
        let (id, reason) = (id.to_owned(), reason.to_owned());
        Hold { tenant: tenant("acme"), id, workflow: None, lane: None, host: None, reason }
    }

    #[test]
    fn only_what_changed_is_named() {
        let (a, route) = (tenant("acme"), || Some(Route::default()));
        let first = bare().with(
            1,
            vec![
                (a.clone(), of("x"), route()),
                (a.clone(), of("y"), route()),
                (tenant("b"), of("z"), route()),
            ],
            vec![],
        );
        let mut all = first.changed_since(&bare());
        all.sort();
        assert_eq!(all, [(a.clone(), of("x")), (a.clone(), of("y")), (tenant("b"), of("z"))]);
        let inactive = Some(Route { is_active: false, ..Route::default() });
        let changes = vec![
            (a.clone(), of("x"), inactive),
            (a.clone(), RouteName::Default, route()),
            (tenant("b"), of("z"), None),
        ];
        let mut changed = first.with(2, changes, vec![]).changed_since(&first);
        changed.sort();
        assert_eq!(changed, [(a.clone(), of("x")), (a, RouteName::Default), (tenant("b"), of("z"))]);
        assert_eq!(
            bare().with(3, vec![(tenant("b"), of("z"), route())], vec![]).changed_since(&first).len(),
            2
        );
        assert_eq!(first.with(2, vec![], vec![]).changed_since(&first), []);
    }

    #[test]
    fn a_hold_is_lifted_when_it_goes_or_becomes_another() {
        let before = bare().with(1, vec![], vec![hold("a", "r"), hold("b", "r"), hold("c", "r")]);
        let after = before.with(2, vec![], vec![hold("a", "r"), hold("b", "other")]);
        let lifted: Vec<&str> = after.lifted_since(&before).map(|hold| hold.id.as_str()).collect();
        assert_eq!(lifted, ["b", "c"]);
        assert_eq!(before.lifted_since(&after).count(), 1);
    }
}
