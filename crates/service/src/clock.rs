//! The one place of ambient time and chance. Everything else gets them passed in.

use bridge_protocol::Time;
use std::sync::{Arc, Mutex, PoisonError};

/// What time it is.
pub trait Clock: Send + Sync {
    fn now(&self) -> Time;
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Time {
        chrono::Utc::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct ManualClock(Mutex<Time>);

impl ManualClock {
    pub fn at(time: Time) -> Arc<Self> {
        Arc::new(Self(Mutex::new(time)))
    }

    pub fn advance(&self, by: std::time::Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process's source of chance, seeded by the operating system.
#[allow(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
pub fn entropy() -> impl rand::CryptoRng {
    rand::rng()
}

/// A number in [0, 1), for delays that should not fall together.
pub fn jitter() -> f64 {
    rand::RngExt::random(&mut entropy())
}
