#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use bridge_service::clock::entropy;
use bridge_service::directory::{Snapshot, Tenant};
use bridge_service::vault::Vault;
use bridge_store::{Store, StoreConfig, TenantState};

use super::*;

const EXECUTION: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const OTHER: &str = "01890a5d-ac96-774b-bcce-b302099a8058";

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn key(id: u128) -> DataKey {
    DataKey::new(Uuid::from_u128(id), &[9; 32])
}

/// Of a database that does not answer: what is not in the snapshot cannot be found.
fn directory(tenants: Vec<Tenant>) -> Directory {
    let store = Store::open(StoreConfig {
        statement_timeout: std::time::Duration::from_millis(200),
        ..StoreConfig::new("postgres://nobody@127.0.0.1:9/none")
    });
    let tenants = tenants.into_iter().map(|tenant| (tenant.id.clone(), Arc::new(tenant))).collect();
    let vault = Vault::from_text("k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
    Directory::fixed(store.unwrap(), vault, Snapshot { tenants, revision: 1, ..Snapshot::default() })
}

fn tenant() -> Tenant {
    Tenant::new(acme(), TenantState::Active, Default::default()).with_data_key(key(7), true)
}

fn sealed(id: u128, execution: &str, plain: &[u8]) -> StoredPayload {
    let bytes = key(id).seal(&acme(), execution.parse().unwrap(), plain, entropy());
    StoredPayload { bytes: bytes.into(), data_key: Some(Uuid::from_u128(id)) }
}

async fn open(directory: &Directory, stored: StoredPayload) -> Result<Bytes, NotOpened> {
    DataKeys::default().open(directory, &acme(), EXECUTION.parse().unwrap(), stored).await
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_and_sealed_rows_are_read_alike() {
    let directory = directory(vec![tenant()]);
    let plain = StoredPayload { bytes: Bytes::from_static(b"{\"a\":1}"), data_key: None };
    assert_eq!(open(&directory, plain).await.unwrap(), &b"{\"a\":1}"[..]);
    assert_eq!(open(&directory, sealed(7, EXECUTION, b"{}")).await.unwrap(), &b"{}"[..]);
    let large = vec![b'x'; 1 << 20];
    assert_eq!(open(&directory, sealed(7, EXECUTION, &large)).await.unwrap(), &large[..]);
}

#[tokio::test]
async fn what_was_moved_or_altered_is_unreadable_for_ever() {
    let directory = directory(vec![tenant()]);
    let moved = open(&directory, sealed(7, OTHER, b"{}")).await.unwrap_err();
    assert!(moved.is_final() && matches!(moved, NotOpened::Unreadable(_)), "{moved:?}");
    let cut = StoredPayload { bytes: Bytes::from_static(b"\x01"), data_key: Some(Uuid::from_u128(7)) };
    assert!(open(&directory, cut).await.unwrap_err().is_final());
}

#[tokio::test]
async fn a_key_that_is_not_here_is_looked_for_before_anything_is_lost() {
    for tenants in [vec![tenant()], vec![]] {
        let error = open(&directory(tenants), sealed(8, EXECUTION, b"{}")).await.unwrap_err();
        assert!(!error.is_final() && matches!(error, NotOpened::NoDirectory { .. }), "{error:?}");
    }
}
