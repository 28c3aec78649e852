//! Request bodies: one random text of the asked size, a different window of it each time.

use std::fmt::Write;

use bytes::Bytes;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub struct Body {
    head: String,
    noise: String,
    payload_bytes: usize,
    number: u64,
}

/// What `{"n":000000000000,"data":""}` takes of the payload.
const FRAME: usize = r#"{"n":100000000000,"data":""}"#.len();
const WINDOWS: usize = 4096;

impl Body {
    pub fn new(workflow: &str, lane: &str, payload_bytes: usize) -> Self {
        let head = serde_json::json!({ "workflow_id": workflow, "lane": lane }).to_string();
        // Always the same text: two runs publish the same bytes.
        let noise = StdRng::seed_from_u64(1).sample_iter(Alphanumeric).take(payload_bytes + WINDOWS);
        Self {
            head: head.trim_end_matches('}').to_owned(),
            noise: noise.map(char::from).collect(),
            payload_bytes,
            number: 100_000_000_000,
        }
    }

    pub fn next(&mut self) -> Bytes {
        self.number += 1;
        let from = usize::try_from(self.number).unwrap_or(0) % WINDOWS;
        let noise = &self.noise[from..from + self.payload_bytes.saturating_sub(FRAME)];
        let mut body = String::with_capacity(self.head.len() + self.payload_bytes + 32);
        body.push_str(&self.head);
        // Unwrap safety: writing to a String has no error.
        write!(body, r#","payload":{{"n":{},"data":"{noise}"}}}}"#, self.number).expect("a String grows");
        body.into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_asked_size_and_differs() {
        let mut bodies = Body::new("ok", "short", 1024);
        let (one, two) = (bodies.next(), bodies.next());
        assert_ne!(one, two);
        let parsed: serde_json::Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(parsed["workflow_id"], "ok");
        assert_eq!(parsed["payload"].to_string().len(), 1024);
    }
}
