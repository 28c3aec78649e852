//! Where a list goes on. A cursor is bound to its list, its tenant and its filter: one of another tenant, or one that
//! was changed, opens nothing.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_protocol::{ExecutionId, TenantId};
use bridge_service::Problem;
use bridge_service::vault::Vault;
use http::StatusCode;
use uuid::Uuid;

const LABEL: &str = "cursor";
/// Bytes of the mark: nobody guesses 128 bits.
const MARK: usize = 16;
/// Longer texts are not looked at.
const LONGEST: usize = 1024;

/// What a cursor belongs to.
pub struct Bound<'a> {
    vault: &'a Vault,
    text: Vec<u8>,
}

impl<'a> Bound<'a> {
    /// `filter` is whatever makes two lists of the same kind different.
    pub fn new(vault: &'a Vault, list: &str, tenant: &TenantId, filter: &str) -> Self {
        let mut text = Vec::new();
        // Each part with its length before it: no two lists have the same text.
        for part in [list, tenant.as_str(), filter] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        Self { vault, text }
    }

    pub fn give(&self, position: &[u8]) -> String {
        let mark = self.vault.mark(LABEL, &self.with(position));
        URL_SAFE_NO_PAD.encode([&mark[..MARK], position].concat())
    }

    pub fn take(&self, cursor: &str) -> Result<Vec<u8>, Problem> {
        let bytes = Some(cursor).filter(|text| text.len() <= LONGEST);
        let bytes = bytes.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let parts = bytes.as_deref().and_then(|bytes| bytes.split_at_checked(MARK));
        match parts {
            Some((mark, position)) if self.vault.knows_mark(LABEL, &self.with(position), mark) => {
                Ok(position.to_vec())
            }
            _ => Err(bad()),
        }
    }

    pub fn give_id(&self, id: Uuid) -> String {
        self.give(id.as_bytes())
    }

    pub fn take_id(&self, cursor: &str) -> Result<Uuid, Problem> {
        Uuid::from_slice(&self.take(cursor)?).map_err(|_| bad())
    }

    pub fn take_execution(&self, cursor: &str) -> Result<ExecutionId, Problem> {
        ExecutionId::from_uuid(self.take_id(cursor)?).ok_or_else(bad)
    }

    fn with(&self, position: &[u8]) -> Vec<u8> {
        [&self.text, position].concat()
    }
}

/// The same for a cursor of another tenant, of another filter, and for one that was never given.
pub fn bad() -> Problem {
    let detail = "cursor is not one of this list; give the next_cursor of an answer with the same filter and tenant, or \
                  leave it out to begin at the start";
    Problem::new(StatusCode::BAD_REQUEST, "bad-cursor", "Bad cursor", detail).with_errors(vec![
        bridge_service::problem::FieldError {
            field: "cursor".into(),
            message: "is not of this list".to_owned(),
        },
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_opens_its_own_list_only() {
        let vault = Vault::from_text(&format!("m:{}=", "A".repeat(43))).unwrap();
        let tenant = |id: &str| TenantId::parse(id).unwrap();
        let own = Bound::new(&vault, "executions", &tenant("acme"), "{}");
        let id = Uuid::from_u128(7);
        let cursor = own.give_id(id);
        assert_eq!(own.take_id(&cursor).unwrap(), id);
        for other in [
            Bound::new(&vault, "executions", &tenant("globex"), "{}"),
            Bound::new(&vault, "executions", &tenant("acme"), "{\"lane\":\"ai\"}"),
            Bound::new(&vault, "jobs", &tenant("acme"), "{}"),
        ] {
            assert!(other.take(&cursor).is_err());
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(&cursor).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(own.take(&URL_SAFE_NO_PAD.encode(&bytes)).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        for junk in ["", "x", &id.to_string(), &"A".repeat(5000)] {
            assert_eq!(own.take(junk).unwrap_err().status(), StatusCode::BAD_REQUEST);
        }
    }
}
