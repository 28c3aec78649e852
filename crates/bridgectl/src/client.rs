//! The HTTP API of the publisher, with the operator's token.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::answers::Problem;
use crate::{Exit, Failure};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Removing a tenant removes its rows in many small transactions.
const REMOVAL_LIMIT: Duration = Duration::from_secs(900);

#[derive(clap::Args)]
#[command(next_help_heading = "Bridge")]
pub struct Connection {
    /// Base URL of the publisher
    #[arg(long, global = true, env = "BRIDGE_URL", default_value = "http://127.0.0.1:8000")]
    url: Url,
    /// File that holds the API token; without it the token is BRIDGE_TOKEN's, or in the file of BRIDGE_TOKEN_FILE
    #[arg(long, global = true)]
    token_file: Option<PathBuf>,
}

/// No flag holds the token itself: the command line is everybody's to read.
enum Token {
    Text(OsString),
    File(PathBuf),
}

impl Connection {
    pub fn has_token(&self) -> bool {
        self.token().is_some()
    }

    pub fn url(&self) -> Url {
        self.url.clone()
    }

    fn token(&self) -> Option<Token> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let flag = self.token_file.clone().map(Token::File);
        flag.or_else(|| set("BRIDGE_TOKEN").map(Token::Text))
            .or_else(|| set("BRIDGE_TOKEN_FILE").map(|file| Token::File(file.into())))
    }

    pub fn open(self) -> Result<Client, Failure> {
        let usage = |what: String| Failure::new(Exit::Usage, what);
        let token = match self.token() {
            Some(Token::Text(token)) => {
                token.into_string().map_err(|_| usage("BRIDGE_TOKEN is not text".to_owned()))?
            }
            Some(Token::File(path)) => std::fs::read_to_string(&path)
                .map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?,
            None => {
                let fix = "no API token: give --token-file, BRIDGE_TOKEN or BRIDGE_TOKEN_FILE";
                return Err(usage(fix.to_owned()));
            }
        };
        let failed = |error| Failure::because(Exit::Failed, error);
        Ok(Client {
            http: builder().build().map_err(failed)?,
            streams: builder().read_timeout(ANSWER_LIMIT).build().map_err(failed)?,
            base: self.url.as_str().trim_end_matches('/').to_owned(),
            token: token.trim().to_owned(),
        })
    }
}

fn builder() -> reqwest::ClientBuilder {
    let name = concat!("bridgectl/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).user_agent(name)
}

pub struct Client {
    /// Each of its requests has a time limit as a whole.
    http: reqwest::Client,
    /// Answers of any length: a limit for each piece. It would also hold for the wait until an answer begins.
    streams: reqwest::Client,
    base: String,
    token: String,
}

/// An answer as it came, and read.
pub struct Answer<T> {
    pub text: String,
    pub read: T,
}

impl Client {
    #[cfg(test)]
    pub fn at(base: &str) -> Self {
        let _there = rustls::crypto::ring::default_provider().install_default();
        // Unwrap safety: a test's panic is its report.
        let http = reqwest::Client::builder().build().expect("a client without settings");
        Self { streams: http.clone(), http, base: base.to_owned(), token: String::new() }
    }

    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Failure> {
        self.send(self.request(&self.http, Method::GET, path, query)?.timeout(ANSWER_LIMIT)).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: String,
    ) -> Result<Answer<T>, Failure> {
        self.with_body(Method::POST, path, query, body).await
    }

    /// Done once, however often it is asked for under this key.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: String,
        key: &str,
    ) -> Result<Answer<T>, Failure> {
        let request = self.request(&self.http, Method::POST, path, query)?.timeout(ANSWER_LIMIT);
        let request = request.header(http::header::CONTENT_TYPE, "application/json");
        self.send(request.header("idempotency-key", key).body(body)).await
    }

    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: String,
    ) -> Result<Answer<T>, Failure> {
        self.with_body(Method::PUT, path, query, body).await
    }

    pub async fn delete<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Answer<T>, Failure> {
        self.send(self.request(&self.http, Method::DELETE, path, query)?.timeout(REMOVAL_LIMIT)).await
    }

    /// Writes an answer of any length as it comes; each piece has the usual time limit.
    pub async fn copy(
        &self,
        path: &str,
        query: &[(&str, String)],
        to: &mut impl std::io::Write,
    ) -> Result<(), Failure> {
        let request = self.request(&self.streams, Method::GET, path, query)?;
        let mut answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.map_err(|error| self.unreachable(error))?;
            return Err(refusal(status, &text));
        }
        while let Some(piece) = answer.chunk().await.map_err(|error| self.unreachable(error))? {
            to.write_all(&piece).map_err(|error| {
                Failure::new(Exit::Failed, format!("what the bridge answered cannot be written: {error}"))
            })?;
        }
        Ok(())
    }

    /// A link of an answer; a bridge that does not know its public URL answers relative ones.
    pub fn absolute(&self, link: &str) -> String {
        if link.starts_with('/') { format!("{}{link}", self.base) } else { link.to_owned() }
    }

    fn request(
        &self,
        http: &reqwest::Client,
        method: Method,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<reqwest::RequestBuilder, Failure> {
        debug_assert!(crate::routes::known(&method, path), "{method} {path} is not in routes.rs");
        Ok(http.request(method, self.url(path, query)?).bearer_auth(&self.token))
    }

    fn url(&self, path: &str, query: &[(&str, String)]) -> Result<Url, Failure> {
        let mut url = Url::parse(&format!("{}{path}", self.base)).map_err(|error| {
            Failure::new(Exit::Usage, format!("{}{path} is not a URL: {error}", self.base))
        })?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn with_body<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: String,
    ) -> Result<Answer<T>, Failure> {
        let request = self.request(&self.http, method, path, query)?.timeout(ANSWER_LIMIT);
        let request = request.header(http::header::CONTENT_TYPE, "application/json");
        self.send(request.body(body)).await
    }

    fn unreachable(&self, error: reqwest::Error) -> Failure {
        let error = anyhow::Error::from(error).context(format!("the bridge at {} did not answer", self.base));
        Failure::because(Exit::Unavailable, error)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer<T>, Failure> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unreachable(error))?;
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

/// One segment of a path, whatever stands in it: a workflow's id may hold slashes.
pub fn segment(text: &str) -> impl std::fmt::Display {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, PLAIN)
}

fn refusal(status: StatusCode, text: &str) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Unauthorized,
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::CONFLICT => Exit::Conflict,
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
        for (status, exit) in [(401, 4), (403, 4), (404, 3), (409, 6), (410, 1), (429, 5), (500, 1), (503, 5)]
        {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            let failure = refusal(status, "<html>");
            assert_eq!(failure.exit as u8, exit, "{status}");
            assert_eq!(failure.to_string(), format!("the bridge answered {status}"));
        }
    }
}
