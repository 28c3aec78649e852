//! What a route's own text does not tell: where its URL leads, whether its credential is there, and whether its callback
//! would come in time.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bridge_protocol::{Route, TenantId};
use bridge_service::Problem;
use bridge_service::problem::FieldError;
use bridge_webhook::Guard;
use futures::StreamExt;
use url::Url;

use crate::answer::failed;
use crate::app::App;
use crate::parse::invalid;

/// For the look at one host's name.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Names that are looked up at a time.
const AT_ONCE: usize = 16;
/// Faults that are told.
const TOLD: usize = 100;

/// Each route with what stands before its fields in a fault: `workflows.crm.`, or nothing.
pub async fn check(app: &App, tenant: &TenantId, routes: &[(String, &Route)]) -> Result<(), Problem> {
    let mut faults = credentials(app, tenant, routes).await?;
    faults.extend(callbacks(app.limits.payload_retention, routes));
    faults.extend(urls(app, routes).await);
    if faults.is_empty() {
        return Ok(());
    }
    faults.truncate(TOLD);
    Err(invalid(faults))
}

async fn credentials(
    app: &App,
    tenant: &TenantId,
    routes: &[(String, &Route)],
) -> Result<Vec<FieldError>, Problem> {
    let named: Vec<(&String, &String)> = routes
        .iter()
        .filter_map(|(place, route)| route.credential.as_ref().map(|name| (place, name)))
        .collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let there = app.store.webhook_credentials(tenant).await.map_err(|error| failed(&error))?;
    let there: HashSet<&str> = there.iter().map(|row| row.name.as_str()).collect();
    let missing = named.into_iter().filter(|(_, name)| !there.contains(name.as_str()));
    Ok(missing
        .map(|(place, name)| FieldError {
            field: format!("{place}credential").into(),
            message: format!("names {name}, which this tenant has not; PUT /pulsar/credentials/{name} first"),
        })
        .collect())
}

/// A longer one would have every request for a callback refused.
fn callbacks(kept: Duration, routes: &[(String, &Route)]) -> Vec<FieldError> {
    let late = routes.iter().filter(|(_, route)| route.callback_timeout() >= kept);
    late.map(|(place, _)| FieldError {
        field: format!("{place}callback_timeout_s").into(),
        message: format!("must be less than {}: a payload is kept no longer", kept.as_secs()),
    })
    .collect()
}

/// Each host once: the workflow's name chooses no host, so one URL stands for all of it.
async fn urls(app: &App, routes: &[(String, &Route)]) -> Vec<FieldError> {
    let mut by_host: BTreeMap<String, (Url, Vec<String>)> = BTreeMap::new();
    for (place, route) in routes {
        // What is no URL was told already.
        let Some(template) = &route.webhook_url else { continue };
        let Ok(url) = Url::parse(&template.replace("{workflow_id}", "a")) else { continue };
        let host = url.origin().ascii_serialization();
        by_host.entry(host).or_insert_with(|| (url, Vec::new())).1.push(format!("{place}webhook_url"));
    }
    let looks: Vec<_> =
        by_host.into_values().map(|(url, fields)| look_up(app.guard.clone(), url, fields)).collect();
    let faults: Vec<Vec<FieldError>> = futures::stream::iter(looks).buffered(AT_ONCE).collect().await;
    faults.concat()
}

async fn look_up(guard: Guard, url: Url, fields: Vec<String>) -> Vec<FieldError> {
    let Err(error) = guard.check_written(&url, LOOK_UP).await else { return Vec::new() };
    let fault = |field: String| FieldError { field: field.into(), message: error.to_string() };
    fields.into_iter().map(fault).collect()
}
