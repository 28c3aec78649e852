//! What a workflow proves itself with when it reports its result: one token for each attempt.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::CryptoRng;
use sha2::{Digest, Sha256};

const PREFIX: &str = "cb_";

/// `cb_{attempt}_{secret}`. Only its digest is stored: the secret is 256 bits of chance.
pub struct CallbackToken {
    pub attempt: u16,
    text: String,
}

impl CallbackToken {
    pub fn generate(attempt: u16, mut rng: impl CryptoRng) -> Self {
        let mut secret = [0u8; 32];
        rng.fill_bytes(&mut secret);
        Self { attempt, text: format!("{PREFIX}{attempt}_{}", URL_SAFE_NO_PAD.encode(secret)) }
    }

    /// `None` for what is not spelled as [`CallbackToken::generate`] spells it. It says nothing about whether it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let attempt: u16 = number.parse().ok()?;
        // A number has one spelling: no sign, no leading zero.
        let spelled = attempt > 0 && attempt.to_string() == number;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        (spelled && secret.len() == 32).then(|| Self { attempt, text: text.to_owned() })
    }

    /// What is stored: of the whole text.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// The text, for the callback's URL.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackToken({PREFIX}{}_...)", self.attempt)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn a_token_is_read_again_and_shows_nothing() {
        let mut rng = StdRng::seed_from_u64(1);
        for attempt in [1, 9, 10, 65_535] {
            let token = CallbackToken::generate(attempt, &mut rng);
            let read = CallbackToken::parse(token.expose()).unwrap();
            assert_eq!((read.attempt, read.digest()), (attempt, token.digest()));
            assert_eq!(format!("{token:?}"), format!("CallbackToken(cb_{attempt}_...)"));
            assert_ne!(token.digest(), CallbackToken::generate(attempt, &mut rng).digest());
        }
    }

    #[test]
    fn the_attempt_is_part_of_what_is_proved() {
        let token = CallbackToken::generate(1, StdRng::seed_from_u64(2));
        let other = CallbackToken::parse(&token.expose().replace("cb_1_", "cb_2_")).unwrap();
        assert_ne!(token.digest(), other.digest());
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let secret = "A".repeat(43);
        assert!(CallbackToken::parse(&format!("cb_1_{secret}")).is_some());
        for bad in [
            String::new(),
            "cb_".to_owned(),
            format!("cb_0_{secret}"),
            format!("cb_01_{secret}"),
            format!("cb_+1_{secret}"),
            format!("cb_65536_{secret}"),
            format!("cb_1_{secret}A"),
            format!("cb_1_{}", &secret[1..]),
            // The last letter's unused bits are not zero: a second spelling of the same bytes.
            format!("cb_1_{}B", &secret[1..]),
            format!("cb_1_{secret}="),
            format!("CB_1_{secret}"),
            format!("cb_1{secret}"),
        ] {
            assert!(CallbackToken::parse(&bad).is_none(), "{bad}");
        }
    }
}
