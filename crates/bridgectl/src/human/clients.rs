//! Callers' credentials.

use crate::answers::admin::Client;

/// One line for each.
pub fn list(clients: &[Client]) -> String {
    if clients.is_empty() {
        return "none".to_owned();
    }
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            vec![
                client.client_id.clone(),
                kind(&client.kind).to_owned(),
                client.name.clone(),
                if client.tenants.is_empty() { "-".to_owned() } else { client.tenants.join(" ") },
                client.scopes.join(" "),
                note(client),
            ]
        })
        .collect();
    super::table(&["CLIENT", "KIND", "NAME", "TENANTS", "SCOPES", "NOTE"], &rows)
}

fn note(client: &Client) -> String {
    let mut notes = Vec::new();
    notes.extend(client.revoked_at.map(|at| format!("revoked {}", super::time(at))));
    notes.extend(client.expires_at.map(|at| format!("expires {}", super::time(at))));
    notes.extend(client.old_valid_until.map(|at| format!("old secret until {}", super::time(at))));
    notes.join(", ")
}

fn kind(kind: &str) -> &str {
    match kind {
        "service_account" => "account",
        "api_key" => "key",
        other => other,
    }
}

/// One that was just made or rotated. The secret's own lines follow it.
pub fn made(client: &Client, what: &str) -> String {
    let of = if client.tenants.is_empty() { "no tenant".to_owned() } else { client.tenants.join(" ") };
    let mut lines = vec![
        format!("{} {what}: {} \"{}\"", client.client_id, kind(&client.kind), client.name),
        format!("  for     {of}"),
        format!("  scopes  {}", client.scopes.join(" ")),
    ];
    lines.extend(client.expires_at.map(|at| format!("  expires {}", super::time(at))));
    lines.extend(
        client.old_valid_until.map(|at| format!("  the old secret is good until {}", super::time(at))),
    );
    lines.join("\n")
}
