//! The URLs of webhooks: templates with the workflow's id in them.

use url::Url;

pub(crate) const PLACEHOLDER: &str = "{workflow_id}";
const LONGEST: usize = 2000;

/// Every character of a workflow id may stand in a path as it is.
pub(crate) fn fill(template: &str, workflow: &str) -> String {
    template.replace(PLACEHOLDER, workflow)
}

/// The workflow's name may choose the path, never the host that is called.
pub fn check_webhook_url(template: &str) -> Result<(), String> {
    let filled = |id: &str| Url::parse(&fill(template, id));
    let (Ok(one), Ok(other)) = (filled("a"), filled("b")) else {
        return Err(
            "is not a URL; write it whole, for example https://n8n.example.com/webhook/{workflow_id}"
                .to_owned(),
        );
    };
    if !matches!(one.scheme(), "http" | "https") || one.host().is_none() {
        return Err("must start with http:// or https:// and name a host".to_owned());
    }
    if one.origin() != other.origin() {
        return Err(format!("may hold {PLACEHOLDER} in its path and query only"));
    }
    if !keeps_its_place(template, &one) {
        return Err(format!(
            "may hold {PLACEHOLDER} in its path only as a whole segment, as in /webhook/{PLACEHOLDER}, and nothing that climbs \
             out of it again"
        ));
    }
    if !one.username().is_empty() || one.password().is_some() {
        return Err("must not hold a user name or a password; use a credential".to_owned());
    }
    if template.len() > LONGEST {
        return Err(format!("must be {LONGEST} bytes or less"));
    }
    Ok(())
}

/// As part of a segment an id could complete what climbs: `.%2{workflow_id}` and the id `e/rest`. A whole segment never
/// climbs: no id holds an empty one or one of dots.
fn keeps_its_place(template: &str, with_a: &Url) -> bool {
    let path = template.split(['?', '#']).next().unwrap_or_default();
    let whole = |(at, _)| {
        let after = &path[at + PLACEHOLDER.len()..];
        path[..at].ends_with('/') && (after.is_empty() || after.starts_with('/'))
    };
    if !path.match_indices(PLACEHOLDER).all(whole) {
        return false;
    }
    let Some((before, after)) = path.split_once(PLACEHOLDER) else { return true };
    let Ok(before) = Url::parse(before) else { return false };
    // As the URL parser reads both: it takes out dot segments in all their spellings, each with a slash.
    let slashes = |text: &str| text.matches(['/', '\\']).count();
    match with_a.path().strip_prefix(before.path()).and_then(|rest| rest.strip_prefix('a')) {
        Some(rest) => slashes(rest) == slashes(after),
        None => false,
    }
}
