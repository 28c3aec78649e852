//! What each path answers.

use std::cell::Cell;
use std::time::Duration;

use http::StatusCode;

#[derive(Default)]
pub struct Behaviour {
    mended: Cell<bool>,
}

impl Behaviour {
    pub fn mend(&self, mended: bool) {
        self.mended.set(mended);
    }

    /// `first`: this execution has not been here before.
    pub fn status(&self, hook: &str, first: bool) -> StatusCode {
        match hook {
            "flaky" if first => StatusCode::SERVICE_UNAVAILABLE,
            "broken" if !self.mended.get() => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::OK,
        }
    }
}

pub fn wait(hook: &str, query: Option<&str>) -> Option<Duration> {
    let query = query.filter(|_| hook == "slow")?;
    let ms = query.split('&').find_map(|pair| pair.strip_prefix("ms="))?;
    ms.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_chooses_the_status() {
        let behaviour = Behaviour::default();
        assert_eq!(behaviour.status("ok", true), 200);
        assert_eq!(behaviour.status("flaky", true), 503);
        assert_eq!(behaviour.status("flaky", false), 200);
        assert_eq!(behaviour.status("broken", false), 500);
        behaviour.mend(true);
        assert_eq!(behaviour.status("broken", true), 200);
        assert_eq!(behaviour.status("anything/else", true), 200);
    }

    #[test]
    fn only_slow_waits() {
        assert_eq!(wait("slow", Some("a=1&ms=20")), Some(Duration::from_millis(20)));
        assert_eq!(wait("ok", Some("ms=20")), None);
        assert_eq!(wait("slow", None), None);
    }
}
