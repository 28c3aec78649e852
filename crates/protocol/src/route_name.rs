//! What a route is for: a workflow, a type of work, or all that has no other.

use std::fmt;

use crate::{Route, WorkflowId};

const LONGEST_TYPE: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteName {
    Workflow(WorkflowId),
    /// A rule: which lane, mode and completion requests of this `type` get.
    Type(String),
    /// The tenant's own default.
    Default,
}

/// A type that cannot have a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a type has 1 to {LONGEST_TYPE} bytes and no control characters")]
pub struct TypeError;

impl RouteName {
    pub fn of_type(text: &str) -> Result<Self, TypeError> {
        if (1..=LONGEST_TYPE).contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self::Type(text.to_owned()))
        } else {
            Err(TypeError)
        }
    }

    /// As it is stored.
    pub const fn kind(&self) -> i16 {
        match self {
            Self::Workflow(_) => 0,
            Self::Type(_) => 1,
            Self::Default => 2,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Workflow(id) => id.as_str(),
            Self::Type(name) => name,
            Self::Default => "",
        }
    }

    pub fn from_parts(kind: i16, name: &str) -> Option<Self> {
        match kind {
            0 => WorkflowId::parse(name).ok().map(Self::Workflow),
            1 => Self::of_type(name).ok(),
            2 => name.is_empty().then_some(Self::Default),
            _ => None,
        }
    }

    /// [`Route::faults`], and what a route under this name cannot say.
    pub fn faults(&self, route: &Route) -> Vec<(String, String)> {
        let mut faults = route.faults();
        match self {
            Self::Workflow(_) | Self::Default => {}
            Self::Type(_) => {
                let only = Route {
                    lane: route.lane,
                    mode: route.mode,
                    completion: route.completion,
                    on_failure: route.on_failure.clone(),
                    ..Route::default()
                };
                for field in differing(route, &only) {
                    let what = "has no meaning for a type: its rule says lane, mode, completion and on_failure; put \
                                the rest into the workflow's route";
                    faults.push((field, what.to_owned()));
                }
            }
        }
        if let (Self::Workflow(workflow), Some(told)) = (self, &route.on_failure)
            && *workflow == told.workflow_id
        {
            let what = "names the workflow itself, which would be told of its own failure by being fired again; name \
                        another one";
            faults.push(("on_failure.workflow_id".to_owned(), what.to_owned()));
        }
        faults
    }
}

/// The top-level fields in which two routes differ.
fn differing(one: &Route, other: &Route) -> Vec<String> {
    let json = |route: &Route| serde_json::to_value(route).unwrap_or_default();
    let (one, other) = (json(one), json(other));
    Route::FIELDS
        .iter()
        .filter(|field| one.get(**field) != other.get(**field))
        .map(|field| (*field).to_owned())
        .collect()
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(id) => write!(f, "workflow {id}"),
            Self::Type(name) => write!(f, "type {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}
