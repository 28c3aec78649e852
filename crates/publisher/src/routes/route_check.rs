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
/// Names that one request may have looked up: each may take its whole time, and loads a resolver that all share.
const MOST_HOSTS: usize = 100;
/// Faults that are told.
const TOLD: usize = 100;

/// Each route with what stands before its fields in a fault: `workflows.crm.`, or nothing.
pub async fn check(app: &App, tenant: &TenantId, routes: &[(String, &Route)]) -> Result<(), Problem> {
    let mut faults = credentials(app, tenant, routes).await?;
    faults.extend(callbacks(app.limits.payload_retention, routes));
    faults.extend(urls(&app.guard, routes).await);
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

/// Every URL by its text, every name once: the workflow's id chooses no host, so one URL stands for all of a route's.
async fn urls(guard: &Guard, routes: &[(String, &Route)]) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut by_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (place, route) in routes {
        // What is no URL was told already.
        let Some(template) = &route.webhook_url else { continue };
        let Ok(url) = Url::parse(&template.replace("{workflow_id}", "a")) else { continue };
        let field = format!("{place}webhook_url");
        if let Err(refused) = guard.check_text(&url) {
            faults.push(FieldError { field: field.into(), message: refused.to_string() });
        } else if let Some(host) = guard.name_to_look_up(&url) {
            by_host.entry(host.to_owned()).or_default().push(field);
        }
    }
    if by_host.len() > MOST_HOSTS {
        let message = format!(
            "the routes name {} hosts; bring at most {MOST_HOSTS} of them in one request",
            by_host.len()
        );
        faults.push(FieldError { field: "webhook_url".into(), message });
        return faults;
    }
    let looks: Vec<_> =
        by_host.into_iter().map(|(host, fields)| look_up(guard.clone(), host, fields)).collect();
    let found: Vec<Vec<FieldError>> = futures::stream::iter(looks).buffered(AT_ONCE).collect().await;
    faults.extend(found.into_iter().flatten());
    faults
}

async fn look_up(guard: Guard, host: String, fields: Vec<String>) -> Vec<FieldError> {
    let Err(error) = guard.check_name(&host, LOOK_UP).await else { return Vec::new() };
    let fault = |field: String| FieldError { field: field.into(), message: error.to_string() };
    fields.into_iter().map(fault).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The fields at fault, of routes `0.`, `1.`, ... to these URLs.
    async fn refused(urls: impl IntoIterator<Item = &str>) -> Vec<String> {
        let guard = Guard::new(Vec::new(), ["n8n:5678".to_owned()].into())
            .with_own(vec!["http://n8n:5678/webhook/".parse().unwrap()]);
        let route = |url: &str| Route { webhook_url: Some(url.to_owned()), ..Route::default() };
        let routes: Vec<Route> = urls.into_iter().map(route).collect();
        let places: Vec<_> = routes.iter().enumerate().map(|(at, route)| (format!("{at}."), route)).collect();
        super::urls(&guard, &places).await.into_iter().map(|fault| fault.field.to_string()).collect()
    }

    #[tokio::test]
    async fn each_path_on_an_own_host_is_judged_not_only_the_first() {
        let urls = [
            "http://n8n:5678/webhook/a",
            "http://n8n:5678/rest/workflows",
            "http://n8n:5678/webhook/{workflow_id}",
            "http://n8n:5678/{workflow_id}",
        ];
        assert_eq!(refused(urls).await, ["1.webhook_url", "3.webhook_url"]);
    }

    #[tokio::test]
    async fn a_document_may_not_have_hosts_without_end_looked_up() {
        let urls: Vec<String> = (0..=MOST_HOSTS).map(|host| format!("http://host-{host}.invalid/")).collect();
        assert_eq!(refused(urls.iter().map(String::as_str)).await, ["webhook_url"]);
        // Literal addresses need no look.
        let urls: Vec<String> = (0..=MOST_HOSTS).map(|host| format!("http://8.8.8.{host}/")).collect();
        assert!(refused(urls.iter().map(String::as_str)).await.is_empty());
    }
}
