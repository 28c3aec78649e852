//! `POST /pulsar/executions/{id}/result?tenant_id=&token=`: a workflow reports its result. The token of the attempt is
//! the only credential, and it is compared by its digest alone.

use axum::Json;
use axum::extract::{Path, Request, State};
use bridge_protocol::{CallbackToken, ExecutionId, State as Stage, TenantId};
use bridge_service::Problem;
use bridge_service::steps::STEPS;
use bridge_store::{Report, Reported, ResultBody};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::accept::on_its_own;
use crate::access::not_ready;
use crate::answer::failed;
use crate::app::AppState;
use crate::body::{self, JsonBody};
use crate::parse;
use crate::results;

#[derive(Debug, Serialize, JsonSchema)]
pub struct Taken {
    pub execution_id: ExecutionId,
    pub state: Stage,
    /// This very report was taken before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// What the URL that the workflow was given names.
#[derive(Debug)]
struct Address {
    tenant: TenantId,
    id: ExecutionId,
    token: CallbackToken,
}

pub async fn handle(
    State(app): State<AppState>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Taken>, Problem> {
    let Some(address) = address(&id, request.uri().query().unwrap_or_default()) else {
        return Err(counted(&app, None, "malformed"));
    };
    // Before anything is read: a stranger costs one look, and none of the room that requests share.
    if !is_known(&app, &address).await? {
        return Err(counted(&app, Some(&address.tenant), "bad_token"));
    }
    let most = app.limits.result_bytes;
    let JsonBody { bytes, share } = body::read_up_to(&app, request, most, parse::result_too_large).await?;
    let said = parse::report(&bytes, most)?;
    // To its end also when the workflow hangs up: n8n's time limit is not ours.
    on_its_own(async move {
        let taken = take(&app, address, said).await;
        drop((bytes, share));
        taken
    })
    .await
}

async fn take(app: &AppState, address: Address, said: parse::Reported) -> Result<Json<Taken>, Problem> {
    let Address { tenant, id, token } = address;
    let report_digest = said.digest();
    let plain = said.result.map(|body| ResultBody {
        content_type: Some(parse::Reported::CONTENT_TYPE.to_owned()),
        body,
        data_key: None,
        truncated: false,
    });
    let result = match plain {
        Some(plain) => Some(results::at_rest(app, &tenant, id, plain).await?),
        None => None,
    };
    let report = Report {
        tenant: tenant.clone(),
        id,
        attempt: token.attempt,
        token_digest: token.digest(),
        report_digest,
        success: said.success,
        result,
        error: said.error,
        n8n_execution_id: said.n8n_execution_id,
    };
    let done = app.store.report(report).await.map_err(|error| failed(&error))?;
    let (label, answer) = match done {
        Reported::Done(state) => {
            app.waiters.ended(&tenant, id);
            tracing::info!(
                target: STEPS, step = "ended", execution_id = %id, tenant_id = tenant.as_str(), attempt = token.attempt,
                state = state.as_str(), "the workflow reported its result"
            );
            ("done", Ok((state, false)))
        }
        Reported::Repeated(state) => ("repeated", Ok((state, true))),
        // Where no callback is expected no token exists: any is a wrong one.
        Reported::BadToken | Reported::NotExpected => return Err(counted(app, Some(&tenant), "bad_token")),
        Reported::NotCurrent { current, state } => {
            ("not_current", Err(not_current(id, token.attempt, current, state)))
        }
        Reported::Conflict(state) => ("conflict", Err(ended(id, state))),
    };
    metrics::counter!("bridge_callbacks_total", "outcome" => label).increment(1);
    answer.map(|(state, repeated)| Json(Taken { execution_id: id, state, repeated }))
}

async fn is_known(app: &AppState, address: &Address) -> Result<bool, Problem> {
    let Address { tenant, id, token } = address;
    // n8n gives up at a 401: whoever does not know its tenants yet must not say that it does.
    if !app.directory.is_loaded() {
        return Err(not_ready());
    }
    if app.directory.snapshot().tenant(tenant).is_none() {
        return Ok(false);
    }
    let known = app.store.holds_token(tenant, *id, token.attempt, &token.digest()).await;
    known.map_err(|error| failed(&error))
}

fn address(id: &str, query: &str) -> Option<Address> {
    let (mut tenant, mut token) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "tenant_id" => tenant = TenantId::parse(&value).ok(),
            "token" => token = CallbackToken::parse(&value),
            _ => {}
        }
    }
    Some(Address { tenant: tenant?, id: id.parse().ok()?, token: token? })
}

/// A refusal among the refused logins. A tenant that does not exist is no subject: callers invent them.
fn counted(app: &AppState, tenant: Option<&TenantId>, why: &'static str) -> Problem {
    let known = tenant.filter(|tenant| app.directory.snapshot().tenant(tenant).is_some());
    app.tally.add("login", known.map_or("unknown", TenantId::as_str), "callback_token");
    refused(why)
}

/// The same words whatever is wrong: a stranger learns nothing about what exists.
fn refused(why: &'static str) -> Problem {
    metrics::counter!("bridge_callbacks_total", "outcome" => why).increment(1);
    let detail = "the callback's address is not one that the bridge gave out, or it is not whole; send the report to \
                  x-callback-url exactly as the workflow received it";
    Problem::new(StatusCode::UNAUTHORIZED, "bad-callback-token", "Bad callback token", detail)
        .with_challenge()
}

fn not_current(id: ExecutionId, attempt: u16, current: u16, state: Stage) -> Problem {
    let detail = format!(
        "the failure of attempt {attempt} of execution {id} changes nothing: attempt {current} is the one that counts"
    );
    Problem::new(StatusCode::CONFLICT, "not-current-attempt", "Not the current attempt", detail)
        .about(id)
        .with_state(state.as_str(), state.allowed())
}

fn ended(id: ExecutionId, state: Stage) -> Problem {
    let detail = format!(
        "execution {id} is {state}; a report can end an execution once, while it is running, waiting or retrying"
    );
    Problem::new(StatusCode::CONFLICT, "already-ended", "Already ended", detail)
        .about(id)
        .with_state(state.as_str(), state.allowed())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn only_a_whole_address_is_read() {
        let token = format!("cb_2_{}", "A".repeat(43));
        let good = address(ID, &format!("tenant_id=acme&token={token}")).unwrap();
        assert_eq!((good.tenant.as_str(), good.token.attempt), ("acme", 2));
        assert!(!format!("{good:?}").contains("AAAA"), "a token is not shown");
        for (id, query) in [
            ("x", format!("tenant_id=acme&token={token}")),
            (ID, format!("tenant_id=Not+One&token={token}")),
            (ID, format!("token={token}")),
            (ID, "tenant_id=acme".to_owned()),
            (ID, "tenant_id=acme&token=cb_2_short".to_owned()),
            (ID, String::new()),
        ] {
            assert!(address(id, &query).is_none(), "{id} {query}");
        }
    }
}
