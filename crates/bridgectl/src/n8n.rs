//! A service account as n8n takes it: a file for `n8n import:credentials`, and the lines of its form.

use serde_json::{Value, json};

use crate::answers::admin::Client;
use crate::client::Client as Api;

pub struct Credential {
    id: String,
    name: String,
    token_url: String,
    secret: String,
    scope: String,
}

impl Credential {
    /// `None` for what n8n's OAuth2 credential cannot hold: an API key, or an account whose secret is not known.
    pub fn of(client: &Client, api: &Api) -> Option<Self> {
        Some(Self {
            id: client.client_id.clone(),
            name: format!("Bridge {}", client.tenants.join(" ")),
            token_url: api.absolute(client.token_url.as_deref()?),
            secret: client.client_secret.clone()?,
            scope: client.scopes.join(" "),
        })
    }

    /// The import takes a list. With the client's id as the credential's, importing it again changes nothing.
    pub fn import(&self) -> Value {
        json!([{
            "id": self.id,
            "name": self.name,
            "type": "oAuth2Api",
            "data": {
                "grantType": "clientCredentials",
                "accessTokenUrl": self.token_url,
                "clientId": self.id,
                "clientSecret": self.secret,
                "scope": self.scope,
                "authentication": "header",
            },
        }])
    }

    /// The names are those of n8n's form "OAuth2 API".
    pub fn form(&self) -> String {
        let lines = [
            ("Grant Type", "Client Credentials"),
            ("Access Token URL", &self.token_url),
            ("Client ID", &self.id),
            ("Client Secret", &self.secret),
            ("Scope", &self.scope),
            ("Authentication", "Header"),
        ];
        lines.map(|(name, value)| format!("  {name:18}{value}")).join("\n")
    }
}
