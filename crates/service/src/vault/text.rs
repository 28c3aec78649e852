//! The text of the master keys, as it stands in a file or in the environment.

use super::{Master, aead_key, mac_key};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Some tools leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An id may be printed: it stands in errors and in logs.
pub(super) fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// All faults at once. They name keys by their place and id: a word that is no id may be the key itself.
pub(super) fn parse(text: &str) -> Result<Vec<Master>, Vec<String>> {
    let (mut masters, mut faults) = (Vec::<Master>::new(), Vec::new());
    let entries = text.split(|c: char| c.is_whitespace() || c == ',').filter(|entry| !entry.is_empty());
    for (index, entry) in entries.enumerate() {
        let place = index + 1;
        let Some((id, key)) = entry.split_once(':').filter(|(id, _)| is_id(id)) else {
            faults.push(format!(
                "master key {place} does not begin with an id and a colon; write id:key, the id of 1 to 64 letters, \
                 digits and . _ -"
            ));
            continue;
        };
        if masters.iter().any(|master| master.id == id) {
            faults.push(format!("master key {place} has the id {id:?} of another one"));
        }
        let bytes = BASE64.decode(key).map(Zeroizing::new);
        match bytes.as_ref().map(|bytes| <&[u8; 32]>::try_from(bytes.as_slice())) {
            Ok(Ok(bytes)) => {
                masters.push(Master { id: id.to_owned(), key: aead_key(bytes), mac: mac_key(bytes) });
            }
            Ok(Err(_)) => faults.push(format!(
                "master key {id:?} has {} bytes; it needs 32, as from `openssl rand -base64 32`",
                bytes.map_or(0, |bytes| bytes.len())
            )),
            Err(_) => faults.push(format!("master key {id:?} is not base64")),
        }
    }
    if masters.is_empty() && faults.is_empty() {
        faults.push(
            "there is none; give at least one as id:key, the key from `openssl rand -base64 32`".into(),
        );
    }
    if faults.is_empty() { Ok(masters) } else { Err(faults) }
}
