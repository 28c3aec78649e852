//! The day in an execution's id names its partition.

use bridge_protocol::{ExecutionId, Time};
use chrono::{Days, NaiveDate, NaiveTime};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(NaiveDate);

impl Day {
    pub fn of(id: ExecutionId) -> Self {
        Self::at(id.created_at())
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
        let millis = self.0.and_time(NaiveTime::MIN).and_utc().timestamp_millis().max(0) as u64;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        Uuid::from_bytes(bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn first_id_is_the_lower_bound_of_the_day() {
        let day = Day::from_suffix("20261121").unwrap();
        assert_eq!(day.first_id().to_string(), "01a1fb67-1800-0000-0000-000000000000");
        assert_eq!(day.suffix(), "20261121");
        assert!(day.plus(1).first_id() > day.first_id());
    }
}
