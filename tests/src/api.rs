//! The publisher's HTTP API as one tenant uses it. It remembers what was accepted: the world checks every one at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::secrets::MARK;
use crate::wait::eventually;

/// Executions that were accepted: their tenant, and the state each must end in.
pub type Book = Arc<Mutex<BTreeMap<String, (String, &'static str)>>>;

#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    pub tenant: String,
    token: String,
    book: Book,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    pub fn id(&self) -> String {
        self.json["execution_id"].as_str().unwrap_or_else(|| panic!("no execution_id in {self:?}")).to_owned()
    }

    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        self.json["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| error["field"].as_str())
            .collect()
    }
}

/// What `Api::fire` publishes.
pub fn payload_of(workflow: &str) -> Value {
    json!({ "of": workflow, "secret": MARK })
}

impl Api {
    pub fn new(base: String, tenant: &str, token: &str, book: Book) -> Self {
        Self { http: crate::http_client(), base, tenant: tenant.to_owned(), token: token.to_owned(), book }
    }

    /// The same API with another credential.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same API of another publisher.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same API for another tenant.
    pub fn of_tenant(&self, tenant: &str, token: &str) -> Self {
        Self { tenant: tenant.to_owned(), token: token.to_owned(), ..self.clone() }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        self.post_text(path, &body.to_string(), &[("content-type", "application/json")]).await
    }

    pub async fn post_text(
        &self,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(body.to_owned())).await?;
        if answer.status.is_success() {
            self.note(&answer.json);
        }
        Ok(answer)
    }

    pub async fn get(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.call(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer, reqwest::Error> {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer, reqwest::Error> {
        self.call(Method::DELETE, path, None).await
    }

    /// A request whose executions nobody has to wait for.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        self.send(self.request(method, path, body).bearer_auth(&self.token)).await
    }

    /// With other headers than the own credential.
    pub async fn call_as(
        &self,
        headers: &[(&str, String)],
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.request(method, path, body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.send(request).await
    }

    /// The token route, as OAuth 2 clients call it.
    pub async fn login(&self, client: &str, secret: &str, scope: &str) -> Result<Answer, reqwest::Error> {
        let form = format!("grant_type=client_credentials&scope={}", scope.replace(' ', "+"));
        let request = self.http.post(format!("{}/oauth2/token", self.base)).basic_auth(client, Some(secret));
        let form_type = "application/x-www-form-urlencoded";
        self.send(request.header("content-type", form_type).body(form)).await
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, headers, json })
    }

    /// Everything that was accepted must end well, until a test says otherwise.
    fn note(&self, json: &Value) {
        let items = json.as_array().map_or_else(|| std::slice::from_ref(json), Vec::as_slice);
        for id in items.iter().filter_map(|item| item["execution_id"].as_str()) {
            let entry = (self.tenant.clone(), "succeeded");
            self.book.lock().unwrap().entry(id.to_owned()).or_insert(entry);
        }
    }

    /// That `id` ends otherwise than succeeded.
    pub fn expect(&self, id: &str, state: &'static str) {
        self.book.lock().unwrap().insert(id.to_owned(), (self.tenant.clone(), state));
    }

    pub async fn publish(&self, body: Value) -> Result<Answer, reqwest::Error> {
        self.post("/pulsar/publish", &body).await
    }

    /// Publishes and expects 202; the execution's id.
    pub async fn accepted(&self, body: Value) -> anyhow::Result<String> {
        let answer = self.publish(body).await?;
        anyhow::ensure!(answer.status == StatusCode::ACCEPTED, "not accepted: {answer:?}");
        Ok(answer.id())
    }

    pub async fn fire(&self, workflow: &str) -> anyhow::Result<String> {
        self.accepted(json!({ "workflow_id": workflow, "payload": payload_of(workflow) })).await
    }

    pub async fn many(&self, workflow: &str, count: usize) -> anyhow::Result<Vec<String>> {
        futures::future::try_join_all((0..count).map(|_| self.fire(workflow))).await
    }

    /// Repeats with an idempotency key until the bridge says yes, whatever happens to it meanwhile.
    pub async fn insist(&self, workflow: &str, key: &str) -> Answer {
        let payload = json!({ "key": key });
        let body = json!({ "workflow_id": workflow, "payload": payload, "idempotency_key": key });
        eventually(&format!("{key} to be accepted"), async || match self.publish(body.clone()).await {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    pub async fn show(&self, id: &str) -> anyhow::Result<Value> {
        let answer = self.get(&format!("/pulsar/executions/{id}")).await?;
        anyhow::ensure!(answer.status == StatusCode::OK, "{id}: {answer:?}");
        Ok(answer.json)
    }

    /// Waits until the execution is in that state; the execution.
    pub async fn until(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} to be {state}"), async || {
            let seen = self.show(id).await.map_err(|error| format!("{error:#}"))?;
            if state_of(&seen) == state { Ok(seen) } else { Err(seen.to_string()) }
        })
        .await
    }
}

pub fn state_of(execution: &Value) -> &str {
    execution["state"].as_str().or(execution["status"].as_str()).unwrap_or_default()
}
