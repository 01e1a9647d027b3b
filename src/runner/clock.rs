//! Wall-clock timestamps: milliseconds since the Unix epoch inside, RFC 3339 in UTC outside.

use jiff::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time, in milliseconds since the Unix epoch. Displays as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    /// A timestamp of the engine: RFC 3339. `None`: it is none, or the engine's zero, year 1.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let timestamp: Timestamp = text.parse().ok()?;
        let millis = u64::try_from(timestamp.as_millisecond()).ok()?;
        (millis > 0).then_some(Self(millis))
    }

    /// Whole seconds since the Unix epoch.
    pub(crate) fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to this; zero if this is before `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// RFC 3339 in UTC with milliseconds. What lies beyond the year 9999, which RFC 3339 cannot write, becomes its end.
impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let timestamp = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        write!(f, "{timestamp:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_display_as_rfc_3339_in_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Moment(millis).to_string(), text);
        }
    }

    #[test]
    fn the_engines_timestamps_are_read_and_its_zero_is_none() {
        for (text, millis) in [
            ("2000-02-28T23:59:59.999123456Z", Some(951_782_399_999)),
            ("2000-02-29T01:00:00+01:00", Some(951_782_400_000)),
            ("0001-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(Moment::parse(text), millis.map(Moment), "{text}");
        }
    }
}
