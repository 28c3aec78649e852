//! The routes of one tenant.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use crate::route_table::override_name;
use crate::{Route, RouteName, WorkflowId};

#[derive(Debug, Clone, Default)]
pub(crate) struct TenantRoutes {
    workflows: HashMap<WorkflowId, Arc<Route>>,
    types: HashMap<String, Arc<Route>>,
    default: Option<Arc<Route>>,
    /// Names of the operator's overrides that two of the workflows share: nobody can say which of them is meant.
    shared: HashSet<String>,
}

impl TenantRoutes {
    pub fn put(&mut self, name: RouteName, route: Option<Route>) {
        let route = route.map(Arc::new);
        match (name, route) {
            (RouteName::Workflow(id), Some(route)) => drop(self.workflows.insert(id, route)),
            (RouteName::Workflow(id), None) => drop(self.workflows.remove(&id)),
            (RouteName::Type(name), Some(route)) => drop(self.types.insert(name, route)),
            (RouteName::Type(name), None) => drop(self.types.remove(&name)),
            (RouteName::Default, route) => self.default = route,
        }
    }

    pub fn find_shared_names(&mut self, overrides: &HashMap<String, String>) {
        self.shared.clear();
        if overrides.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        let names: Vec<_> = self.without_own_url().map(|id| override_name(id.as_str())).collect();
        for name in names {
            if overrides.contains_key(&name) && !seen.insert(name.clone()) {
                self.shared.insert(name);
            }
        }
    }

    pub fn without_own_url(&self) -> impl Iterator<Item = &WorkflowId> {
        self.workflows.iter().filter(|(_, route)| route.webhook_url.is_none()).map(|(id, _)| id)
    }

    /// Whether another workflow of the tenant would get the same override.
    pub fn is_shared(&self, workflow: &WorkflowId) -> bool {
        !self.shared.is_empty() && self.shared.contains(&override_name(workflow.as_str()))
    }

    pub fn workflow(&self, id: &WorkflowId) -> Option<&Route> {
        self.workflows.get(id).map(|route| &**route)
    }

    pub fn of_type(&self, name: &str) -> Option<&Route> {
        self.types.get(name).map(|route| &**route)
    }

    pub fn tenant_default(&self) -> Option<&Route> {
        self.default.as_deref()
    }

    pub fn route(&self, name: &RouteName) -> Option<&Route> {
        match name {
            RouteName::Workflow(id) => self.workflow(id),
            RouteName::Type(name) => self.of_type(name),
            RouteName::Default => self.tenant_default(),
        }
    }

    /// Every route, whatever its kind.
    pub fn all(&self) -> impl Iterator<Item = &Route> {
        let routes = self.workflows.values().chain(self.types.values()).chain(&self.default);
        routes.map(|route| &**route)
    }

    /// The names whose route is another one there, or only in one of the two.
    pub fn differing(&self, other: &Self) -> Vec<RouteName> {
        let workflows =
            differing(&self.workflows, &other.workflows).map(|id| RouteName::Workflow(id.clone()));
        let types = differing(&self.types, &other.types).map(|name| RouteName::Type(name.clone()));
        let default = (self.default != other.default).then_some(RouteName::Default);
        workflows.chain(types).chain(default).collect()
    }

    pub fn len(&self) -> usize {
        self.workflows.len() + self.types.len() + usize::from(self.default.is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn differing<'a, K: Eq + Hash>(
    one: &'a HashMap<K, Arc<Route>>,
    other: &'a HashMap<K, Arc<Route>>,
) -> impl Iterator<Item = &'a K> {
    // Most are shared between a table and the one before it.
    let same = |one: &Arc<Route>, other: &Arc<Route>| Arc::ptr_eq(one, other) || one == other;
    let gone = other.keys().filter(|key| !one.contains_key(*key));
    let changed = one.iter().filter(move |(key, route)| !other.get(*key).is_some_and(|old| same(route, old)));
    changed.map(|(key, _)| key).chain(gone)
}
