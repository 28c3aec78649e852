//! Values of flags, and secrets that must never be flags.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bridge_service::clock::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};

use crate::{Exit, Failure};

/// Seconds, or a number with a unit.
pub fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("expected seconds, or a number with s, m, h or d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a whole number, e.g. 90 or 15m".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "that is too long".to_owned())
}

/// A time of day, or how long ago: 15m is a quarter of an hour before now.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let wrong =
        || "expected a time such as 2026-11-21T10:00:00Z, or how long ago: 90s, 15m, 2h, 1d".to_owned();
    let ago = i64::try_from(seconds(text).map_err(|_| wrong())?).map_err(|_| wrong())?;
    let ago = TimeDelta::try_seconds(ago).ok_or_else(wrong)?;
    SystemClock.now().checked_sub_signed(ago).ok_or_else(wrong)
}

/// A secret from a file, or from standard input: an argument would stand in the list of processes.
pub fn secret(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match file {
        Some(path) => std::fs::read_to_string(path).map(|read| text = read),
        None => {
            if std::io::stdin().is_terminal() {
                eprintln!("bridgectl: type the secret, then Enter and Ctrl-D; it is shown as you type");
            }
            std::io::stdin().read_to_string(&mut text).map(|_| ())
        }
    };
    read.map_err(|error| {
        let place = file.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        Failure::new(Exit::Usage, format!("the secret cannot be read from {place}: {error}"))
    })?;
    // An editor or an echo ends it with a line break.
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    if text.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "the secret is empty; give it on standard input or with --file",
        ));
    }
    Ok(text)
}

/// Writes a secret for its owner only. A file that is there is replaced whole, never left half written.
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    replace(path, text, 0o600, None)
        .map_err(|error| Failure::new(Exit::Failed, format!("{} cannot be written: {error}", path.display())))
}

/// Writes beside the file and renames.
pub fn replace(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&beside, Some(uid), Some(gid))?;
        }
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What is half written is nobody's; that it is there is told by the error already.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// The name of a thing to be destroyed, typed once more: by flag, or on a terminal.
pub fn confirm(name: &str, flag: Option<&str>, what: &str) -> Result<(), Failure> {
    let typed = match flag {
        Some(flag) => flag.to_owned(),
        None if std::io::stdin().is_terminal() => {
            eprint!("{what}\nType {name} to go on: ");
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            read.map_err(|error| Failure::new(Exit::Usage, format!("nothing was typed: {error}")))?;
            line.trim().to_owned()
        }
        None => {
            let fix = format!("{what}\nThere is no terminal to ask on; give --confirm {name}");
            return Err(Failure::new(Exit::Usage, fix));
        }
    };
    if typed == name {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, format!("{typed:?} is not {name:?}; nothing was done")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("1d"), Ok(86_400));
        assert!(seconds("soon").is_err());
        assert!(seconds("1.5h").is_err());
        assert!(seconds("99999999999999999999").is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert_eq!(moment("2026-11-21T11:00:00+01:00").unwrap().to_rfc3339(), "2026-11-21T10:00:00+00:00");
        let before = SystemClock.now() - TimeDelta::minutes(15);
        assert!((before..before + TimeDelta::seconds(5)).contains(&moment("15m").unwrap()));
        for text in ["yesterday", "2026-11-21", "99999999999999999s", ""] {
            assert!(moment(text).unwrap_err().contains("15m"), "{text}");
        }
    }

    #[test]
    fn a_secret_is_for_its_owner_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old and longer").unwrap();
        write_private(&path, "new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_private(&dir.path().join("none/token"), "x").is_err());
    }

    #[test]
    fn a_secret_from_a_file_has_no_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "geheim \r\n").unwrap();
        assert_eq!(secret(Some(&path)).unwrap(), "geheim ");
        std::fs::write(&path, "\n").unwrap();
        assert!(secret(Some(&path)).is_err());
    }

    #[test]
    fn only_the_name_itself_confirms() {
        assert!(confirm("acme", Some("acme"), "").is_ok());
        assert_eq!(confirm("acme", Some("acm"), "").unwrap_err().exit, Exit::Usage);
    }
}
