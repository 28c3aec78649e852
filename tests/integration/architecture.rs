//! The rules of ARCHITECTURE.md that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bridge_tests::parts::repository;

/// Members of the workspace: package, directory, and the names it depends on in any section.
fn members() -> BTreeMap<String, (PathBuf, BTreeSet<String>)> {
    let mut manifests = vec![repository().join("tests"), repository().join("bench")];
    manifests.extend(fs::read_dir(repository().join("crates")).unwrap().map(|entry| entry.unwrap().path()));
    let mut members = BTreeMap::new();
    for directory in manifests {
        let manifest = directory.join("Cargo.toml");
        let text =
            fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
        let (mut section, mut package, mut dependencies) = (String::new(), String::new(), BTreeSet::new());
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_matches(['[', ']']).to_owned();
                // [dependencies.name]
                if let Some((_, name)) = section.split_once("dependencies.") {
                    dependencies.insert(name.to_owned());
                }
            } else if section == "package" && line.starts_with("name") {
                package = line.split('"').nth(1).unwrap().to_owned();
            } else if section.ends_with("dependencies") {
                let name = line.split([' ', '.', '=']).next().unwrap_or_default();
                if !name.is_empty() && !name.starts_with('#') {
                    dependencies.insert(name.to_owned());
                }
            }
        }
        assert!(!package.is_empty(), "{} names no package", manifest.display());
        members.insert(package, (directory, dependencies));
    }
    members
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `sqlx::` and `use sqlx;` name the crate; `bridge_sqlx::` would not.
fn names_crate(line: &str, krate: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.match_indices(krate).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + krate.len()..];
        // In a string it is a word.
        let quoted = code[..at].matches('"').count() % 2 == 1;
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        whole
            && !quoted
            && (after.starts_with("::")
                || code.trim_start().starts_with("use ") && after.starts_with([';', ' ', '}']))
    })
}

fn only(owner: &str, krate: &str) {
    for (package, (directory, dependencies)) in members() {
        if package == owner {
            assert!(dependencies.contains(krate), "{owner} is said to be the one that uses {krate}");
            continue;
        }
        assert!(!dependencies.contains(krate), "{package} depends on {krate}; only {owner} may");
        let mut files = Vec::new();
        sources(&directory, &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                assert!(
                    !names_crate(line, krate),
                    "{}:{}: only {owner} may name {krate}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn only_store_names_sqlx() {
    only("bridge-store", "sqlx");
}

#[test]
fn only_bus_names_pulsar() {
    only("bridge-bus", "pulsar");
}

#[test]
fn dependencies_point_one_way() {
    let members = members();
    let ours = |package: &str| -> BTreeSet<String> {
        let (_, dependencies) = &members[package];
        dependencies
            .iter()
            .filter(|name| name.starts_with("bridge-") || *name == "bridgectl")
            .cloned()
            .collect()
    };
    let allowed = |package: &str, allowed: &[&str]| {
        for dependency in ours(package) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not depend on {dependency}");
        }
    };
    let middle = ["bridge-protocol"];
    let all = ["bridge-protocol", "bridge-store", "bridge-bus", "bridge-webhook"];
    let daemon = ["bridge-protocol", "bridge-store", "bridge-bus", "bridge-webhook", "bridge-service"];
    let consumer = [&daemon[..], &["bridge-fire"]].concat();
    let publisher = [&consumer[..], &["bridge-access"]].concat();
    allowed("bridge-protocol", &[]);
    allowed("bridge-store", &middle);
    allowed("bridge-bus", &middle);
    allowed("bridge-webhook", &middle);
    allowed("bridge-service", &all);
    // What it needs to know of the store it gets from the directory; its tests make the directory's rows.
    allowed("bridge-access", &["bridge-protocol", "bridge-service", "bridge-store"]);
    allowed("bridge-publisher", &publisher);
    allowed("bridge-fire", &["bridge-protocol", "bridge-store", "bridge-webhook", "bridge-service"]);
    allowed("bridge-consumer", &consumer);
    allowed("bridgectl", &daemon);
}

#[test]
fn the_protocol_is_pure() {
    let members = members();
    let (directory, dependencies) = &members["bridge-protocol"];
    for banned in ["tokio", "tokio-util", "futures", "reqwest", "hyper", "axum", "sqlx", "pulsar"] {
        assert!(!dependencies.contains(banned), "bridge-protocol depends on {banned}; it does no I/O");
    }
    let mut files = Vec::new();
    sources(&directory.join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for banned in ["std::net", "std::fs", "std::thread", "Utc::now", "SystemTime::now", "async fn"] {
            assert!(!text.contains(banned), "{} has {banned}; the protocol is pure", file.display());
        }
    }
}

/// A promise in SECURITY.md without its test is none.
#[test]
fn the_threat_model_names_tests_that_exist() {
    let text = fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    let names: Vec<(&str, &str)> = text
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(|(file, name)| {
            format!("{file}{name}").chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
        })
        .collect();
    assert!(names.len() > 20, "{names:?}");
    let mut files = Vec::new();
    for directory in ["tests/integration", "crates"] {
        sources(&repository().join(directory), &mut files);
    }
    for (file, name) in names {
        let holds = |path: &PathBuf| {
            path.file_stem().is_some_and(|stem| stem == file)
                && fs::read_to_string(path).unwrap().contains(&format!("fn {name}("))
        };
        assert!(files.iter().any(holds), "SECURITY.md names {file}::{name}, and there is no such test");
    }
}

#[test]
fn a_name_is_told_from_a_word() {
    assert!(names_crate("    let pool = sqlx::PgPool::connect(url);", "sqlx"));
    assert!(names_crate("use pulsar::Pulsar;", "pulsar"));
    assert!(names_crate("use sqlx;", "sqlx"));
    assert!(!names_crate("use bridge_bus::pulsar_names;", "pulsar"));
    assert!(!names_crate("// sqlx::Error is the store's", "sqlx"));
    assert!(!names_crate("    let scheme = \"pulsar://host\";", "pulsar"));
    assert!(!names_crate("    Mode::Pulsar => self.pulsar.tenant,", "pulsar"));
}
