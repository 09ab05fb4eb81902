//! Dates as APIs write them.

const DAY_S: u64 = 86_400;

/// From 1 March of the year 0 to 1 January 1970, in the Gregorian calendar carried back.
pub const DAYS_TO_EPOCH: u64 = 719_468;

/// The Gregorian date of a moment in seconds since the Unix epoch, as year, month and day of the month.
pub fn civil_date(unix_s: u64) -> (u64, u64, u64) {
    let days = unix_s / DAY_S + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// As APIs and logs write a time, in seconds since the Unix epoch: `2026-11-21T03:04:05Z`.
pub fn iso8601(unix_s: u64) -> String {
    let (year, month, day) = civil_date(unix_s);
    let second = unix_s % DAY_S;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}
