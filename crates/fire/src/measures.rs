//! The names of what is counted, each there from the start.

use bridge_protocol::Lane;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

/// For whoever fires, at start.
pub fn register() {
    for lane in Lane::ALL {
        for answer in ["2xx", "3xx", "4xx", "5xx", "connect_error", "no_answer", "blocked"] {
            counter!("bridge_webhook_requests_total", "lane" => lane.as_str(), "answer" => answer)
                .absolute(0);
        }
    }
    counter!("bridge_breaker_opened_total").absolute(0);
    gauge!("bridge_webhooks_in_flight").set(0.0);
    describe_counter!("bridge_webhook_requests_total", "Requests sent to webhooks, by kind of answer");
    describe_counter!("bridge_breaker_opened_total", "How often an endpoint's breaker opened");
    describe_gauge!("bridge_webhooks_in_flight", "Requests sent to webhooks and not answered yet");
    describe_histogram!("bridge_webhook_seconds", Unit::Seconds, "From sending a request to its last byte");
}
