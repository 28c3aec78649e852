//! The files of docs/reference, made from the document: `bridge-publisher reference docs/reference`.

use std::fmt::Write as _;

use bridge_service::catalogue;
use serde_json::Value;

use super::{document, paths, problems, text};

/// Each file with its content.
pub fn reference() -> Vec<(&'static str, String)> {
    vec![
        ("openapi.json", text() + "\n"),
        ("http-api.md", endpoints(&document())),
        ("problems.md", kinds(&document())),
        ("metrics.md", catalogue::page()),
    ]
}

const MADE: &str = "<!-- Made by `bridge-publisher reference docs/reference`; do not edit. -->\n";
const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// Method, path and what is said of it, in the order of the paths.
fn operations(document: &Value) -> impl Iterator<Item = (String, &String, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let of = move |method: &&'static str| Some((method.to_ascii_uppercase(), path, item.get(method)?));
        METHODS.iter().filter_map(of)
    })
}

fn endpoints(document: &Value) -> String {
    let mut page = format!(
        "{MADE}# The HTTP API\n\nEvery endpoint with the scope it needs and the statuses it answers with. The whole \
         description is [openapi.json](openapi.json), which a running publisher serves at `/openapi.json` and shows at \
         `/docs`; what the refusals mean is in [problems.md](problems.md).\n"
    );
    for (tag, about) in paths::TAGS {
        // Writing into a String cannot fail.
        let _ =
            write!(page, "\n## {tag}\n\n{about}\n\n| endpoint | scope | answers | |\n|---|---|---|---|\n");
        for (method, path, operation) in operations(document).filter(|(_, _, of)| of["tags"][0] == *tag) {
            let statuses: Vec<&str> = operation["responses"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(status, _)| status.as_str())
                .collect();
            let scope = operation["x-required-scope"].as_str().unwrap_or_default();
            let summary = operation["summary"].as_str().unwrap_or_default();
            let _ = writeln!(page, "| `{method} {path}` | {scope} | {} | {summary} |", statuses.join(" "));
        }
    }
    page
}

fn kinds(document: &Value) -> String {
    let mut page = format!(
        "{MADE}# Problems\n\nEvery refusal of the API is a problem (RFC 9457). Its `type` never changes and is what a \
         program decides by; `detail`, repeated in `message`, says what happened and what to do; `errors` names each \
         bad field. `POST /oauth2/token` answers by RFC 6749 instead.\n\n| type | status | title | when | what to do | \
         endpoints |\n|---|---|---|---|---|---|\n"
    );
    for kind in problems::KINDS {
        let uri = kind.uri();
        let all = operations(document).count();
        let by: Vec<String> = operations(document)
            .filter(|(_, _, operation)| answers_with(document, operation, kind.status, &uri))
            .map(|(method, path, _)| format!("`{method} {path}`"))
            .collect();
        let by = match by.len() {
            0 => "any path".to_owned(),
            many if many > 12 => format!("{many} of {all}"),
            _ => by.join("<br>"),
        };
        let _ = writeln!(
            page,
            "| `{uri}` | {} | {} | {} | {} | {by} |",
            kind.status, kind.title, kind.when, kind.remedy
        );
    }
    page
}

fn answers_with(document: &Value, operation: &Value, status: u16, uri: &str) -> bool {
    let Some(to) = operation["responses"][status.to_string()]["$ref"].as_str() else { return false };
    let response = document.pointer(to.trim_start_matches('#')).unwrap_or(&Value::Null);
    let types = &response["content"]["application/json"]["schema"]["properties"]["type"]["enum"];
    types.as_array().is_some_and(|types| types.iter().any(|of| of == uri))
}
