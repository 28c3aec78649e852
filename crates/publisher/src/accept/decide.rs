//! Which way a request goes, by the routes of now.

use bridge_protocol::{Asked, Completion, Decision};
use bridge_service::Problem;
use bridge_service::problem::FieldError;

use crate::access::not_ready;
use crate::app::App;
use crate::parse::{Publish, invalid};

/// What a request may become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its caller waits for the answer: it may be fired at once.
    Either,
    /// One of many, or nobody waits: always through the broker.
    Queued,
}

pub(super) fn decide(app: &App, publish: &Publish, way: Way) -> Result<Decision, Problem> {
    let asked = Asked {
        lane: publish.lane,
        completion: publish.completion,
        delayed: publish.schedule.deliver_at.is_some(),
        batch: way == Way::Queued,
    };
    let fault = |field: &'static str, message| invalid(vec![FieldError { field: field.into(), message }]);
    let routes = app.routes.load();
    if !app.routing.is_loaded() {
        return Err(not_ready());
    }
    let decision = routes
        .decide(&publish.tenant, &publish.workflow, publish.kind.as_deref(), asked)
        .map_err(|error| fault("workflow_id", error.to_string()))?;
    if decision.completion == Completion::Callback {
        if !app.limits.callbacks {
            return Err(fault("completion", NO_CALLBACKS.to_owned()));
        }
        let target = routes.target(&publish.tenant, &publish.workflow, decision.lane);
        let delay = publish.schedule.deliver_at.map(|at| (at - app.clock.now()).to_std().unwrap_or_default());
        let ends = delay.unwrap_or_default() + target.callback_timeout;
        if ends >= app.limits.payload_retention {
            return Err(fault(
                "completion",
                format!(
                    "the delay and the route's callback_timeout_s end after {} s, and the payload is kept {} s; shorten one of them",
                    ends.as_secs(),
                    app.limits.payload_retention.as_secs()
                ),
            ));
        }
    }
    Ok(decision)
}

const NO_CALLBACKS: &str = "\"callback\" needs an address that workflows can report to, and the bridge has none: have the operator set \
                            BRIDGE_CALLBACK_BASE_URL or BRIDGE_PUBLIC_URL, or use \"response\"";
