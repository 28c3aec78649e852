//! `bridgectl roles apply`: tokens with which the daemons and the tenants log in at the broker. What is still good is
//! kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bridge_bus::roles::{self, SigningKeyFile};
use bridge_protocol::{TenantId, Time};
use bridge_service::clock::{Clock, SystemClock};
use serde_json::json;

use super::Setup;
use crate::args::write_private;
use crate::broker::Broker;
use crate::{Exit, Failure};

/// A token that ends sooner than this is made again; one that was made for a shorter time, in its last quarter.
const RENEW_BEFORE: Duration = Duration::from_secs(7 * 86_400);

/// A tenant's token leaves the operators' hands, and none can be called back.
const TENANTS_LAST: Duration = Duration::from_secs(90 * 86_400);

#[derive(clap::Subcommand)]
pub enum Verb {
    /// Tokens for the roles of pulsar/topics.yml, one file each
    Apply(Apply),
}

#[derive(clap::Args)]
pub struct Apply {
    /// Also the role of this tenant, again for several
    #[arg(long)]
    tenant: Vec<TenantId>,
    /// Directory for the tokens: ROLE.token, for its owner only
    #[arg(long)]
    out: PathBuf,
    /// The broker's signing key: its tokenSecretKey, or the private half of its tokenPublicKey
    #[arg(long)]
    key: PathBuf,
    /// How long a token is good, e.g. 30d; left out, a tenant's is good for 90 days, a daemon's without end
    #[arg(long, value_parser = crate::args::seconds)]
    expires: Option<u64>,
    /// Rules whose roles are meant, instead of the built-in ones (pulsar/topics.yml)
    #[arg(long)]
    topics_file: Option<PathBuf>,
}

#[derive(Debug, PartialEq)]
struct Written {
    role: String,
    file: PathBuf,
    changed: bool,
}

pub fn run(setup: &Setup, verb: Verb, json: bool) -> Result<String, Failure> {
    let Verb::Apply(args) = verb;
    let roles = Broker::rules(&setup.load()?, args.topics_file.as_deref())?.roles;
    let expires = args.expires.map(Duration::from_secs);
    let daemons = [roles.publisher.clone(), roles.consumer.clone()].map(|name| (name, expires));
    let tenants = args.tenant.iter().filter_map(|tenant| roles.of_tenant(tenant));
    let tenants = tenants.map(|name| (name, expires.or(Some(TENANTS_LAST))));
    let mut names: Vec<_> = daemons.into_iter().chain(tenants).collect();
    names.retain(|(name, _)| !name.is_empty());
    if names.is_empty() {
        let fix = "the topics file names no roles, so there is nothing to make tokens for";
        return Err(Failure::new(Exit::Usage, fix));
    }
    let usage = |error: roles::RoleError| Failure::because(Exit::Usage, error);
    let key = SigningKeyFile::read(&args.key).map_err(usage)?;
    std::fs::create_dir_all(&args.out).map_err(|error| {
        Failure::new(Exit::Usage, format!("{} cannot be made: {error}", args.out.display()))
    })?;
    let now = SystemClock.now();
    let written: Result<Vec<_>, _> =
        names.iter().map(|(role, expires)| apply(role, &key, *expires, &args.out, now)).collect();
    let written = written?;
    Ok(if json { as_json(&written) } else { told(&written) })
}

fn apply(
    role: &str,
    key: &SigningKeyFile,
    expires: Option<Duration>,
    dir: &Path,
    now: Time,
) -> Result<Written, Failure> {
    let file = dir.join(format!("{role}.token"));
    let margin = expires.map_or(RENEW_BEFORE, |lasts| RENEW_BEFORE.min(lasts / 4));
    let changed = match std::fs::read_to_string(&file) {
        Ok(token) => !roles::still_good(token.trim(), role, key, now + margin),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(Failure::new(Exit::Failed, format!("{} cannot be read: {error}", file.display())));
        }
    };
    if changed {
        let token =
            roles::mint(role, key, expires, now).map_err(|error| Failure::because(Exit::Failed, error))?;
        write_private(&file, &format!("{token}\n"))?;
    }
    Ok(Written { role: role.to_owned(), file, changed })
}

fn told(written: &[Written]) -> String {
    let line = |one: &Written| match one.changed {
        true => format!("{}: new token in {}", one.role, one.file.display()),
        false => format!("{}: unchanged", one.role),
    };
    let mut lines: Vec<_> = written.iter().map(line).collect();
    if written.iter().all(|one| !one.changed) {
        lines.push("nothing to change".to_owned());
    }
    lines.join("\n")
}

fn as_json(written: &[Written]) -> String {
    let roles: Vec<_> = written
        .iter()
        .map(|one| json!({ "role": one.role, "file": one.file, "changed": one.changed }))
        .collect();
    json!({ "roles": roles }).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_good_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret.key");
        std::fs::write(&secret, [7; 32]).unwrap();
        let key = SigningKeyFile::read(&secret).unwrap();
        let now: Time = "2026-11-21T10:00:00Z".parse().unwrap();
        let month = Some(Duration::from_secs(30 * 86_400));
        let run = |now| apply("bridge-publisher", &key, month, dir.path(), now).unwrap();
        assert!(run(now).changed);
        assert!(!run(now).changed);
        assert!(run(now + Duration::from_secs(25 * 86_400)).changed);
        std::fs::write(dir.path().join("bridge-publisher.token"), "junk").unwrap();
        let again = run(now);
        assert!(again.changed);
        assert_eq!(
            told(&[Written { changed: false, ..again }]),
            "bridge-publisher: unchanged\nnothing to change"
        );
    }
}
