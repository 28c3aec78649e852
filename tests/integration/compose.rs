//! What docker-compose.yml promises: pinned, healthy before anybody waits for it, without rights it does not need, without
//! a secret in it. Nothing is run in a container here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use bridge_tests::daemon::{CONSUMER, PUBLISHER, binary};
use bridge_tests::parts::{output, repository};
use serde_yaml_ng::{Mapping, Value};

/// Its image holds nothing that could ask.
const WITHOUT_HEALTH: [&str; 1] = ["collector"];
/// Its check rests on a program of an image that was never run here: whoever needs it does not wait for that.
const NOT_WAITED_FOR: [&str; 1] = ["jaeger"];

fn compose() -> Value {
    let text = std::fs::read_to_string(repository().join("docker-compose.yml")).unwrap();
    let mut compose: Value = serde_yaml_ng::from_str(&text).unwrap();
    // One pass leaves the merge keys of what was merged.
    loop {
        let before = compose.clone();
        compose.apply_merge().unwrap();
        if compose == before {
            return compose;
        }
    }
}

fn services(compose: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let services = compose["services"].as_mapping().unwrap();
    services.iter().map(|(name, service)| (name.as_str().unwrap(), service))
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_sequence().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_mapping().into_iter().flat_map(Mapping::keys).map(|name| name.as_str().unwrap()).collect()
}

fn is_one_shot(service: &Value) -> bool {
    service["restart"] == "no"
}

#[test]
fn every_service_is_pinned_bounded_and_without_needless_rights() {
    let compose = compose();
    let mut seen = 0;
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
        let exact = tag.matches('.').count() >= 1 && tag.chars().any(|c| c.is_ascii_digit());
        assert!(exact, "{name}: {image} names no exact version");
        let user = service["user"].as_str().unwrap_or_default();
        let uid = user.split(':').next().and_then(|uid| uid.parse::<u32>().ok());
        assert!(uid.is_some_and(|uid| uid > 0), "{name}: user {user:?} is root or has no number");
        assert_eq!(service["read_only"], true, "{name}: its root file system can be written");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service.get("privileged").is_none() && service.get("network_mode").is_none(), "{name}");
        let limits = &service["deploy"]["resources"]["limits"];
        assert_eq!(names(limits), ["cpus", "memory", "pids"].into(), "{name}: limits");
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}: its log never ends");
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        seen += 1;
    }
    assert!(seen >= 14, "only {seen} services");
}

#[test]
fn whoever_waits_for_a_service_waits_for_its_health_or_its_end() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let checked = service.get("healthcheck").is_some();
        assert!(
            checked || is_one_shot(service) || WITHOUT_HEALTH.contains(&name),
            "{name} runs without a health check"
        );
        for (needed, how) in service["depends_on"].as_mapping().into_iter().flatten() {
            let other = &compose["services"][needed];
            assert!(!other.is_null(), "{name} needs {needed:?}, which is not there");
            let wanted = match needed.as_str() {
                _ if is_one_shot(other) => "service_completed_successfully",
                Some(needed) if NOT_WAITED_FOR.contains(&needed) => "service_started",
                _ => "service_healthy",
            };
            assert_eq!(how["condition"], wanted, "{name} needs {needed:?}");
        }
    }
}

/// Compose builds side by side: two that write one tag collide, and whoever only uses it must not look for it elsewhere.
#[test]
fn each_image_is_built_once_and_not_fetched_by_those_who_share_it() {
    let compose = compose();
    let mut builders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, service) in services(&compose).filter(|(_, service)| service.get("build").is_some()) {
        builders.entry(service["image"].as_str().unwrap()).or_default().push(name);
    }
    assert_eq!(builders.len(), 3, "{builders:?}");
    for (image, builders) in &builders {
        assert_eq!(builders.len(), 1, "{image} is built by {builders:?}");
    }
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().unwrap();
        let builds = service.get("build").is_some();
        assert!(image.starts_with("n8n-pulsar-bridge/") == builders.contains_key(image), "{name}: {image}");
        if builders.contains_key(image) && !builds {
            assert_eq!(service["pull_policy"], "never", "{name}");
        }
    }
}

/// The first lines of a file that are not comments.
fn lines(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if !from.is_dir() {
        std::fs::create_dir_all(to.parent().unwrap())?;
        return std::fs::copy(from, to).map(drop);
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The files that the daemons' programs are compiled from, beside the Rust ones that are modules.
fn embedded(directory: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            embedded(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            for (at, _) in
                text.match_indices("include_str!(\"").chain(text.match_indices("include_bytes!(\""))
            {
                let name = text[at..].split('"').nth(1).unwrap();
                found.push(path.parent().unwrap().join(name));
            }
        }
    }
    Ok(())
}

/// What Docker would hand to the build, in a directory of its own: the workspace loads, and nothing that is compiled into
/// the programs or copied into the images is missing.
#[tokio::test]
async fn the_build_finds_in_its_context_what_it_needs() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let context = directory.path().canonicalize()?;
    let mut let_through = lines("docker/Dockerfile.dockerignore");
    assert_eq!(let_through.remove(0), "*");
    for line in &let_through {
        let path = line.strip_prefix('!').unwrap();
        copy(&repository().join(path), &context.join(path))?;
    }
    for line in lines("docker/Dockerfile") {
        let mut words = line.split_whitespace().filter(|word| !word.starts_with("--"));
        if words.next() != Some("COPY") || line.contains("--from") {
            continue;
        }
        let words: Vec<&str> = words.collect();
        for source in &words[..words.len() - 1] {
            assert!(context.join(source).exists(), "{line}: {source} is not let through");
        }
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--locked", "--offline", "--format-version", "1"]).current_dir(&context);
    let run = output(cargo).await?;
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(context.join("crates"))? {
        let source = entry?.path().join("src");
        embedded(&source, &mut files)?;
    }
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let only_tests = file.to_string_lossy().contains("/tests/") || file.ends_with("docs/bridgectl.md");
        assert!(only_tests || file.exists(), "{} is not let through", file.display());
    }
    assert!(context.join(".sqlx").exists() && context.join("crates/store/migrations").exists());
    Ok(())
}

#[test]
fn what_is_mounted_is_there_and_what_is_written_has_a_named_volume() {
    let compose = compose();
    let named = names(&compose["volumes"]);
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for volume in texts(&service["volumes"]) {
            let (source, rest) = volume.split_once(':').unwrap();
            match source.strip_prefix("./") {
                Some(path) => {
                    assert!(repository().join(path).exists(), "{name}: {path} is not there");
                    assert!(rest.ends_with(":ro"), "{name}: {path} could be written");
                }
                None => {
                    used.insert(source);
                }
            }
        }
    }
    assert_eq!(used, named, "the volumes that are used and those that are named");
}

#[test]
fn no_secret_stands_in_the_environment() {
    let compose = compose();
    for (name, service) in services(&compose) {
        for (key, value) in service["environment"].as_mapping().into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap_or_default());
            let secret =
                ["PASSWORD", "SECRET", "TOKEN", "_KEY", "DATABASE_URL"].iter().any(|word| key.contains(word));
            assert!(!secret || key.ends_with("_FILE"), "{name}: {key} holds a secret itself");
            let file = value.strip_prefix("/run/secrets/");
            assert!(
                file.is_none_or(|file| texts(&service["secrets"]).contains(&file)),
                "{name}: {key} names a secret that the service does not get"
            );
        }
    }
}

/// Runs docker/secrets.sh.
async fn make_secrets(directory: &Path) -> anyhow::Result<String> {
    let mut script = Command::new(repository().join("docker/secrets.sh"));
    script.env("BRIDGE_SECRETS_DIR", directory);
    let run = output(script).await?;
    anyhow::ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// `${NAME:-default}` as its default.
fn filled(text: &str) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (inner, after) = rest.split_once('}').unwrap();
    format!("{before}{}{}", inner.split_once(":-").map_or("", |(_, default)| default), filled(after))
}

#[tokio::test]
async fn the_secrets_are_all_made_once_and_the_daemons_take_their_environment() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let secrets = directory.path().join("secrets");
    make_secrets(&secrets).await?;
    let compose = compose();
    let mut wanted = BTreeSet::new();
    for (name, secret) in compose["secrets"].as_mapping().unwrap() {
        let (name, file) = (name.as_str().unwrap(), secret["file"].as_str().unwrap());
        assert_eq!(file, format!("docker/secrets/{name}"));
        wanted.insert(name.to_owned());
    }
    let made = std::fs::read_dir(&secrets)?.map(|entry| Ok(entry?.file_name().into_string().unwrap()));
    let mut made = made.collect::<std::io::Result<BTreeSet<_>>>()?;
    assert!(made.remove(".gitignore"), "secrets could be committed");
    assert_eq!(made, wanted);
    let before = std::fs::read(secrets.join("keyring.toml"))?;
    assert!(make_secrets(&secrets).await?.starts_with("nothing to change"));
    assert_eq!(std::fs::read(secrets.join("keyring.toml"))?, before, "a second run changes nothing");

    for (name, daemon) in [("publisher", PUBLISHER), ("consumer", CONSUMER)] {
        let mut command = Command::new(binary(daemon));
        command.arg("--check-config").env_clear();
        for (key, value) in compose["services"][name]["environment"].as_mapping().unwrap() {
            let value = filled(value.as_str().unwrap());
            let value = value.replace("/run/secrets", &secrets.display().to_string());
            command.env(key.as_str().unwrap(), value);
        }
        let run = output(command).await?;
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        // An unknown name of ours would be a fault, a useless one a warning.
        assert!(run.status.success() && said.is_empty(), "{name}: {said}");
    }
    Ok(())
}
