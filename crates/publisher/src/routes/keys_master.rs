//! After a new master key was put first: what older ones sealed is sealed again. Safe to repeat.

use axum::Json;
use axum::response::{IntoResponse, Response};
use bridge_service::vault::Purpose;
use bridge_service::{Problem, clock};
use bridge_store::{Actor, LiveMember, SealedAt, SealedBlob};

use super::admin::{conflict, members, refused};
use crate::answer::failed;
use crate::app::App;

/// Told by name; the log has them all.
const TOLD: usize = 20;

pub async fn rewrap(app: &App, actor: &Actor) -> Result<Response, Problem> {
    let current = app.vault.ids().next().unwrap_or_default();
    let members = members(app).await.map_err(|error| failed(&error))?;
    if let Some(why) = lacking(&members, current) {
        return Err(conflict(why));
    }
    let all = app.store.sealed().await.map_err(|error| failed(&error))?;
    let total = all.len();
    let mut again: Vec<(SealedBlob, Vec<u8>)> = Vec::new();
    let mut unreadable = Vec::new();
    for blob in all.into_iter().filter(|blob| !app.vault.is_current(&blob.sealed)) {
        let purpose = purpose(&blob.at);
        match app.vault.open(&purpose, &blob.sealed) {
            Ok(secret) => {
                let sealed = app.vault.seal(&purpose, &secret, clock::entropy());
                again.push((blob, sealed));
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a secret could not be sealed again"
                );
                unreadable.push(error.to_string());
            }
        }
    }
    let resealed = match again.is_empty() {
        true => 0,
        false => {
            app.store.reseal(actor, &again).await.map_err(|error| refused(error, "sealed secret"))?.value
        }
    };
    let failed = unreadable.len();
    unreadable.truncate(TOLD);
    let body = serde_json::json!({
        "key": "master", "current": current, "sealed": total, "resealed": resealed,
        "changed": resealed > 0, "unreadable": failed, "unreadable_because": unreadable,
    });
    Ok(Json(body).into_response())
}

/// A daemon without the key would lose every secret that is sealed again.
fn lacking(members: &[LiveMember], current: &str) -> Option<String> {
    let has = |member: &&LiveMember| member.masters.iter().any(|id| id == current);
    let without: Vec<_> = members.iter().filter(|member| !has(member)).collect();
    let names: Vec<_> =
        without.iter().take(TOLD).map(|member| format!("{} on {}", member.kind, member.host)).collect();
    let more = without.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| {
        format!(
            "member {}{more} does not have master key {current} yet: give it to every daemon, restart them, and repeat \
             this a minute after the last old one is gone",
            names.join(", ")
        )
    })
}

fn purpose(at: &SealedAt) -> Purpose<'_> {
    match at {
        SealedAt::WebhookSecret(tenant, id) => Purpose::WebhookSecret(tenant, *id),
        SealedAt::DataKey(tenant, id) => Purpose::DataKey(tenant, *id),
        SealedAt::WebhookCredential(tenant, name) => Purpose::WebhookCredential(tenant, name),
        SealedAt::IssuerKey(kid) => Purpose::IssuerKey(kid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_without_the_new_key_is_named() {
        let member = |kind: &str, masters: &[&str]| LiveMember {
            kind: kind.to_owned(),
            host: "h1".to_owned(),
            keys: Vec::new(),
            masters: masters.iter().map(|id| (*id).to_owned()).collect(),
            directory: 1,
        };
        let both = member("publisher", &["m2", "m1"]);
        assert_eq!(lacking(&[both.clone(), member("consumer", &["m1", "m2"])], "m2"), None);
        let why = lacking(&[both, member("consumer", &["m1"])], "m2").unwrap_or_default();
        assert!(why.starts_with("member consumer on h1 does not have master key m2 yet: "), "{why}");
        // One of an older version says nothing of its keys.
        assert!(lacking(&[member("consumer", &[])], "m2").is_some());
        assert_eq!(lacking(&[], "m2"), None);
    }
}
