//! `bridgectl route`: where a tenant's workflows are fired and by which rules. Needs a credential of the tenant with the
//! scope routes.

mod apply;
mod difference;
mod file;
mod set;

use bridge_protocol::{RouteName, WorkflowId};

use super::of::Of;
use crate::answers::routes::{Deleted, Entry, Routes};
use crate::client::{Client, segment};
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Make the tenant's routes those of a file; the difference is shown
    Apply(apply::Args),
    /// All routes of the tenant
    List {
        #[command(flatten)]
        of: Of,
    },
    /// One route with all its fields
    Show(Named),
    /// Change fields of one route, or make it
    Set(set::Args),
    /// Take it away; what it ruled is ruled by the type, the default or the built-in one
    Delete(Named),
}

/// Which route is meant.
#[derive(clap::Args)]
pub struct Named {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A workflow's id: n8n's webhook path
    workflow: Option<WorkflowId>,
    /// The rule of a type of work
    #[arg(long = "type", value_parser = of_type)]
    kind: Option<RouteName>,
    /// The tenant's default route
    #[arg(long)]
    default: bool,
}

fn of_type(text: &str) -> Result<RouteName, String> {
    RouteName::of_type(text).map_err(|error| error.to_string())
}

impl Which {
    fn name(&self) -> RouteName {
        match (&self.workflow, &self.kind) {
            (Some(id), _) => RouteName::Workflow(id.clone()),
            (None, Some(kind)) => kind.clone(),
            (None, None) => RouteName::Default,
        }
    }
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Apply(args) => apply::run(client, args, json).await,
        Verb::List { of } => {
            let (entries, raw) = all(client, &of).await?;
            Ok(if json { raw.to_string() } else { human::routes::list(&entries) })
        }
        Verb::Show(named) => {
            let answer = client.get::<Entry>(&path(&named.which.name()), &named.of.query()).await?;
            Ok(if json { answer.text } else { human::routes::one(&answer.read) })
        }
        Verb::Set(args) => set::run(client, args, json).await,
        Verb::Delete(named) => {
            let name = named.which.name();
            let answer = client.delete::<Deleted>(&path(&name), &named.of.query()).await?;
            Ok(if json { answer.text } else { human::routes::deleted(&place(&name), &answer.read) })
        }
    }
}

fn path(name: &RouteName) -> String {
    match name {
        RouteName::Workflow(id) => format!("/pulsar/workflows/{}", segment(id.as_str())),
        RouteName::Type(kind) => format!("/pulsar/types/{}", segment(kind)),
        RouteName::Default => "/pulsar/default-route".to_owned(),
    }
}

/// As it is named in a file of routes.
fn place(name: &RouteName) -> String {
    match name {
        RouteName::Workflow(id) => format!("workflows.{id}"),
        RouteName::Type(kind) => format!("types.{kind}"),
        RouteName::Default => "default".to_owned(),
    }
}

/// All pages, read and as one document.
async fn all(client: &Client, of: &Of) -> Result<(Vec<Entry>, serde_json::Value), Failure> {
    let mut whole = serde_json::json!({ "workflows": [], "types": [] });
    let mut entries = Vec::new();
    let mut cursor = None::<String>;
    loop {
        let mut query = of.query();
        query.push(("limit", "1000".to_owned()));
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let mut page = client.get::<serde_json::Value>("/pulsar/workflows", &query).await?.read;
        let read: Routes = serde::Deserialize::deserialize(&page).map_err(|error| {
            Failure::new(Exit::Failed, format!("the bridge answered routes of another shape: {error}"))
        })?;
        cursor.clone_from(&read.next_cursor);
        entries.extend(read.entries());
        for list in ["workflows", "types"] {
            if let (Some(all), Some(more)) = (whole[list].as_array_mut(), page[list].as_array_mut()) {
                all.append(more);
            }
        }
        if page["default"].is_object() {
            whole["default"] = page["default"].take();
        }
        if cursor.is_none() {
            return Ok((entries, whole));
        }
    }
}
