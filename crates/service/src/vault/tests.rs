use super::*;
use crate::clock::entropy;

const ONE: &str = "2026-a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "2026-b:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";

fn vault(text: &str) -> Vault {
    Vault::from_text(text).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

#[test]
fn the_first_key_seals_and_all_open() {
    let acme = tenant("acme");
    let purpose = Purpose::WebhookCredential(&acme, "crm");
    let old = vault(ONE).seal(&purpose, b"geheim", entropy());
    let both = vault(&format!("{TWO},\n {ONE}\n"));
    assert_eq!(both.ids().collect::<Vec<_>>(), ["2026-b", "2026-a"]);
    assert_eq!(both.open(&purpose, &old).unwrap().as_slice(), b"geheim");
    assert!(!both.is_current(&old));
    let new = both.seal(&purpose, b"geheim", entropy());
    assert!(both.is_current(&new));
    assert_ne!(both.seal(&purpose, b"geheim", entropy()), new, "every blob has its own nonce");
    let error = vault(ONE).open(&purpose, &new).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the credential \"crm\" of tenant acme is sealed by master key \"2026-b\", which is not loaded: add it to the \
         master keys, behind the first"
    );
    assert_eq!(format!("{both:?}"), r#"Vault(["2026-b", "2026-a"])"#);
}

#[test]
fn another_value_under_the_same_id_is_refused_by_name() {
    let purpose = Purpose::IssuerKey("k1");
    let sealed = vault(ONE).seal(&purpose, b"geheim", entropy());
    let wrong = vault(&TWO.replace("2026-b", "2026-a")).open(&purpose, &sealed).unwrap_err();
    assert_eq!(wrong, VaultError::Refused { what: "issuer key \"k1\"".into(), id: "2026-a".into() });
}

#[test]
fn a_moved_blob_does_not_open() {
    let (acme, other) = (tenant("acme"), tenant("acm"));
    let (id, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let purposes = [
        Purpose::WebhookSecret(&acme, id),
        Purpose::WebhookSecret(&acme, next),
        Purpose::WebhookSecret(&other, id),
        Purpose::DataKey(&acme, id),
        Purpose::WebhookCredential(&acme, "crm"),
        Purpose::WebhookCredential(&other, "ecrm"),
        Purpose::WebhookCredential(&acme, "cr"),
        Purpose::IssuerKey("acme"),
        Purpose::IssuerKey("crm"),
    ];
    let vault = vault(ONE);
    for (at, purpose) in purposes.iter().enumerate() {
        let sealed = vault.seal(purpose, b"geheim", entropy());
        for (place, other) in purposes.iter().enumerate() {
            assert_eq!(vault.open(other, &sealed).is_ok(), place == at, "{purpose} opened as {other}");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    // The same key under a second id: the id in the blob is under the seal too.
    let vault = vault(&format!("{ONE} {}", ONE.replace("2026-a", "2026-c")));
    let purpose = Purpose::IssuerKey("k1");
    let sealed = vault.seal(&purpose, b"geheim", entropy());
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut bad = sealed.clone();
            bad[at] ^= 1 << bit;
            assert!(vault.open(&purpose, &bad).is_err(), "bit {bit} of byte {at}");
        }
        assert!(vault.open(&purpose, &sealed[..at]).is_err(), "cut at {at}");
    }
    assert!(vault.open(&purpose, &[&sealed[..], b"x"].concat()).is_err());
}

#[test]
fn all_faults_of_the_keys_are_said_at_once_and_no_key() {
    let text = format!("{ONE}\n{ONE} short:AAAA bad:!!{} naked-key-without-id, b@d:AAAA", "A".repeat(40));
    let VaultError::Text(faults) = Vault::from_text(&text).unwrap_err() else { panic!("another error") };
    let no_id = |place: u8| {
        format!(
            "master key {place} does not begin with an id and a colon; write id:key, the id of 1 to 64 letters, digits \
             and . _ -"
        )
    };
    assert_eq!(
        faults,
        [
            "master key 2 has the id \"2026-a\" of another one".to_owned(),
            "master key \"short\" has 3 bytes; it needs 32, as from `openssl rand -base64 32`".to_owned(),
            "master key \"bad\" is not base64".to_owned(),
            no_id(5),
            no_id(6),
        ]
    );
    let VaultError::Text(faults) = Vault::from_text(" \n").unwrap_err() else { panic!("another error") };
    assert_eq!(faults.len(), 1, "{faults:?}");
}

/// Version 1, made by another implementation of AES-GCM. Never make it anew: rows like this one are in databases.
const GOLDEN: &str = "0106323032362d61000102030405060708090a0bcccee64343a16116920e82aadce8fba30d669afe78f238c31b0e7753\
    ";

#[test]
fn a_blob_sealed_long_ago_still_opens() {
    let sealed: Vec<u8> =
        (0..GOLDEN.len()).step_by(2).map(|at| u8::from_str_radix(&GOLDEN[at..at + 2], 16).unwrap()).collect();
    let acme = tenant("acme");
    let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    let opened = vault(ONE).open(&Purpose::WebhookSecret(&acme, id), &sealed).unwrap();
    assert_eq!(opened.as_slice(), b"whsec_golden");
}

#[test]
fn marks_are_known_again_by_every_loaded_key_and_by_no_other() {
    let mark = vault(ONE).mark("cursor", b"text");
    let both = vault(&format!("{TWO},{ONE}"));
    assert!(both.knows_mark("cursor", b"text", &mark));
    assert!(both.knows_mark("cursor", b"text", &mark[..16]));
    assert!(!both.knows_mark("cursor", b"text", &mark[..15]));
    assert!(!both.knows_mark("cursor", b"other", &mark));
    assert!(!both.knows_mark("other", b"text", &mark));
    assert!(!vault(TWO).knows_mark("cursor", b"text", &mark));
}
