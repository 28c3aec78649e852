//! `bridgectl credential`: what the bridge shows to a tenant's webhooks. Needs a credential of the tenant with the
//! scope routes. Secrets come from standard input or a file.

use std::path::PathBuf;

use serde_json::json;

use super::of::Of;
use crate::answers::admin::{Acted, Credentials};
use crate::args::secret;
use crate::client::Client;
use crate::{Exit, Failure, human};

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Set it: routes may name it from then on
    Put(Put),
    /// The tenant's credentials, without their secrets
    List(Of),
    /// Take it away; routes that name it fail until it is there again
    Delete {
        name: String,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(clap::Args)]
pub struct Put {
    name: String,
    #[arg(long, value_enum)]
    kind: Kind,
    /// The header's name, for kind header
    #[arg(long, required_if_eq("kind", "header"))]
    header: Option<String>,
    /// The user's name, for kind basic
    #[arg(long, required_if_eq("kind", "basic"))]
    user: Option<String>,
    /// File that holds the secret; standard input without it
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    of: Of,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Kind {
    Header,
    Basic,
    Bearer,
    Jwt,
}

pub async fn run(client: &Client, verb: Verb, json: bool) -> Result<String, Failure> {
    match verb {
        Verb::Put(args) => {
            let path = path(&args.name)?;
            let secret = secret(args.file.as_deref())?;
            let answer = client.put::<Acted>(&path, &args.of.query(), body(&args, &secret)).await?;
            Ok(if json { answer.text } else { told(&answer.read) })
        }
        Verb::List(of) => {
            let answer = client.get::<Credentials>("/pulsar/credentials", &of.query()).await?;
            Ok(if json { answer.text } else { list(&answer.read) })
        }
        Verb::Delete { name, of } => {
            let answer = client.delete::<Acted>(&path(&name)?, &of.query()).await?;
            Ok(if json { answer.text } else { told(&answer.read) })
        }
    }
}

fn path(name: &str) -> Result<String, Failure> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(format!("/pulsar/credentials/{name}"));
    }
    let fix = format!("{name:?} is no name: 1 to 64 lower case letters, digits and hyphens");
    Err(Failure::new(Exit::Usage, fix))
}

fn body(args: &Put, secret: &str) -> String {
    match args.kind {
        Kind::Header => json!({ "kind": "header", "name": args.header, "value": secret }),
        Kind::Basic => json!({ "kind": "basic", "user": args.user, "password": secret }),
        Kind::Bearer => json!({ "kind": "bearer", "token": secret }),
        Kind::Jwt => json!({ "kind": "jwt", "secret": secret }),
    }
    .to_string()
}

fn told(acted: &Acted) -> String {
    let Acted { name, tenant_id, kind, outcome, changed, in_effect } = acted;
    let what = match (outcome.as_deref(), changed) {
        (Some(outcome), _) => outcome,
        (None, true) => "deleted",
        (None, false) => "not there",
    };
    let kind = kind.as_ref().map(|kind| format!(" ({kind})")).unwrap_or_default();
    format!("credential {name}{kind} of tenant {tenant_id} {what}; {}", human::tenants::in_force(*in_effect))
}

fn list(all: &Credentials) -> String {
    if all.credentials.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = all
        .credentials
        .iter()
        .map(|one| {
            vec![one.name.clone(), one.kind.clone(), human::time(one.created_at), human::time(one.changed_at)]
        })
        .collect();
    human::table(&["CREDENTIAL", "KIND", "CREATED", "CHANGED"], &rows)
}
