//! `bridgectl key rotate signing`: a new key in the keyring file, or an old one retired. The daemons read the file when
//! it changes; a publisher signs with the new key once every live consumer has it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge_protocol::{Keyring, Time};
use bridge_service::clock::{Clock, SystemClock, entropy};
use bridge_service::key_pair::KeyPair;
use rand::CryptoRng;
use serde_json::json;
use toml::{Table, Value};

use crate::args::replace;
use crate::{Exit, Failure};

#[derive(clap::Args)]
pub struct Args {
    /// The keyring file of the publisher
    #[arg(long)]
    keyring: PathBuf,
    /// Add nothing: refuse this key's messages from now on. Their timers publish what still lives again
    #[arg(long, value_name = "KID")]
    retire: Option<String>,
}

struct Edited {
    text: String,
    kid: String,
    /// What a consumer's file needs, where it holds no secret.
    public: Option<String>,
    others: Vec<String>,
}

pub fn run(args: &Args, json: bool) -> Result<String, Failure> {
    let path = &args.keyring;
    // Through a link: the rename must not replace the link.
    let real = std::fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
    let text = std::fs::read_to_string(&real).map_err(|error| unreadable(path, &error))?;
    let edited = match &args.retire {
        Some(kid) => retire(&text, kid),
        None => add(&text, SystemClock.now(), entropy()),
    };
    let Some(edited) =
        edited.map_err(|fault| Failure::new(Exit::Usage, format!("{}: {fault}", path.display())))?
    else {
        let kid = args.retire.as_deref().unwrap_or_default();
        return Ok(match json {
            true => json!({ "changed": false, "kid": kid }).to_string(),
            false => format!("nothing to change: key {kid} is retired already"),
        });
    };
    let about = std::fs::metadata(&real).map_err(|error| unreadable(path, &error))?;
    let owner = Some((about.uid(), about.gid()));
    replace(&real, &edited.text, about.permissions().mode() & 0o7777, owner).map_err(|error| {
        Failure::new(Exit::Failed, format!("{} cannot be replaced: {error}", path.display()))
    })?;
    if json {
        let Edited { kid, public, .. } = edited;
        return Ok(
            json!({ "changed": true, "kid": kid, "retired": args.retire.is_some(), "public": public })
                .to_string(),
        );
    }
    Ok(edited.told(path, args.retire.is_some()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("{} cannot be read: {error}", path.display()))
}

impl Edited {
    fn told(&self, path: &Path, retired: bool) -> String {
        let Self { kid, public, others, .. } = self;
        let file = path.display();
        if retired {
            return format!(
                "key {kid} is retired in {file}: its messages are stale, and what still lives is published again"
            );
        }
        let mut text = format!("key {kid} signs, by {file}");
        match public {
            Some(public) => text.push_str(&format!(
                "\n\nAdd its public half to the consumers' keyring; the publishers sign with it once all of them have \
                 it:\n\n{public}"
            )),
            None => text.push_str(
                "\nCopy the file to every consumer; the publishers sign with the new key once all of them have it.",
            ),
        }
        if let Some(old) = others.last() {
            text.push_str(&format!(
                "\nWhen no message of {old} is left: bridgectl key rotate signing --keyring {file} --retire {old}"
            ));
        }
        text
    }
}

/// `None`: nothing to change.
type Edit = Result<Option<Edited>, String>;

fn read(text: &str) -> Result<Table, String> {
    Keyring::from_toml(text).map_err(|error| error.to_string())?;
    text.parse::<Table>().map_err(|error| error.message().to_owned())
}

fn keys(table: &mut Table) -> Result<&mut Vec<Value>, String> {
    match table.get_mut("keys") {
        Some(Value::Array(keys)) => Ok(keys),
        _ => Err("it holds no [[keys]]".to_owned()),
    }
}

fn text_of<'a>(key: &'a Value, name: &str) -> &'a str {
    key.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The new key is of the kind of the one that signed before.
fn add(text: &str, now: Time, rng: impl CryptoRng) -> Edit {
    let mut table = read(text)?;
    let signing = table.get("signing").and_then(Value::as_str).unwrap_or_default().to_owned();
    if signing.is_empty() {
        return Err(
            "no key of it signs; rotate the publisher's keyring, it prints what consumers need".to_owned()
        );
    }
    let keys = keys(&mut table)?;
    let algorithm =
        keys.iter().find(|key| text_of(key, "kid") == signing).map(|key| text_of(key, "alg").to_owned());
    let kids: Vec<String> = keys.iter().map(|key| text_of(key, "kid").to_owned()).collect();
    let others: Vec<String> = keys
        .iter()
        .filter(|key| key.get("retired").and_then(Value::as_bool) != Some(true))
        .map(|key| text_of(key, "kid").to_owned())
        .collect();
    let kid = fresh(&kids, now);
    let mut key = Table::new();
    key.insert("kid".into(), kid.clone().into());
    let made: toml::value::Datetime =
        now.format("%Y-%m-%dT%H:%M:%SZ").to_string().parse().map_err(|error| format!("{error}"))?;
    key.insert("created".into(), made.into());
    let public = match algorithm.as_deref() {
        Some("EdDSA") => {
            let pair = KeyPair::generate(rng);
            key.insert("alg".into(), "EdDSA".into());
            key.insert("public_pem".into(), pair.public_pem().into());
            let public = printed(&key)?;
            key.insert("private_pem".into(), pair.private_pem().as_str().into());
            Some(public)
        }
        _ => {
            key.insert("alg".into(), "HS256".into());
            key.insert("secret".into(), secret(rng).into());
            None
        }
    };
    keys.push(Value::Table(key));
    table.insert("signing".into(), kid.clone().into());
    Ok(Some(Edited { text: checked(&table)?, kid, public, others }))
}

fn secret(mut rng: impl CryptoRng) -> String {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

/// The day; a second one of a day gets a number.
fn fresh(kids: &[String], now: Time) -> String {
    let day = now.format("%Y-%m-%d").to_string();
    let numbered = (2..).map(|number: u32| format!("{day}.{number}"));
    std::iter::once(day.clone()).chain(numbered).find(|kid| !kids.contains(kid)).unwrap_or(day)
}

fn printed(key: &Table) -> Result<String, String> {
    let keys = Value::Array(vec![Value::Table(key.clone())]);
    toml::to_string_pretty(&Table::from_iter([("keys".to_owned(), keys)])).map_err(|error| error.to_string())
}

fn retire(text: &str, kid: &str) -> Edit {
    let mut table = read(text)?;
    if table.get("signing").and_then(Value::as_str) == Some(kid) {
        return Err(format!("{kid} signs; rotate first, then retire it"));
    }
    let keys = keys(&mut table)?;
    let all: Vec<_> = keys.iter().map(|key| text_of(key, "kid").to_owned()).collect();
    let Some(Value::Table(key)) = keys.iter_mut().find(|key| text_of(key, "kid") == kid) else {
        return Err(format!("there is no key {kid}; it holds {}", all.join(", ")));
    };
    if key.insert("retired".into(), true.into()) == Some(Value::Boolean(true)) {
        return Ok(None);
    }
    Ok(Some(Edited { text: checked(&table)?, kid: kid.to_owned(), public: None, others: Vec::new() }))
}

/// What the daemons would refuse is never written.
fn checked(table: &Table) -> Result<String, String> {
    let text = toml::to_string_pretty(table).map_err(|error| error.to_string())?;
    Keyring::from_toml(&text).map_err(|error| format!("the new keyring would be unusable: {error}"))?;
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn now() -> Time {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    fn hmac() -> String {
        let secret = STANDARD.encode([1; 32]);
        format!(
            "# a comment\nsigning = \"2026-10\"\n[[keys]]\nkid = \"2026-10\"\nalg = \"HS256\"\nsecret = \"{secret}\"\n"
        )
    }

    fn eddsa() -> String {
        let pair = KeyPair::generate(rng());
        let (private, public) = (pair.private_pem(), pair.public_pem());
        format!(
            "signing = \"a\"\n[[keys]]\nkid = \"a\"\nalg = \"EdDSA\"\npublic_pem = '''{public}'''\nprivate_pem = '''{}'''\n",
            private.as_str()
        )
    }

    #[test]
    fn a_new_key_signs_and_the_old_one_verifies() {
        let once = add(&hmac(), now(), rng()).unwrap().unwrap();
        assert_eq!((once.kid.as_str(), once.public.is_some()), ("2026-11-21", false));
        let twice = add(&once.text, now(), rng()).unwrap().unwrap();
        let ring = Keyring::from_toml(&twice.text).unwrap();
        assert_eq!(ring.signing_kid(), Some("2026-11-21.2"));
        assert_eq!(ring.signing_since(), Some(now()));
        assert_eq!(Keyring::from_toml(&hmac()).unwrap().signing_since(), None);
        assert_eq!(ring.kids(), ["2026-10", "2026-11-21", "2026-11-21.2"]);
        assert!(retire(&twice.text, "2026-11-21.2").err().unwrap().contains("rotate first"));
        assert!(retire(&twice.text, "other").err().unwrap().contains("2026-10"));
        let retired = retire(&twice.text, "2026-10").unwrap().unwrap().text;
        assert_eq!(Keyring::from_toml(&retired).unwrap().kids(), ["2026-11-21", "2026-11-21.2"]);
        assert!(retire(&retired, "2026-10").unwrap().is_none());
    }

    #[test]
    fn an_eddsa_ring_stays_one_and_consumers_get_no_secret() {
        let edited = add(&eddsa(), now(), rng()).unwrap().unwrap();
        assert!(Keyring::from_toml(&edited.text).unwrap().can_sign());
        let public = edited.public.as_deref().unwrap();
        let consumers = Keyring::from_toml(public).unwrap();
        assert_eq!((consumers.kids(), consumers.can_sign()), (vec![edited.kid.clone()], false));
        assert!(!public.contains("PRIVATE"));
        insta::assert_snapshot!(edited.told(Path::new("keyring.toml"), false));
    }

    #[test]
    fn a_consumers_ring_and_a_broken_one_are_refused() {
        let public = add(&eddsa(), now(), rng()).unwrap().unwrap().public.unwrap();
        assert!(add(&public, now(), rng()).err().unwrap().contains("no key of it signs"));
        assert!(add("signing = 3", now(), rng()).is_err());
    }

    #[test]
    fn the_files_mode_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.toml");
        std::fs::write(&path, hmac()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let link = dir.path().join("current.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        run(&Args { keyring: link.clone(), retire: None }, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Keyring::from_toml(&std::fs::read_to_string(&path).unwrap()).unwrap().kids().len(), 2);
    }
}
