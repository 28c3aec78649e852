//! The master keys, which must be the daemons' own, and the keyring that signs the messages.

use bridge_service::Config;
use bridge_service::keyring::{KeyringFile, Use};
use bridge_store::LiveMember;

use super::Report;
use crate::{Exit, Failure};

pub fn check(config: &Config, members: Option<&[LiveMember]>, report: &mut Report) {
    masters(config, members.unwrap_or_default(), report);
    match &config.signing.keyring_file {
        None => report.note("keyring", "not looked at: signing.keyring_file is not set here"),
        Some(file) => match KeyringFile::load(file, Use::Verify) {
            Ok(_) => report.ok("keyring", format!("{} can be used", file.display())),
            Err(error) => {
                let what = Failure::because(Exit::Failed, error).to_string();
                let mend = "bridgectl key rotate signing makes a keyring; docs/spec/message.md says what stands in it";
                report.finding("keyring", what, mend);
            }
        },
    }
    keyrings(members.unwrap_or_default(), report);
}

fn masters(config: &Config, members: &[LiveMember], report: &mut Report) {
    const MASTER: &str = "master keys";
    let own: Vec<String> = match config.vault() {
        Ok(vault) => vault.ids().map(str::to_owned).collect(),
        Err(error) if config.encryption.master_keys.is_none() => {
            report.note(MASTER, format!("not looked at here: {error}"));
            Vec::new()
        }
        Err(error) => {
            let mend =
                "correct BRIDGE_MASTER_KEYS_FILE: id:key a line, the key from `openssl rand -base64 32`";
            report.finding(MASTER, error.to_string(), mend);
            Vec::new()
        }
    };
    if !own.is_empty() {
        report.ok(MASTER, format!("{} seals, {} in all", own[0], own.len()));
    }
    // They are compared with the first daemon's where there are none here.
    let expected =
        if own.is_empty() { members.first().map(|m| m.masters.clone()).unwrap_or_default() } else { own };
    for member in members.iter().filter(|member| member.masters != expected) {
        let LiveMember { kind, host, masters, .. } = member;
        let what = format!("{kind} {host} has {}, elsewhere are {}", list(masters), list(&expected));
        let mend = "give every daemon the same BRIDGE_MASTER_KEYS_FILE in the same order, and restart it";
        report.finding(MASTER, what, mend);
    }
}

/// What a publisher signs with must be known to every consumer.
fn keyrings(members: &[LiveMember], report: &mut Report) {
    let of = |kind: &str| members.iter().filter(move |member| member.kind == kind).collect::<Vec<_>>();
    for publisher in of("publisher") {
        for consumer in of("consumer") {
            let missing: Vec<String> =
                publisher.keys.iter().filter(|key| !consumer.keys.contains(key)).cloned().collect();
            if !missing.is_empty() {
                let what = format!(
                    "consumer {} does not have {} of publisher {}: it cannot verify what is signed with it",
                    consumer.host,
                    list(&missing),
                    publisher.host
                );
                report.finding(
                    "keyring",
                    what,
                    "give the consumer the new keyring; it is read again without a restart",
                );
            }
        }
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::human::doctor::text;

    #[test]
    fn daemons_that_differ_are_named() {
        let member = |kind: &str, host: &str, keys: &[&str], masters: &[&str]| LiveMember {
            kind: kind.to_owned(),
            host: host.to_owned(),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            masters: masters.iter().map(|key| (*key).to_owned()).collect(),
            directory: 1,
        };
        let members = [
            member("publisher", "a", &["k1", "k2"], &["m1"]),
            member("consumer", "b", &["k1", "k2"], &["m1"]),
            member("consumer", "c", &["k1"], &[]),
        ];
        let mut report = Report::default();
        keyrings(&members, &mut report);
        insta::assert_snapshot!(text(&report));
    }
}
