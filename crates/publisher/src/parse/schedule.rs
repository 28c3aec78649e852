//! When an execution is delivered, and when it is no use any more.

use std::time::Duration;

use bridge_protocol::Time;
use chrono::{DateTime, Utc};

use super::fields::Fields;
use super::{Check, Context};

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Schedule {
    pub deliver_at: Option<Time>,
    pub expires_at: Option<Time>,
    /// The delay as it was asked for: a repeated request has the same delay but another point in time.
    pub delay: Option<Duration>,
}

const TIME: &str = "must be a time with its zone, for example 2030-01-31T09:00:00Z";

pub(super) fn read(fields: &mut Fields<'_>, check: &mut Check<'_>, context: &Context<'_>) -> Schedule {
    let max = context.limits.max_delay;
    let now = context.now;
    let (delay, deliver_at, expires_at) =
        (fields.take("delay_seconds"), fields.take("deliver_at"), fields.take("expires_at"));
    if !super::lenient::absent(delay) && !super::lenient::absent(deliver_at) {
        check.fault("delay_seconds", "is given beside deliver_at; give one of them");
    }
    let delay =
        check.parsed("delay_seconds", delay, |text| seconds(text, max)).filter(|delay| !delay.is_zero());
    let deliver_at = check.parsed("deliver_at", deliver_at, |text| match time(text) {
        Some(at) if at <= now => Err("is in the past; give a later time, or leave it out".to_owned()),
        Some(at) if at - now > chrono::TimeDelta::from_std(max).unwrap_or_default() => {
            Err(format!("is more than {} s ahead, the longest delay", max.as_secs()))
        }
        Some(at) => Ok(at),
        None => Err(TIME.to_owned()),
    });
    let deliver_at = deliver_at.or_else(|| delay.map(|delay| now + delay));
    let expires_at = check.parsed("expires_at", expires_at, |text| match time(text) {
        Some(at) if at <= now => Err("is in the past; give a later time, or leave it out".to_owned()),
        Some(at) if deliver_at.is_some_and(|deliver_at| at <= deliver_at) => {
            Err("is not after the time of delivery; it would expire before it is delivered".to_owned())
        }
        Some(at) => Ok(at),
        None => Err(TIME.to_owned()),
    });
    Schedule { deliver_at, expires_at, delay }
}

fn seconds(text: &str, max: Duration) -> Result<Duration, String> {
    let number: f64 = text
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or("must be a number of seconds")?;
    if number < 0.0 {
        return Err("must not be negative".to_owned());
    }
    // Checked as a number first: a duration overflows.
    if number > max.as_secs_f64() {
        return Err(format!("must be at most {}", max.as_secs()));
    }
    Ok(Duration::from_millis((number * 1000.0).round() as u64))
}

/// Postgres's range is narrower than chrono's, and no schedule needs either.
fn time(text: &str) -> Option<Time> {
    let at = DateTime::parse_from_rfc3339(text.trim()).ok()?.with_timezone(&Utc);
    (at.timestamp() >= 0 && at.timestamp() < 253_402_300_800).then_some(at)
}
