//! The day in an execution's id names its partition.

use bridge_protocol::{ExecutionId, Time};
use chrono::{Datelike, Days, NaiveDate, NaiveTime};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(NaiveDate);

impl Day {
    pub fn of(id: ExecutionId) -> Self {
        Self::at(id.created_at())
    }

    /// Of an id that comes from outside; None: no partition is ever named after so far a day.
    pub fn named(id: ExecutionId) -> Option<Self> {
        let day = Self::of(id);
        (day.0.year() <= 9999).then_some(day)
    }

    pub fn at(time: Time) -> Self {
        Self(time.date_naive())
    }

    pub fn plus(self, days: u64) -> Self {
        Self(self.0.checked_add_days(Days::new(days)).unwrap_or(NaiveDate::MAX))
    }

    pub fn minus(self, days: u64) -> Self {
        Self(self.0.checked_sub_days(Days::new(days)).unwrap_or(NaiveDate::MIN))
    }

    /// `20261121`: the suffix of the partitions' names.
    pub fn suffix(self) -> String {
        self.0.format("%Y%m%d").to_string()
    }

    pub fn from_suffix(suffix: &str) -> Option<Self> {
        NaiveDate::parse_from_str(suffix, "%Y%m%d").ok().map(Self)
    }

    /// The smallest id of the day: its timestamp, all else zero.
    pub fn first_id(self) -> Uuid {
        first_id_at(self.0.and_time(NaiveTime::MIN).and_utc())
    }
}

/// Below every id that was made at `time` or later, above every earlier one. Ids know milliseconds.
pub(crate) fn first_id_at(time: Time) -> Uuid {
    let whole = time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    let millis = time.timestamp_millis().max(0) as u64 + u64::from(!whole);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn first_id_is_the_lower_bound_of_the_day() {
        let day = Day::from_suffix("20261121").unwrap();
        assert_eq!(day.first_id().to_string(), "01a1fb67-1800-0000-0000-000000000000");
        assert_eq!(day.suffix(), "20261121");
        assert!(day.plus(1).first_id() > day.first_id());
        let far = ExecutionId::from_uuid(Uuid::from_u128(0xffff_ffff_ffff_7000_8000_0000_0000_0000)).unwrap();
        assert_eq!((Day::named(far), Day::of(far).suffix().len() > 8), (None, true));
    }
}
