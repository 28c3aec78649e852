use std::time::Duration;

use bridge_protocol::{WebhookSecret, verify_webhook_signature, webhook_signature};
use proptest::prelude::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const TOLERANCE: Duration = Duration::from_secs(300);

fn secret(text: &str) -> WebhookSecret {
    text.parse().unwrap()
}

/// The example that the specification's reference libraries test themselves with.
#[test]
fn known_answer() {
    let header = webhook_signature(
        &[secret(SECRET)],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        br#"{"test": 2432232314}"#,
    );
    assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn while_rotating_either_secret_verifies() {
    let both = [secret(SECRET), secret(OTHER)];
    let header = webhook_signature(&both, "id", 100, b"body");
    assert_eq!(header.split(' ').count(), 2);
    for one in &both {
        let one = std::slice::from_ref(one);
        assert!(verify_webhook_signature(one, "id", 100, b"body", &header, 100, TOLERANCE));
    }
    assert!(!verify_webhook_signature(&[], "id", 100, b"body", &header, 100, TOLERANCE));
}

#[test]
fn anything_else_does_not_verify() {
    let key = [secret(SECRET)];
    let header = webhook_signature(&key, "id", 1000, b"body");
    let verify = |id, timestamp, body: &[u8], header: &str, now| {
        verify_webhook_signature(&key, id, timestamp, body, header, now, TOLERANCE)
    };
    assert!(verify("id", 1000, b"body", &header, 1300));
    assert!(verify("id", 1000, b"body", &format!("v2,x v1a,y {header}"), 700));
    assert!(!verify("id", 1000, b"body", &header, 1301), "too old");
    assert!(!verify("id", 1000, b"body", &header, 699), "from the future");
    assert!(!verify("id2", 1000, b"body", &header, 1000));
    assert!(!verify("id", 1001, b"body", &header, 1000));
    assert!(!verify("id", 1000, b"body ", &header, 1000));
    for other in ["", "v1,", "v1", "v1,AAAA", header.trim_start_matches("v1,"), &header.replace("v1", "v2")] {
        assert!(!verify("id", 1000, b"body", other, 1000), "{other:?}");
    }
}

#[test]
fn secrets_are_checked_and_hidden() {
    assert_eq!(format!("{:?}", secret(SECRET)), "WebhookSecret(hidden)");
    for bad in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!"] {
        let error = WebhookSecret::parse(bad).unwrap_err();
        assert!(error.to_string().contains("whsec_"), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_verifies(id in "[!-~]{1,40}", timestamp in 0i64..1 << 40, body: Vec<u8>) {
        let key = [secret(SECRET)];
        let header = webhook_signature(&key, &id, timestamp, &body);
        prop_assert!(verify_webhook_signature(&key, &id, timestamp, &body, &header, timestamp, TOLERANCE));
    }
}
