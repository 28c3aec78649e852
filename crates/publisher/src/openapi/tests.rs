use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_endpoint_is_described_and_nothing_else() {
    let served: BTreeSet<(String, String)> = endpoints::all()
        .into_iter()
        .map(|endpoint| (endpoint.method.to_string(), endpoint.path.to_owned()))
        .collect();
    let described: BTreeSet<(String, String)> =
        paths::all().into_iter().map(|(_, of)| (of.method.to_owned(), of.path.to_owned())).collect();
    assert_eq!(described, served, "left: described in openapi/paths; right: in endpoints.rs");
    assert_eq!(paths::all().len(), described.len(), "an endpoint is described twice");
}

#[test]
fn each_operation_is_whole() {
    let document = document();
    let mut ids = BTreeSet::new();
    for endpoint in endpoints::all() {
        let what = format!("{} {}", endpoint.method, endpoint.path);
        let operation = &document["paths"][endpoint.path][endpoint.method.as_str().to_ascii_lowercase()];
        assert_eq!(operation["x-required-scope"], endpoint.access.as_str(), "{what}");
        assert_eq!(
            operation["security"].as_array().unwrap().is_empty(),
            endpoint.access == Need::Open,
            "{what}"
        );
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
        assert!(ids.insert(operation["operationId"].to_string()), "{what}: its id is another's too");
        let named: BTreeSet<&str> =
            endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let given: BTreeSet<String> = parameters
            .iter()
            .filter(|of| of["in"] == "path")
            .map(|of| format!("{}}}", of["name"].as_str().unwrap()))
            .collect();
        assert_eq!(given.iter().map(String::as_str).collect::<BTreeSet<_>>(), named, "{what}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = match response["$ref"].as_str() {
                Some(to) => document.pointer(to.trim_start_matches('#')).unwrap(),
                None => response,
            };
            let content = response["content"].as_object().unwrap();
            for body in content.values() {
                assert!(body.get("schema").is_some(), "{what}: {status} has no schema");
                assert!(
                    body.get("example").or(body.get("examples")).is_some(),
                    "{what}: {status} has no example"
                );
            }
        }
        if let Some(body) = operation["requestBody"]["content"].as_object() {
            let examples = body.values().next().unwrap()["examples"].as_object().unwrap();
            assert!(!examples.is_empty(), "{what}: no example of a body");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
                }
                fields.values().for_each(|value| walk(value, document));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, document)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
    for (tag, _) in paths::all() {
        assert!(paths::TAGS.iter().any(|(known, _)| *known == tag), "{tag} is not among the tags");
    }
}

/// `Problem::new(StatusCode::NAME, "slug", "Title"` in the sources of what answers requests.
fn problems_of_the_code() -> BTreeSet<(u16, String, String)> {
    fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem().is_some_and(|name| name == "tests") {
                continue;
            }
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for name in ["publisher", "service", "access", "fire"] {
        let directory = repository().join("crates").join(name).join("src");
        if directory.exists() {
            sources(&directory, &mut files);
        }
    }
    let mut found = BTreeSet::new();
    for file in files {
        let mut text = std::fs::read_to_string(&file).unwrap();
        if file.ends_with("problem.rs") {
            text = text.replace("Self::new(", "Problem::new(");
        }
        let code = text.split("\nmod tests {").next().unwrap();
        for call in code.split("Problem::new(").skip(1) {
            let arguments: Vec<&str> = call.splitn(4, ',').map(str::trim).collect();
            let [status, slug, title, ..] = arguments[..] else { continue };
            // A function that passes its arguments on; its callers are found.
            let Some(slug) = slug.strip_prefix('"') else { continue };
            let name = status.rsplit("::").next().unwrap();
            let status = (400..600)
                .filter_map(|code| http::StatusCode::from_u16(code).ok())
                .find(|code| {
                    let reason = code.canonical_reason().unwrap_or_default();
                    reason.to_ascii_uppercase().replace([' ', '-'], "_") == name
                })
                .unwrap_or_else(|| panic!("{}: {name} is no status", file.display()));
            found.insert((
                status.as_u16(),
                slug.trim_matches('"').to_owned(),
                title.trim_matches('"').to_owned(),
            ));
        }
    }
    found
}

#[test]
fn the_table_of_problems_is_the_codes() {
    let listed: BTreeSet<(u16, String, String)> = problems::KINDS
        .iter()
        .map(|kind| (kind.status, kind.slug.to_owned(), kind.title.to_owned()))
        .collect();
    let written = problems_of_the_code();
    let missing: Vec<_> = written.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&written).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "openapi/problems.rs lacks {missing:?} and has too many {gone:?}"
    );
}

#[test]
fn every_problem_of_an_endpoint_is_in_the_table() {
    for (_, operation) in paths::all() {
        for slug in operation.problems {
            assert!(problems::find(slug).is_some(), "{} {}: {slug}", operation.method, operation.path);
        }
    }
}

#[test]
fn docs_reference_is_current() {
    let directory = repository().join("docs/reference");
    for (name, made) in reference() {
        let there = std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(
            there == made,
            "docs/reference/{name} is old; run: cargo run -p bridge-publisher -- reference docs/reference"
        );
    }
    let files: BTreeSet<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let made: BTreeSet<String> = reference().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(files, made, "docs/reference holds what is made, and nothing else");
}

#[test]
fn the_page_loads_nothing() {
    let page = page();
    for outside in ["src=", "href=\"http", "@import", "url(", "fetch(", "import("] {
        let code = page.split("const DOCUMENT").next().unwrap();
        assert!(!code.contains(outside), "the page has {outside}");
    }
    assert!(page.contains("/pulsar/publish"), "the document is not in the page");
    assert_eq!(page.matches("</script>").count(), page.matches("<script").count());
}
