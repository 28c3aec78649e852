//! What a rotation did, without the secret itself.

use crate::answers::admin::Rotated;

pub fn rotated(rotated: &Rotated) -> String {
    let tenant = rotated.tenant_id.as_deref().unwrap_or_default();
    let mut lines = match rotated.key.as_str() {
        "webhook" => vec![format!("tenant {tenant} has a new webhook secret")],
        "data" => {
            vec![format!("tenant {tenant} seals new payloads with a new data key; older payloads still open")]
        }
        "issuer" => vec![format!("issuer key {} is published", rotated.kid.as_deref().unwrap_or_default())],
        _ => master(rotated),
    };
    lines.extend(rotated.signs_from.map(|at| format!("  signs from                  {}", super::time(at))));
    lines.extend(
        rotated.old_valid_until.map(|at| format!("  the old one signs too until {}", super::time(at))),
    );
    lines.extend(
        rotated.old_verifies_until.map(|at| format!("  old ones are good until     {}", super::time(at))),
    );
    lines.extend(rotated.in_effect.map(|in_effect| format!("  {}", super::tenants::in_force(in_effect))));
    lines.join("\n")
}

fn master(rotated: &Rotated) -> Vec<String> {
    let current = rotated.current.as_deref().unwrap_or_default();
    let (resealed, all) = (rotated.resealed.unwrap_or(0), rotated.sealed.unwrap_or(0));
    let mut lines = match resealed {
        0 if rotated.unreadable == 0 => {
            vec![format!("nothing to change: all {all} secrets are sealed by {current}")]
        }
        _ => vec![format!("{resealed} of {all} secrets were sealed again, by {current}")],
    };
    if rotated.unreadable > 0 {
        lines.push(format!("  {} could not be opened and stay as they are:", rotated.unreadable));
        lines.extend(rotated.unreadable_because.iter().map(|why| format!("    {why}")));
    }
    lines
}
