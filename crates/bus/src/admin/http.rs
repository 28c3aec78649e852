//! One request, its redirects and its time limit.

use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Admin;
use super::error::{AdminError, Problem, names_a_right, reason};

/// A broker answers 307 to the one that owns the topic.
const REDIRECTS: usize = 5;
/// The statistics of a big broker are some MB; more is not an answer we asked for.
const LONGEST_ANSWER: usize = 64 << 20;

/// What to ask: a verb and an object for people, a method and a path for the broker.
pub(super) struct Call<'a> {
    pub(super) verb: &'static str,
    pub(super) object: &'a str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
}

pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Admin {
    /// A call whose answer is JSON.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        object: &str,
        path: String,
    ) -> Result<T, AdminError> {
        let answered = self.call(Call { verb, object, method: Method::GET, path, body: None }).await?;
        serde_json::from_slice(&answered.body)
            .map_err(|error| AdminError::new(verb, object, Problem::Answer(error.to_string())))
    }

    /// As [`Admin::read`]; what is not there is `None`.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        verb: &'static str,
        object: &str,
        path: String,
    ) -> Result<Option<T>, AdminError> {
        match self.read(verb, object, path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A call whose answer says nothing but that it was done.
    pub(super) async fn write(
        &self,
        verb: &'static str,
        object: &str,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<(), AdminError> {
        self.call(Call { verb, object, method, path, body }).await.map(drop)
    }

    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answered, AdminError> {
        let fail = |problem| AdminError::new(call.verb, call.object, problem).asked(&call.method, &call.path);
        let work = self.follow(&call);
        let answered = tokio::select! {
            answered = work => answered.map_err(fail)?,
            () = tokio::time::sleep(self.timeout) => return Err(fail(Problem::Timeout(self.timeout))),
        };
        match answered.status {
            200..=299 => Ok(answered),
            status => {
                let reason = reason(&String::from_utf8_lossy(&answered.body));
                if matches!(status, 401 | 403) {
                    let of_right = status == 403 || names_a_right(&reason);
                    let label = if of_right { "forbidden" } else { "credential" };
                    metrics::counter!("bridge_broker_refused_total", "reason" => label).increment(1);
                    if !of_right {
                        self.credentials.refused();
                    }
                }
                Err(fail(Problem::Status { status, reason }))
            }
        }
    }

    async fn follow(&self, call: &Call<'_>) -> Result<Answered, Problem> {
        let mut url = format!("{}{}", self.base, call.path);
        let token = self.credentials.token().await.map_err(|error| Problem::Credential(Box::new(error)))?;
        for _ in 0..=REDIRECTS {
            let mut request = self.http.request(call.method.clone(), &url);
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            if let Some(body) = &call.body {
                request = request.json(body);
            }
            let answer = request.send().await.map_err(transport)?;
            if answer.status().is_redirection() {
                url = next(&url, answer.headers())?;
                continue;
            }
            return read_body(answer).await;
        }
        Err(Problem::Redirect(url))
    }
}

/// The credential goes along, so the way must not become less safe than it was.
fn next(from: &str, headers: &HeaderMap) -> Result<String, Problem> {
    let location =
        headers.get(http::header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bad = || Problem::Redirect(location.to_owned());
    let from = url::Url::parse(from).map_err(|_| bad())?;
    let to = from.join(location).map_err(|_| bad())?;
    if location.is_empty() || to.scheme() != from.scheme() {
        return Err(bad());
    }
    Ok(to.into())
}

async fn read_body(mut answer: reqwest::Response) -> Result<Answered, Problem> {
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(Problem::Answer(format!("longer than {LONGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answered { status, headers, body })
}

/// The URL is said elsewhere, and could hold more than is good for a log.
fn transport(error: reqwest::Error) -> Problem {
    Problem::Transport(error.without_url())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn redirect(to: &'static str) -> Result<String, Problem> {
        let headers = HeaderMap::from_iter([(http::header::LOCATION, to.parse().unwrap())]);
        next("http://broker-1:8080/admin/v2/x?y=1", &headers)
    }

    #[test]
    fn a_redirect_may_change_the_host_but_not_the_scheme() {
        assert_eq!(
            redirect("http://broker-2:8080/admin/v2/x?y=1").unwrap(),
            "http://broker-2:8080/admin/v2/x?y=1"
        );
        assert_eq!(redirect("/metrics/").unwrap(), "http://broker-1:8080/metrics/");
        assert!(redirect("https://elsewhere/").is_err());
        assert!(next("http://broker-1:8080/", &HeaderMap::new()).is_err());
    }
}
