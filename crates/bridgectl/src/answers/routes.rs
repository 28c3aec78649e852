//! Routes.

use serde::Deserialize;
use serde_json::Value;

use super::Time;

/// A page of them.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Routes {
    pub workflows: Vec<Entry>,
    pub types: Vec<Entry>,
    pub default: Option<Entry>,
    pub next_cursor: Option<String>,
}

/// One route, as it is stored.
#[derive(Clone, Deserialize)]
pub struct Entry {
    pub workflow_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub route: Value,
    pub changed_at: Option<Time>,
    /// After a PUT.
    pub outcome: Option<String>,
    #[serde(default)]
    pub in_effect: bool,
}

impl Entry {
    /// As it is named in a file of routes.
    pub fn place(&self) -> String {
        match (&self.workflow_id, &self.kind) {
            (Some(id), _) => format!("workflows.{id}"),
            (None, Some(kind)) => format!("types.{kind}"),
            (None, None) => "default".to_owned(),
        }
    }
}

impl Routes {
    pub fn entries(self) -> impl Iterator<Item = Entry> {
        self.workflows.into_iter().chain(self.types).chain(self.default)
    }
}

#[derive(Deserialize)]
pub struct Deleted {
    pub changed: bool,
    #[serde(default)]
    pub in_effect: bool,
}

/// What an apply did, or would do: names as in the file.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Applied {
    pub created: Vec<String>,
    pub changed: Vec<String>,
    pub deleted: Vec<String>,
    pub unchanged: Vec<String>,
    pub in_effect: bool,
}
