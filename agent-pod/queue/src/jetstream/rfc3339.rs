//! Times as the broker reads them.

use crate::Millis;

/// The last moment that has four digits for its year: later ones are as good as never.
const LAST: Millis = 253_402_300_799_999;

/// `2026-11-25T04:38:30.607Z`
pub(super) fn from_millis(time: Millis) -> String {
    let time = time.min(LAST);
    let (seconds, millis) = (time / 1000, time % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970 (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_others_say_they_are() {
        assert_eq!(from_millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(from_millis(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(from_millis(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(from_millis(4_102_444_799_999), "2099-12-31T23:59:59.999Z");
        assert_eq!(from_millis(Millis::MAX), "9999-12-31T23:59:59.999Z");
    }
}
