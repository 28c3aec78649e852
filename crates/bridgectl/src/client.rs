//! The HTTP API of the publisher, with the operator's token.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::answers::Problem;
use crate::{Exit, Failure};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
#[command(next_help_heading = "Bridge")]
pub struct Connection {
    /// Base URL of the publisher
    #[arg(long, global = true, env = "BRIDGE_URL", default_value = "http://127.0.0.1:8000")]
    url: Url,
    /// API token
    #[arg(long, global = true, env = "BRIDGE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File that holds the API token
    #[arg(long, global = true, env = "BRIDGE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

impl Connection {
    pub fn open(self) -> Result<Client, Failure> {
        let token = match (self.token, self.token_file) {
            (Some(token), _) => token,
            (None, Some(path)) => std::fs::read_to_string(&path).map_err(|error| {
                Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))
            })?,
            (None, None) => {
                let fix = "no API token: give --token, --token-file, BRIDGE_TOKEN or BRIDGE_TOKEN_FILE";
                return Err(Failure::new(Exit::Usage, fix));
            }
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            .user_agent(concat!("bridgectl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::because(Exit::Failed, error))?;
        Ok(Client {
            http,
            base: self.url.as_str().trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
        })
    }
}

pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// An answer as it came, and read.
pub struct Answer<T> {
    pub text: String,
    pub read: T,
}

impl Client {
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Failure> {
        let mut url = Url::parse(&format!("{}{path}", self.base)).map_err(|error| {
            Failure::new(Exit::Usage, format!("{}{path} is not a URL: {error}", self.base))
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.http.request(Method::GET, url)).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: String) -> Result<Answer<T>, Failure> {
        let request = self.http.request(Method::POST, format!("{}{path}", self.base));
        let request = request.header(http::header::CONTENT_TYPE, "application/json");
        self.send(request.body(body)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer<T>, Failure> {
        let unreachable = |error: reqwest::Error| {
            let error =
                anyhow::Error::from(error).context(format!("the bridge at {} did not answer", self.base));
            Failure::because(Exit::Unavailable, error)
        };
        let answer = request.bearer_auth(&self.token).send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refusal(status, &text));
        }
        match serde_json::from_str(&text) {
            Ok(read) => Ok(Answer { text, read }),
            Err(error) => {
                let what = format!("the bridge answered {status} with JSON of another shape: {error}");
                Err(Failure::new(Exit::Failed, what))
            }
        }
    }
}

fn refusal(status: StatusCode, text: &str) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Unauthorized,
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Exit::Unavailable,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Exit::Unavailable
        }
        _ => Exit::Failed,
    };
    let Ok(problem) = serde_json::from_str::<Problem>(text) else {
        return Failure::new(exit, format!("the bridge answered {status}"));
    };
    let what = problem.detail.or(problem.title).unwrap_or_else(|| format!("the bridge answered {status}"));
    let mut message = format!("{what} ({status})");
    // The detail of a problem with few faults says them all.
    for error in problem.errors.into_iter().filter(|error| !what.contains(&error.message)) {
        let place = error.field.map(|field| format!("{field}: ")).unwrap_or_default();
        // Unwrap safety: writing to a String has no error.
        write!(message, "\n  {place}{}", error.message).expect("a String grows");
    }
    Failure::new(exit, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_its_detail_and_each_field() {
        let text = r#"{"type":"/problems/invalid-request","title":"Bad Request","status":400,
            "detail":"2 fields need a fix","errors":[{"field":"lane","message":"must be short, long, ai or analytics"},
            {"field":"deliver_at","message":"is in the past"}]}"#;
        let failure = refusal(StatusCode::BAD_REQUEST, text);
        assert_eq!(failure.exit, Exit::Failed);
        insta::assert_snapshot!(failure, @"
        2 fields need a fix (400 Bad Request)
          lane: must be short, long, ai or analytics
          deliver_at: is in the past
        ");
    }

    #[test]
    fn the_status_chooses_the_exit_code() {
        for (status, exit) in [(401, 4), (403, 4), (404, 3), (410, 1), (429, 5), (500, 1), (503, 5)] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let failure = refusal(status, "<html>");
            assert_eq!(failure.exit as u8, exit, "{status}");
            assert_eq!(failure.to_string(), format!("the bridge answered {status}"));
        }
    }
}
